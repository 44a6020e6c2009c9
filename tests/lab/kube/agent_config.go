package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

const (
	containerdState  = "/run/k3s/containerd"
	containerdSocket = containerdState + "/containerd.sock"
)

// writeConfiguration writes what containerd, the kubelet and kube-proxy read.
func (n *node) writeConfiguration() error {
	if n.config.ClusterIPRange.IP.To4() == nil {
		return fmt.Errorf("the lab's agent needs an IPv4 range for pods, and got %s", &n.config.ClusterIPRange)
	}
	resolv, err := n.resolvConf()
	if err != nil {
		return err
	}
	for path, content := range map[string]string{
		"etc/containerd/config.toml": fmt.Sprintf(`version = 3
root = %q
state = %q
[grpc]
  address = %q
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "registry.k8s.io/pause:3.10.1"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = %q
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/bin/aux"]
    conf_dir = %q
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`, n.path("containerd"), containerdState, containerdSocket, n.path("etc/containerd/certs.d"), n.path("etc/cni/net.d")),
		"kubelet.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://%s
clusterDNS: [%q]
clusterDomain: %s
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %s}}
authorization: {mode: Webhook}
tlsCertFile: %s
tlsPrivateKeyFile: %s
failSwapOn: false
oomScoreAdj: 0
evictionHard: {}
imagePullCredentialsVerificationPolicy: NeverVerify
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
resolvConf: %s
`, containerdSocket, n.config.ClusterDNS, n.config.ClusterDomain, n.path("client-ca.crt"), n.path("serving-kubelet.crt"), n.path("serving-kubelet.key"), resolv),
		"kube-proxy.yaml": fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: %s
clientConnection: {kubeconfig: %s}
conntrack: {maxPerCore: 0, min: 0}
oomScoreAdj: 0
`, &n.config.ClusterIPRange, n.path("kubeproxy.kubeconfig")),
	} {
		file := n.path(path)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return err
		}
	}
	return os.MkdirAll(containerdState, 0o711)
}

// resolvConf is the file with the nameservers that pods outside the cluster's own DNS use: the node's, unless that has none but
// loopback ones, which mean another thing in a pod.
func (n *node) resolvConf() (string, error) {
	file := n.settings.get("resolv-conf", "/etc/resolv.conf")
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "nameserver" {
			if ip := net.ParseIP(fields[1]); ip != nil && ip.IsGlobalUnicast() {
				return file, nil
			}
		}
	}
	own := n.path("etc/resolv.conf")
	return own, errors.Join(os.MkdirAll(n.path("etc"), 0o700), os.WriteFile(own, []byte("nameserver 8.8.8.8\n"), 0o600))
}
