package main

import "slices"

// A kind says how a flag's values are read.
type kind int

const (
	text   kind = iota // the last one counts
	toggle             // true or false
	list               // all count, and each may hold several, separated by commas
	words              // all count, each as it is
	unused             // accepted, without effect in the lab
	unusedToggle
)

// A flag is what the command line, a configuration file and the environment may set.
type flag struct {
	kind kind
	env  string
}

var commonFlags = map[string]flag{
	"config":    {text, ""},
	"data-dir":  {text, "K3S_DATA_DIR"},
	"debug":     {unusedToggle, "K3S_DEBUG"},
	"node-ip":   {list, ""},
	"node-name": {text, "K3S_NODE_NAME"},
	"server":    {text, "K3S_URL"},
	"token":     {text, "K3S_TOKEN"}, "token-file": {text, "K3S_TOKEN_FILE"},
	"kubelet-arg": {words, ""}, "kube-proxy-arg": {words, ""},
	"node-label": {list, ""}, "node-taint": {list, ""},
	"with-node-id": {toggle, ""}, "resolv-conf": {text, "K3S_RESOLV_CONF"},

	"private-registry": {text, ""},

	"node-external-ip":        {unused, ""},
	"system-default-registry": {unused, "K3S_SYSTEM_DEFAULT_REGISTRY"}, "pause-image": {unused, ""}, "snapshotter": {unused, ""},
	"selinux": {unusedToggle, "K3S_SELINUX"}, "rootless": {unusedToggle, ""}, "prefer-bundled-bin": {unusedToggle, ""},
	"protect-kernel-defaults": {unusedToggle, ""}, "disable-default-registry-endpoint": {unusedToggle, ""},
	"log": {unused, ""}, "alsologtostderr": {unusedToggle, ""}, "v": {unused, ""}, "vmodule": {unused, ""},
	"flannel-iface": {unused, ""}, "flannel-conf": {unused, ""},
}

var serverFlags = with(commonFlags, map[string]flag{
	"bind-address": {text, ""}, "https-listen-port": {text, ""}, "advertise-address": {text, ""},
	"tls-san":      {list, ""},
	"cluster-cidr": {list, ""}, "service-cidr": {list, ""}, "cluster-dns": {list, ""}, "cluster-domain": {text, ""},
	"service-node-port-range": {text, ""},
	"agent-token":             {text, "K3S_AGENT_TOKEN"}, "agent-token-file": {text, "K3S_AGENT_TOKEN_FILE"},
	"cluster-init": {toggle, "K3S_CLUSTER_INIT"}, "cluster-reset": {toggle, "K3S_CLUSTER_RESET"},
	"disable": {list, ""}, "disable-agent": {toggle, ""}, "disable-scheduler": {toggle, ""}, "disable-controller-manager": {toggle, ""},
	"write-kubeconfig": {text, "K3S_KUBECONFIG_OUTPUT"}, "write-kubeconfig-mode": {text, "K3S_KUBECONFIG_MODE"},
	"kube-apiserver-arg": {words, ""}, "kube-controller-manager-arg": {words, ""}, "kube-scheduler-arg": {words, ""},
	"egress-selector-mode": {text, ""},
	"datastore-endpoint":   {text, "K3S_DATASTORE_ENDPOINT"},

	"advertise-port": {unused, ""}, "flannel-backend": {unused, ""}, "write-kubeconfig-group": {unused, "K3S_KUBECONFIG_GROUP"},
	"cluster-reset-restore-path": {unused, ""}, "datastore-cafile": {unused, "K3S_DATASTORE_CAFILE"},
	"datastore-certfile": {unused, "K3S_DATASTORE_CERTFILE"}, "datastore-keyfile": {unused, "K3S_DATASTORE_KEYFILE"},
	"etcd-arg": {unused, ""}, "kube-cloud-controller-manager-arg": {unused, ""}, "etcd-snapshot-schedule-cron": {unused, ""},
	"etcd-snapshot-retention": {unused, ""}, "etcd-snapshot-dir": {unused, ""}, "etcd-snapshot-name": {unused, ""},
	"secrets-encryption-provider": {unused, ""}, "helm-job-image": {unused, ""}, "service-node-port": {unused, ""},
	"tls-san-security": {unusedToggle, ""}, "flannel-ipv6-masq": {unusedToggle, ""}, "flannel-external-ip": {unusedToggle, ""},
	"disable-cloud-controller": {unusedToggle, ""}, "disable-kube-proxy": {unusedToggle, ""}, "disable-network-policy": {unusedToggle, ""},
	"disable-helm-controller": {unusedToggle, ""}, "disable-apiserver": {unusedToggle, ""}, "disable-etcd": {unusedToggle, ""},
	"etcd-expose-metrics": {unusedToggle, ""}, "etcd-disable-snapshots": {unusedToggle, ""}, "etcd-snapshot-compress": {unusedToggle, ""},
	"etcd-s3": {unusedToggle, ""}, "secrets-encryption": {unusedToggle, ""}, "embedded-registry": {unusedToggle, ""},
	"supervisor-metrics": {unusedToggle, ""}, "enable-pprof": {unusedToggle, ""}, "multi-cluster-cidr": {unusedToggle, ""},
})

var agentFlags = with(commonFlags, map[string]flag{"lb-server-port": {unused, "K3S_LB_SERVER_PORT"}})

var shortFlags = map[string]string{"c": "config", "d": "data-dir", "s": "server", "t": "token", "o": "write-kubeconfig"}

func with(base, more map[string]flag) map[string]flag {
	all := make(map[string]flag, len(base)+len(more))
	for _, flags := range []map[string]flag{base, more} {
		for name, f := range flags {
			all[name] = f
		}
	}
	return all
}

func (f flag) boolean() bool  { return f.kind == toggle || f.kind == unusedToggle }
func (f flag) repeated() bool { return slices.Contains([]kind{list, words, unused}, f.kind) }
