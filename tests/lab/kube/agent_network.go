package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	tunnelName = "flannel.1"
	tunnelMTU  = 1450
)

// runNetwork connects the node's pods with those of other nodes, in the way of flannel: each node has the range that the
// controller-manager gave it, a bridge for its pods, and a tunnel (VXLAN) to the others' ranges. Without its range a node has no
// network configuration, so its kubelet does not call it ready.
func (n *node) runNetwork(ctx context.Context) error {
	if err := n.masquerade(ctx); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", n.path("kubeproxy.kubeconfig")) // which may watch nodes
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	nodes := informers.NewSharedInformerFactory(clients, 0).Core().V1().Nodes().Informer()
	if _, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
	}); err != nil {
		return err
	}
	go nodes.RunWithContext(ctx)
	var tunnel *netlink.Vxlan
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		var others []*corev1.Node
		for _, object := range nodes.GetStore().List() {
			switch other, ok := object.(*corev1.Node); {
			case !ok || other.Spec.PodCIDR == "":
			case other.Name != n.name:
				others = append(others, other)
			case tunnel == nil:
				if tunnel, err = n.openTunnel(other.Spec.PodCIDR); err != nil {
					return err
				}
				if err := n.writeNetwork(other.Spec.PodCIDR); err != nil {
					return err
				}
			}
		}
		if tunnel != nil {
			if err := reach(tunnel, others); err != nil {
				warn("network: %v", err)
			}
		}
	}
}

// writeNetwork tells containerd's network plugins the node's range.
func (n *node) writeNetwork(pods string) error {
	file := n.path("etc/cni/net.d/10-lab.conflist")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, fmt.Appendf(nil, `{"cniVersion": "1.0.0", "name": "cbr0", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "mtu": %d,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
`, tunnelMTU, pods), 0o600)
}

// masquerade gives what leaves the cluster's range the node's address.
func (n *node) masquerade(ctx context.Context) error {
	pods := n.config.ClusterIPRange.String()
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`table ip cluster-egress
flush table ip cluster-egress
table ip cluster-egress {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr %s ip daddr != %s masquerade
	}
}
`, pods, pods))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

// openTunnel makes the tunnel's end on this node. Its address is the first of the node's range, as with flannel.
func (n *node) openTunnel(pods string) (*netlink.Vxlan, error) {
	_, network, err := net.ParseCIDR(pods)
	if err != nil {
		return nil, err
	}
	local := net.ParseIP(n.ip)
	tunnel := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: tunnelName, MTU: tunnelMTU, HardwareAddr: tunnelMAC(network)},
		VxlanId:   1, SrcAddr: local, Port: 8472, Learning: false,
	}
	if old, err := netlink.LinkByName(tunnelName); err == nil {
		_ = netlink.LinkDel(old) // of an earlier run in this pod
	}
	if err := netlink.LinkAdd(tunnel); err != nil {
		return nil, fmt.Errorf("%s: %w", tunnelName, err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: network.IP, Mask: net.CIDRMask(32, 32)}}
	return tunnel, errors.Join(netlink.AddrReplace(tunnel, address), netlink.LinkSetUp(tunnel))
}

// tunnelMAC follows from a node's range, so that nobody has to announce it.
func tunnelMAC(pods *net.IPNet) net.HardwareAddr {
	ip := pods.IP.To4()
	return net.HardwareAddr{0x0e, 0x00, ip[0], ip[1], ip[2], ip[3]}
}

// reach puts the ranges of exactly these nodes behind the tunnel.
func reach(tunnel *netlink.Vxlan, nodes []*corev1.Node) error {
	wanted := map[string]bool{}
	var errs []error
	for _, node := range nodes {
		_, network, err := net.ParseCIDR(node.Spec.PodCIDR)
		to := internalIP(node)
		if err != nil || to == nil || network.IP.To4() == nil {
			continue
		}
		wanted[network.String()] = true
		mac := tunnelMAC(network)
		errs = append(errs,
			netlink.NeighSet(&netlink.Neigh{LinkIndex: tunnel.Attrs().Index, Family: unix.AF_BRIDGE, Flags: unix.NTF_SELF, State: unix.NUD_PERMANENT, IP: to, HardwareAddr: mac}),
			netlink.NeighSet(&netlink.Neigh{LinkIndex: tunnel.Attrs().Index, State: unix.NUD_PERMANENT, Type: unix.RTN_UNICAST, IP: network.IP, HardwareAddr: mac}),
			netlink.RouteReplace(&netlink.Route{LinkIndex: tunnel.Attrs().Index, Dst: network, Gw: network.IP, Flags: int(netlink.FLAG_ONLINK)}))
	}
	routes, err := netlink.RouteList(tunnel, netlink.FAMILY_V4)
	if err != nil {
		errs = append(errs, err)
	}
	for _, route := range routes {
		if route.Dst != nil && route.Gw != nil && !wanted[route.Dst.String()] {
			errs = append(errs, netlink.RouteDel(&route))
		}
	}
	return errors.Join(errs...)
}

func internalIP(node *corev1.Node) net.IP {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return net.ParseIP(address.Address)
		}
	}
	return nil
}
