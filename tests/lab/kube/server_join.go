package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// An otherServer is the one whose cluster this server joins.
type otherServer struct {
	url, password string
	client        *http.Client
}

// meet verifies the other server by the hash in the token, or takes it as it is if the token has none.
func meet(ctx context.Context, url, given string) (*otherServer, error) {
	t := parseToken(given)
	unverified := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec
	chain, err := fetch(ctx, unverified, url+"/cacerts", nil)
	if err != nil {
		return nil, err
	}
	ca := &authority{chain: chain}
	hash, err := ca.hash()
	if err != nil {
		return nil, err
	}
	if t.hash == "" {
		warn("Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA hash. Use the full token from the server's node-token file to enable Cluster CA validation.")
	} else if t.hash != hash {
		return nil, errors.New("token CA hash does not match the Cluster CA certificate hash")
	}
	// A connection for each request: through a Service the next server may be another one.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}}
	return &otherServer{url, t.password, &http.Client{Timeout: 10 * time.Second, Transport: transport}}, nil
}

func (o *otherServer) get(ctx context.Context, user, path string) ([]byte, error) {
	return fetch(ctx, o.client, o.url+path, func(r *http.Request) { r.SetBasicAuth(user, o.password) })
}

// members are those of its etcd.
func (o *otherServer) members(ctx context.Context) ([]*etcdserverpb.Member, error) {
	body, err := o.get(ctx, "server", "/db/info")
	if err != nil {
		return nil, err
	}
	var info dbInfo
	err = json.Unmarshal(body, &info)
	return info.Members, err
}

// bootstrapFiles are the keys and certificates that every server of a cluster has, by their keys in the bootstrap data, below `server`.
var bootstrapFiles = map[string]string{
	"ServerCA": "tls/server-ca.crt", "ServerCAKey": "tls/server-ca.key", "ClientCA": "tls/client-ca.crt", "ClientCAKey": "tls/client-ca.key",
	"RequestHeaderCA": "tls/request-header-ca.crt", "RequestHeaderCAKey": "tls/request-header-ca.key", "ServiceKey": "tls/service.key",
	"ETCDServerCA": "tls/etcd/server-ca.crt", "ETCDServerCAKey": "tls/etcd/server-ca.key",
	"ETCDPeerCA": "tls/etcd/peer-ca.crt", "ETCDPeerCAKey": "tls/etcd/peer-ca.key", "PasswdFile": "cred/passwd",
}

// takeOver writes the bootstrap data of the other server below dir. Like k3s it writes all of them, also those that are there and the
// same: where they cannot be written, nobody can join.
func (o *otherServer) takeOver(ctx context.Context, dir string) error {
	body, err := o.get(ctx, "server", "/v1-k3s/server-bootstrap")
	if err != nil {
		return err
	}
	var files map[string]struct {
		Timestamp time.Time
		Content   []byte
	}
	if err := json.Unmarshal(body, &files); err != nil {
		return err
	}
	for key, file := range files {
		name, known := bootstrapFiles[key]
		if !known {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, file.Content, 0o600); err != nil {
			return fmt.Errorf("failed to write to %s: %w", path, err)
		}
		if err := os.Chtimes(path, file.Timestamp, file.Timestamp); err != nil {
			return err
		}
	}
	return nil
}

// criticalValues must be the same on every server of a cluster.
var criticalValues = []string{
	"ClusterDNS", "ClusterDomain", "ClusterIPRange", "ServiceIPRange", "DisableCCM", "DisableHelmController", "DisableNPC",
	"EgressSelectorMode", "FlannelBackend",
}

// compare refuses to join a server whose critical values are others than ours.
func (o *otherServer) compare(ctx context.Context, ours map[string]any) error {
	body, err := o.get(ctx, "node", "/v1-k3s/config")
	if err != nil {
		return err
	}
	mine, err := json.Marshal(ours)
	if err != nil {
		return err
	}
	if differing := differingValues(mine, body); len(differing) > 0 {
		return fmt.Errorf("failed to validate server configuration: critical configuration value mismatch between servers: %s", strings.Join(differing, ", "))
	}
	return nil
}

func differingValues(ours, theirs []byte) (differing []string) {
	var a, b map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(ours, &a), json.Unmarshal(theirs, &b)); err != nil {
		return []string{err.Error()}
	}
	for _, key := range criticalValues {
		if !bytes.Equal(a[key], b[key]) {
			differing = append(differing, key)
		}
	}
	return differing
}
