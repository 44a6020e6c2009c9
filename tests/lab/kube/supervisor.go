package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rancher/remotedialer"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// A supervisor serves what k3s has on port 6443 beside the Kubernetes API.
type supervisor struct {
	*cluster
	core    atomic.Pointer[kubernetes.Interface] // set once the API can be asked
	tunnels *remotedialer.Server                 // the connections that nodes opened
}

// wrap serves the supervisor's paths, and everything else from next.
func (s *supervisor) wrap(next http.Handler) http.Handler {
	agents := []string{agentGroup, nodesGroup, "system:bootstrappers"}
	paths := map[string]http.HandlerFunc{
		"/ping":                             func(w http.ResponseWriter, _ *http.Request) { plain(w, []byte("pong")) },
		"/cacerts":                          func(w http.ResponseWriter, _ *http.Request) { plain(w, s.pki.server.chain) },
		"/v1-k3s/config":                    s.only(agents, s.config),
		"/v1-k3s/readyz":                    s.only(agents, s.readyz),
		"/v1-k3s/apiservers":                s.only(agents, s.apiServers),
		"/v1-k3s/client-ca.crt":             s.only(agents, content(s.pki.client.chain)),
		"/v1-k3s/server-ca.crt":             s.only(agents, content(s.pki.server.chain)),
		"/v1-k3s/serving-kubelet.crt":       s.only(agents, s.kubeletCertificate(s.servingKubelet)),
		"/v1-k3s/client-kubelet.crt":        s.only(agents, s.kubeletCertificate(s.clientKubelet)),
		"/v1-k3s/client-kube-proxy.crt":     s.only(agents, s.sharedCertificate("client-kube-proxy", "system:kube-proxy")),
		"/v1-k3s/client-k3s-controller.crt": s.only(agents, s.sharedCertificate("client-k3s-controller", "system:k3s-controller")),
		"/v1-k3s/connect":                   s.tunnels.ServeHTTP,
		"/v1-k3s/server-bootstrap":          s.only([]string{serverGroup}, s.bootstrap),
	}
	if s.datastore.embedded {
		paths["/db/info"] = s.only([]string{serverGroup}, s.dbInfo)
	}
	connect := s.only([]string{mastersGroup}, s.proxy)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ours, ok := paths[r.URL.Path]; ok {
			ours(w, r)
		} else if r.Method == http.MethodConnect {
			connect(w, r)
		} else {
			next.ServeHTTP(w, r)
		}
	})
}

// unavailable is all there is until the API server takes over.
func unavailable(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusServiceUnavailable, "apiserver not ready")
}

func plain(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(body)
}

func content(body []byte) func(http.ResponseWriter, *http.Request, *caller) {
	return func(w http.ResponseWriter, _ *http.Request, _ *caller) { plain(w, body) }
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func (s *supervisor) readyz(w http.ResponseWriter, _ *http.Request, _ *caller) {
	if s.core.Load() == nil {
		refuse(w, http.StatusServiceUnavailable, "core not ready")
		return
	}
	plain(w, []byte("ok"))
}

// apiServers answers with the endpoints of the Service "kubernetes": at these agents reach the servers.
func (s *supervisor) apiServers(w http.ResponseWriter, r *http.Request, _ *caller) {
	servers := []string{}
	if core := s.core.Load(); core != nil {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		ofService := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kubernetes"}
		slices, err := (*core).DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, ofService)
		if err != nil {
			refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
		for _, slice := range slices.Items {
			servers = append(servers, addressesOf(slice)...)
		}
	}
	if len(servers) == 0 {
		servers = append(servers, net.JoinHostPort(s.advertise, strconv.Itoa(s.port)))
	}
	answer(w, servers)
}

// addressesOf a slice, each with its port "https".
func addressesOf(slice discoveryv1.EndpointSlice) (out []string) {
	for _, port := range slice.Ports {
		if port.Name == nil || *port.Name != "https" || port.Port == nil {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			for _, address := range endpoint.Addresses {
				out = append(out, net.JoinHostPort(address, strconv.Itoa(int(*port.Port))))
			}
		}
	}
	return out
}

// config answers with the fields of k3s' internal configuration that agents and joining servers read; names are those of its Go fields.
func (s *supervisor) config(w http.ResponseWriter, _ *http.Request, _ *caller) {
	answer(w, s.cluster.told())
}

func (s *cluster) told() map[string]any {
	disables := map[string]bool{}
	for _, name := range s.settings["disable"] {
		disables[name] = true
	}
	return map[string]any{
		"ClusterInit": s.settings.on("cluster-init"), "ClusterReset": false, "JoinURL": "", "ServerNodeName": s.nodeName,
		"ClusterDNS": s.dns, "ClusterDNSs": []string{s.dns}, "ClusterDomain": s.domain,
		"ClusterIPRange": ipNet(s.podCIDR), "ServiceIPRange": ipNet(s.serviceCIDR),
		"DisableAgent": s.settings.on("disable-agent"), "DisableScheduler": s.settings.on("disable-scheduler"),
		"DisableKubeProxy": false, "DisableCCM": true, "DisableNPC": true, "DisableHelmController": true, "Disables": disables,
		"EgressSelectorMode": s.settings.get("egress-selector-mode", "agent"), "FlannelBackend": s.settings.get("flannel-backend", "vxlan"),
		"HTTPSPort": s.port, "SupervisorPort": s.port, "APIServerPort": s.port, "AdvertiseIP": s.advertise, "SANs": s.settings["tls-san"],
		"DataDir": s.dir,
	}
}

// ipNet is a range as Go encodes it: the mask in base64.
func ipNet(cidr string) any {
	_, network, err := net.ParseCIDR(cidr)
	if err != nil {
		return nil
	}
	return network
}

// bootstrap answers with the keys and certificates that a joining server needs; only embedded etcd can be joined.
func (s *supervisor) bootstrap(w http.ResponseWriter, _ *http.Request, _ *caller) {
	if !s.datastore.embedded {
		refuse(w, http.StatusBadRequest, "etcd disabled")
		return
	}
	body := map[string]any{}
	for key, name := range bootstrapFiles {
		path := filepath.Join(s.dir, name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		file, err := os.ReadFile(path)
		if err != nil {
			refuse(w, http.StatusInternalServerError, err.Error())
			return
		}
		body[key] = map[string]string{"Timestamp": info.ModTime().Format(time.RFC3339), "Content": base64Of(file)}
	}
	answer(w, body)
}

// A dbInfo is what is told of the members of etcd.
type dbInfo struct {
	Members []*etcdserverpb.Member `json:"members"`
}

// dbInfo answers with the members of etcd, which a joining server needs.
func (s *supervisor) dbInfo(w http.ResponseWriter, r *http.Request, _ *caller) {
	if r.Method != http.MethodGet {
		refuse(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	client := s.members.Load()
	if client == nil {
		refuse(w, http.StatusInternalServerError, "failed to get etcd MemberList: etcd has not been started")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	all, err := client.MemberList(ctx)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "failed to get etcd MemberList: "+err.Error())
		return
	}
	answer(w, dbInfo{all.Members})
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func trimmed(values []string) (out []string) {
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}
