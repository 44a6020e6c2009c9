package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	clientv3 "go.etcd.io/etcd/client/v3"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	defaultDataDir    = "/var/lib/rancher/k3s"
	defaultKubeconfig = "/etc/rancher/k3s/k3s.yaml"
	// stopLimit ends a shutdown that something holds up, well before a kubelet would kill us.
	stopLimit = 20 * time.Second
)

// A cluster is what a server knows of the cluster that it serves.
type cluster struct {
	settings                          settings
	dir                               string // <data-dir>/server
	nodeName, nodeIP, advertise       string
	port                              int
	serviceCIDR, podCIDR, dns, domain string
	pki                               *pki
	passwords                         passwords
	datastore                         *datastore
	server                            *otherServer                    // whom we join
	members                           atomic.Pointer[clientv3.Client] // of our own etcd, once it is being started
}

func (c *cluster) credentials(of string) string {
	return filepath.Join(c.dir, "cred", of+".kubeconfig")
}
func (c *cluster) local() string { return "https://127.0.0.1:" + strconv.Itoa(c.port) }

func serverCommand(args []string) error {
	s, err := parseSettings("server", serverFlags, args)
	if err != nil {
		return err
	}
	c, err := newCluster(s)
	if err != nil {
		return err
	}
	if s.on("cluster-reset") {
		return c.reset()
	}
	return c.run()
}

// newCluster settles names, addresses, certificates and the token; nothing runs yet.
func newCluster(s settings) (*cluster, error) {
	if os.Getuid() != 0 && !s.on("disable-agent") {
		return nil, errors.New("must run as root unless --disable-agent is specified")
	}
	c := &cluster{
		settings: s, dir: filepath.Join(s.get("data-dir", defaultDataDir), "server"),
		serviceCIDR: s.first("service-cidr", "10.43.0.0/16"), podCIDR: s.first("cluster-cidr", "10.42.0.0/16"),
		domain: s.get("cluster-domain", "cluster.local"), nodeIP: s.first("node-ip", os.Getenv("POD_IP")),
	}
	var err error
	if c.port, err = strconv.Atoi(s.get("https-listen-port", "6443")); err != nil {
		return nil, fmt.Errorf("https-listen-port: %w", err)
	}
	host, _ := os.Hostname()
	c.nodeName = s.get("node-name", host)
	if c.nodeIP == "" {
		c.nodeIP = outboundIP()
	}
	c.advertise = s.get("advertise-address", c.nodeIP)
	first, err := nthIP(c.serviceCIDR, 1)
	if err != nil {
		return nil, err
	}
	if c.dns = s.first("cluster-dns", ""); c.dns == "" {
		if c.dns, err = nthIP(c.serviceCIDR, 10); err != nil {
			return nil, err
		}
	}
	sans := append([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.domain,
		"localhost", "127.0.0.1", "::1", first, c.nodeName, c.nodeIP, c.advertise,
	}, s["tls-san"]...)
	if c.datastore, err = prepareDatastore(s, c.dir, c.nodeName, c.nodeIP); err != nil {
		return nil, err
	}
	if c.datastore.joins {
		if err := c.join(); err != nil {
			return nil, err
		}
	}
	if c.pki, err = loadOrCreatePKI(filepath.Join(c.dir, "tls"), sans); err != nil {
		return nil, err
	}
	if c.passwords, err = settlePasswords(s, c.dir, c.pki.server); err != nil {
		return nil, err
	}
	if err := checkBootstrap(filepath.Join(c.dir, "db"), c.passwords.server); err != nil {
		return nil, err // before anything on disk names another token
	}
	if err := c.passwords.write(c.dir, c.pki.server); err != nil {
		return nil, err
	}
	return c, c.writeCredentials()
}

func (c *cluster) writeCredentials() error {
	for name, cert := range map[string]string{"admin": "client-admin", "controller": "client-controller", "scheduler": "client-scheduler"} {
		if err := c.pki.writeKubeconfig(c.credentials(name), c.local(), cert, 0o600); err != nil {
			return err
		}
	}
	mode, err := strconv.ParseUint(c.settings.get("write-kubeconfig-mode", "0600"), 8, 32)
	if err != nil {
		return fmt.Errorf("write-kubeconfig-mode: %w", err)
	}
	return c.pki.writeKubeconfig(c.settings.get("write-kubeconfig", defaultKubeconfig), c.local(), "client-admin", os.FileMode(mode))
}

// join takes over what all servers have in common from one that is there.
func (c *cluster) join() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	token, err := c.settings.secret("token")
	if err != nil {
		return err
	}
	if c.server, err = meet(ctx, strings.TrimRight(c.settings.get("server", ""), "/"), token); err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: failed to validate token: %w", err)
	}
	if err := c.server.takeOver(ctx, c.dir); err != nil {
		return fmt.Errorf("starting kubernetes: preparing server: failed to get CA certs: %w", err)
	}
	return c.server.compare(ctx, c.told())
}

// reset is --cluster-reset: it leaves one member, with the address of today, and ends.
func (c *cluster) reset() error {
	flag := filepath.Join(c.dir, "db/reset-flag")
	if exists(flag) {
		return errors.New("cluster-reset was successfully performed, please remove the cluster-reset flag and start k3s normally")
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		return err
	}
	if c.datastore.embedded {
		if err := c.datastore.reset(genericapiserver.SetupSignalContext(), c.pki); err != nil {
			return err
		}
	}
	info("Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. Backup and delete ${datadir}/server/db on each peer etcd server and rejoin the nodes")
	return nil
}

// run starts the datastore, the API server and, once that is ready, everything else; it returns after a signal, or when one of them
// ends.
func (c *cluster) run() error {
	_ = os.Remove(filepath.Join(c.dir, "db/reset-flag"))
	ctx, cancel := context.WithCancelCause(genericapiserver.SetupSignalContext())
	defer cancel(nil)
	front, err := listen(net.JoinHostPort(c.settings.get("bind-address", ""), strconv.Itoa(c.port)))
	if err != nil {
		return err
	}
	s := &supervisor{cluster: c}
	s.tunnels = s.newTunnels()
	apiServer, err := apiServerArgs(c)
	if err != nil {
		return err
	}
	if err := front.serveEarly(ctx, c.pki, s.wrap(http.HandlerFunc(unavailable))); err != nil {
		return err
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		defer c.datastore.close()
		err := c.datastore.start(ctx, c)
		if err == nil {
			err = runAPIServer(ctx, apiServer, front.forAPIServer(), s.wrap)
		}
		cancel(fmt.Errorf("apiserver ended: %v", err))
	}()
	go func() {
		if err := c.runWithAPI(ctx, s, cancel); err != nil {
			cancel(err)
		}
	}()
	<-ctx.Done()
	select {
	case <-stopped:
	case <-time.After(stopLimit):
		warn("not everything stopped in %s", stopLimit)
	}
	front.close()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	info("stopped")
	return nil
}

// runWithAPI starts what needs the API.
func (c *cluster) runWithAPI(ctx context.Context, s *supervisor, end context.CancelCauseFunc) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.credentials("admin"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 50, 100
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	var core kubernetes.Interface = clients
	if err := waitReady(ctx, core.CoreV1().RESTClient()); err != nil {
		return nil // the context ended, for a reason of its own
	}
	s.core.Store(&core)
	info("Kube API server is now running")
	start := func(name string, run func() error) {
		go func() { end(fmt.Errorf("%s ended: %v", name, run())) }()
	}
	if !c.settings.on("disable-controller-manager") {
		start("controller-manager", func() error { return runControllers(ctx, controllerArgs(c)) })
	}
	if !c.settings.on("disable-scheduler") {
		start("scheduler", func() error { return runScheduler(ctx, schedulerArgs(c)) })
	}
	manifests := filepath.Join(c.dir, "manifests")
	if err := writePackaged(manifests, c); err != nil {
		return err
	}
	deployer, err := newDeployer(manifests, config)
	if err != nil {
		return err
	}
	go deployer.run(ctx)
	go followNodes(ctx, core)
	info("k3s is up and running")
	if !c.settings.on("disable-agent") {
		start("agent", func() error { return c.runOwnAgent(ctx) })
	}
	return nil
}

func waitReady(ctx context.Context, client rest.Interface) error {
	for {
		if err := client.Get().AbsPath("/readyz").Do(ctx).Error(); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// outboundIP is the address that packets to elsewhere would come from, and nothing is sent; where there is no elsewhere, that of the
// interface of the default route.
func outboundIP() string {
	conn, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return defaultRouteIP()
	}
	defer func() { _ = conn.Close() }()
	host, _, _ := net.SplitHostPort(conn.LocalAddr().String())
	return host
}

func defaultRouteIP() string {
	const loopback = "127.0.0.1"
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return loopback
	}
	for _, route := range routes {
		isDefault := route.Dst == nil
		if route.Dst != nil {
			ones, _ := route.Dst.Mask.Size()
			isDefault = ones == 0
		}
		if !isDefault || route.LinkIndex == 0 {
			continue
		}
		link, err := netlink.LinkByIndex(route.LinkIndex)
		if err != nil {
			continue
		}
		if addresses, err := netlink.AddrList(link, netlink.FAMILY_V4); err == nil && len(addresses) > 0 {
			return addresses[0].IP.String()
		}
	}
	return loopback
}

// nthIP is the nth address of a range.
func nthIP(cidr string, n byte) (string, error) {
	_, network, err := net.ParseCIDR(cidr)
	if err != nil {
		return "", err
	}
	ip := append(net.IP(nil), network.IP...)
	ip[len(ip)-1] += n
	return ip.String(), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
