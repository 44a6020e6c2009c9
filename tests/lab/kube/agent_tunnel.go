package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rancher/remotedialer"
)

// askServers is how often an agent asks where the servers are; the real k3s watches the endpoints.
const askServers = 5 * time.Second

// runTunnels keeps a connection to every address at which servers say that they are reached, over which the API server reaches this
// node's kubelet and pods.
func (n *node) runTunnels(ctx context.Context) error {
	pair, err := tls.LoadX509KeyPair(n.path("client-kubelet.crt"), n.path("client-kubelet.key"))
	if err != nil {
		return err
	}
	trusted := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: n.authority.pool(), MinVersion: tls.VersionTLS12}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: trusted}}
	open := map[string]context.CancelFunc{}
	for {
		var servers []string
		body, err := fetch(ctx, client, n.server+"/v1-k3s/apiservers", nil)
		if err == nil {
			err = json.Unmarshal(body, &servers)
		}
		if err == nil {
			for _, server := range servers {
				if open[server] == nil {
					tunnel, cancel := context.WithCancel(ctx)
					open[server] = cancel
					go n.runTunnel(tunnel, server, trusted)
				}
			}
			for server, cancel := range open {
				if !slices.Contains(servers, server) {
					cancel()
					delete(open, server)
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(askServers):
		}
	}
}

func (n *node) runTunnel(ctx context.Context, server string, trusted *tls.Config) {
	dialer := &websocket.Dialer{TLSClientConfig: trusted, HandshakeTimeout: 10 * time.Second}
	for ctx.Err() == nil {
		err := remotedialer.ConnectToProxy(ctx, "wss://"+server+"/v1-k3s/connect", nil, n.mayReach, dialer, nil)
		if err != nil {
			warn("tunnel to %s: %v", server, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// mayReach says what of this node servers reach: its kubelet, and pods.
func (n *node) mayReach(protocol, address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || !strings.HasPrefix(protocol, "tcp") {
		return false
	}
	ip := net.ParseIP(host)
	own := host == n.ip || host == n.name || ip.IsLoopback()
	return own && port == "10250" || n.config.ClusterIPRange.Contains(ip)
}
