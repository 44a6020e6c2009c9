package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// agentConfig is what an agent reads of the server's configuration.
type agentConfig struct {
	ClusterDNS     string
	ClusterDomain  string
	ClusterIPRange net.IPNet

	EgressSelectorMode string
}

// join gets everything a node needs by the protocol of k3s: first the CA, unverified but compared with the token's hash, then, over
// connections verified by it, the configuration and the certificates.
func (n *node) join(ctx context.Context, given string) error {
	t := parseToken(given)
	unverified := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec
	chain, err := fetch(ctx, unverified, n.server+"/cacerts", nil)
	if err != nil {
		return err
	}
	ca := &authority{chain: chain}
	n.authority = ca
	hash, err := ca.hash()
	if err != nil {
		return err
	}
	if t.hash != "" && t.hash != hash {
		return errors.New("token CA hash does not match the Cluster CA certificate hash")
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}}}
	get := func(path string) ([]byte, error) {
		return fetch(ctx, client, n.server+"/v1-k3s/"+path, func(r *http.Request) {
			r.SetBasicAuth("node", t.password)
			r.Header.Set("k3s-Node-Name", n.name)
			r.Header.Set("k3s-Node-Password", n.password)
			r.Header.Set("k3s-Node-IP", n.ip)
		})
	}
	body, err := get("config")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &n.config); err != nil {
		return err
	}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"client-ca", "server-ca"} {
		body, err := get(name + ".crt")
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.path(name+".crt"), body, 0o600); err != nil {
			return err
		}
	}
	for _, name := range []string{"serving-kubelet", "client-kubelet", "client-kube-proxy", "client-k3s-controller"} {
		body, err := get(name + ".crt")
		if err != nil {
			return err
		}
		certs, key := splitPair(body)
		if err := errors.Join(os.WriteFile(n.path(name+".crt"), certs, 0o600), os.WriteFile(n.path(name+".key"), key, 0o600)); err != nil {
			return err
		}
	}
	for file, name := range map[string]string{"kubelet": "client-kubelet", "kubeproxy": "client-kube-proxy"} {
		cert, err := os.ReadFile(n.path(name + ".crt"))
		if err != nil {
			return err
		}
		key, err := os.ReadFile(n.path(name + ".key"))
		if err != nil {
			return err
		}
		if err := writeKubeconfig(n.path(file+".kubeconfig"), n.server, chain, cert, key, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func fetch(ctx context.Context, client *http.Client, url string, prepare func(*http.Request)) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if prepare != nil {
		prepare(request)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, strings.TrimSpace(string(body)))
	}
	return body, err
}

// splitPair parts the certificates from the key behind them.
func splitPair(body []byte) (certs, key []byte) {
	var c, k bytes.Buffer
	for block, rest := pem.Decode(body); block != nil; block, rest = pem.Decode(rest) {
		out := &k
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = &c
		}
		_ = pem.Encode(out, block)
	}
	return c.Bytes(), k.Bytes()
}
