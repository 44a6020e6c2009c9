package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rancher/remotedialer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	mastersGroup = "system:masters"
	// dialLimit is how long a node may take to open a connection.
	dialLimit = 15 * time.Second
)

// tunneled says whether the API server reaches nodes only through the connections that they open. In mode agent the real k3s takes
// them for kubelets as well; here that one dials, as pods that are nodes can be reached.
func tunneled(egressSelectorMode string) bool {
	return egressSelectorMode == "pod" || egressSelectorMode == "cluster"
}

// newTunnels takes the connections of nodes, which are known by their client certificate.
func (s *supervisor) newTunnels() *remotedialer.Server {
	authorize := func(r *http.Request) (string, bool, error) {
		who, right := s.identify(r)
		if !right || who == nil {
			return "", false, nil
		}
		name, isNode := strings.CutPrefix(who.name, "system:node:")
		return name, isNode, nil
	}
	return remotedialer.New(authorize, remotedialer.DefaultErrorWriter)
}

// proxy is what the API server's egress selector asks to reach nodes and their pods.
func (s *supervisor) proxy(w http.ResponseWriter, r *http.Request, _ *caller) {
	there, err := s.dialNode(r.Context(), r.Host)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	defer func() { _ = there.Close() }()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer func() { _ = here.Close() }()
	if _, err := io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var done sync.WaitGroup
	carry := func(to io.WriteCloser, from io.Reader) {
		_, _ = io.Copy(to, from)
		_ = to.Close() // ends the other direction as well
	}
	done.Go(func() { carry(there, buffered) })
	done.Go(func() { carry(here, there) })
	done.Wait()
}

// dialNode connects to the node that has the address or the pod; to what is no node's directly.
func (s *supervisor) dialNode(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	core := s.core.Load()
	if core == nil {
		return nil, errors.New("core not ready")
	}
	nodes, err := (*core).CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	for i := range nodes.Items {
		if node := &nodes.Items[i]; holds(node, net.ParseIP(host)) {
			if !s.tunnels.HasSession(node.Name) {
				return nil, fmt.Errorf("failed to find Session for client %s", node.Name)
			}
			return s.tunnels.Dialer(node.Name)(ctx, "tcp", address)
		}
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// holds says whether the address is the node's, or that of a pod on it.
func holds(node *corev1.Node, ip net.IP) bool {
	for _, address := range node.Status.Addresses {
		if known := net.ParseIP(address.Address); known != nil && known.Equal(ip) {
			return true
		}
	}
	_, pods, err := net.ParseCIDR(node.Spec.PodCIDR)
	return err == nil && pods.Contains(ip)
}

// egressSelector writes the file by which the API server asks proxy, and returns its path.
func (c *cluster) egressSelector() (string, error) {
	path := filepath.Join(c.dir, "etc/egress-selector-config.yaml")
	content := fmt.Sprintf(`apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      tcp:
        url: %s
        tlsConfig: {caBundle: %s, clientCert: %s, clientKey: %s}
`, c.local(), c.pki.crt("server-ca"), c.pki.crt("client-kube-apiserver"), c.pki.key("client-kube-apiserver"))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(content), 0o600)
}
