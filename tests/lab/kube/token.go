package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func tokenCommand(args []string) error {
	if len(args) != 1 || args[0] != "generate" {
		return errors.New("usage: k3s token generate")
	}
	fmt.Println(randomToken())
	return nil
}

func randomToken() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// A token is K10<hash of the server's CA>::<user>:<password>, or in its short form only the password.
type token struct{ hash, user, password string }

func parseToken(s string) token {
	rest, full := strings.CutPrefix(s, "K10")
	hash, credentials, has := strings.Cut(rest, "::")
	if !full || !has {
		return token{password: s}
	}
	user, password, has := strings.Cut(credentials, ":")
	if !has {
		return token{hash: hash, password: user}
	}
	return token{hash, user, password}
}

// passwords are the secrets of the cluster's two users.
type passwords struct{ server, node string }

// settlePasswords finds the token: the one given, else the one on disk, else a new one. One that names another CA is refused.
func settlePasswords(s settings, dir string, ca *authority) (passwords, error) {
	given, err := s.secret("token")
	if err != nil {
		return passwords{}, err
	}
	if given == "" {
		content, err := os.ReadFile(filepath.Join(dir, "token"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return passwords{}, err
		}
		if given = strings.TrimSpace(string(content)); given == "" {
			given = randomToken()
		}
	}
	t := parseToken(given)
	hash, err := ca.hash()
	if err != nil {
		return passwords{}, err
	}
	if t.hash != "" && t.hash != hash {
		return passwords{}, fmt.Errorf("failed to validate server token: token CA hash does not match the Cluster CA certificate hash: %s != %s", t.hash, hash)
	}
	agent, err := s.secret("agent-token")
	if err != nil {
		return passwords{}, err
	}
	p := passwords{server: t.password, node: t.password}
	if agent != "" {
		p.node = parseToken(agent).password
	}
	return p, nil
}

// write puts the passwords where k3s has them.
func (p passwords) write(dir string, ca *authority) error {
	hash, err := ca.hash()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "cred"), 0o700); err != nil {
		return err
	}
	files := map[string]string{
		"token":       fmt.Sprintf("K10%s::server:%s\n", hash, p.server),
		"cred/passwd": fmt.Sprintf("%s,node,node,k3s:agent\n%s,server,server,k3s:server\n", p.node, p.server),
	}
	links := []string{"node-token"}
	if p.node == p.server {
		links = append(links, "agent-token")
	} else {
		files["agent-token"] = fmt.Sprintf("K10%s::node:%s\n", hash, p.node)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	for _, name := range links {
		link := filepath.Join(dir, name)
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(filepath.Join(dir, "token"), link); err != nil {
			return err
		}
	}
	return nil
}

// checkBootstrap compares the token with the one that the datastore was made with, as the real k3s does by decrypting its bootstrap
// record; a new datastore takes the token.
func checkBootstrap(datastore, password string) error {
	path := filepath.Join(datastore, "bootstrap")
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		salt := randomToken()
		if err := os.MkdirAll(datastore, 0o700); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(salt+":"+salted(salt, password)), 0o600)
	}
	if err != nil {
		return err
	}
	salt, sum, _ := strings.Cut(string(content), ":")
	if subtle.ConstantTimeCompare([]byte(sum), []byte(salted(salt, password))) != 1 {
		return errors.New("starting kubernetes: preparing server: bootstrap data already found and encrypted with different token")
	}
	return nil
}

func salted(salt, password string) string {
	sum := sha256.Sum256([]byte(salt + ":" + password))
	return hex.EncodeToString(sum[:])
}
