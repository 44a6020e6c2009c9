package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/apimachinery/pkg/util/rand"
)

// A datastore is the etcd inside this process. With --cluster-init, --server, or where there was one before, it is what k3s calls
// embedded etcd, reachable on the node's address; otherwise, where k3s has SQLite, it is one that only listens on loopback and that
// nobody is told about.
type datastore struct {
	etcd     *embed.Etcd
	endpoint string
	db       string // <data-dir>/server/db
	nodeName string
	nodeIP   string
	name     string // of the member
	embedded bool
	joins    bool // there is no data yet, and a cluster to take it from
}

func (d *datastore) dir() string {
	if d.embedded {
		return filepath.Join(d.db, "etcd")
	}
	return filepath.Join(d.db, "state")
}

// hasData tells whether there is a write-ahead log: then this is a member, whatever flags say.
func (d *datastore) hasData() bool { return exists(filepath.Join(d.db, "etcd/member/wal")) }
func (d *datastore) peerURL() string {
	return "https://" + net.JoinHostPort(d.nodeIP, "2380")
}
func (d *datastore) clientURL() string {
	return "https://" + net.JoinHostPort(d.nodeIP, "2379")
}

// prepareDatastore decides which datastore there is, by k3s' rules and in their order; nothing runs yet.
func prepareDatastore(s settings, dir, nodeName, nodeIP string) (*datastore, error) {
	if endpoint := s.get("datastore-endpoint", ""); endpoint != "" {
		return nil, errors.New("the lab's k3s has no external datastore (--datastore-endpoint)")
	}
	d := &datastore{db: filepath.Join(dir, "db"), nodeName: nodeName, nodeIP: nodeIP, endpoint: "https://127.0.0.1:2379"}
	if d.nodeIP == "" {
		d.nodeIP = "127.0.0.1"
	}
	if err := d.leaveTombstone(); err != nil {
		return nil, err
	}
	token, err := s.secret("token")
	if err != nil {
		return nil, err
	}
	server := s.get("server", "")
	switch {
	case server != "" && s.on("cluster-reset"):
		return nil, errors.New("invalid flag use; cannot perform cluster-reset while server URL is set - remove server from configuration before resetting")
	case server != "" && token == "" && !d.hasData():
		return nil, errors.New("K3S_TOKEN is required to join a cluster")
	}
	d.embedded = d.hasData() || s.on("cluster-init") || server != ""
	d.joins = !d.hasData() && server != ""
	if !d.embedded {
		d.name = "default"
		return d, nil
	}
	return d, d.settleName(s.on("cluster-reset"))
}

// leaveTombstone sets aside the data of a member that was removed from its cluster.
func (d *datastore) leaveTombstone() error {
	etcd := filepath.Join(d.db, "etcd")
	if !exists(filepath.Join(etcd, "tombstone")) {
		return nil
	}
	info("tombstone file has been detected, removing data dir to rejoin the cluster")
	return os.Rename(etcd, fmt.Sprintf("%s-old-%d", etcd, time.Now().Unix()))
}

// settleName reads the member's name, or makes one: that of the node and eight more digits.
func (d *datastore) settleName(anew bool) error {
	path := filepath.Join(d.db, "etcd/name")
	name, err := os.ReadFile(path)
	if err == nil && !anew {
		d.name = string(name)
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.name = d.nodeName + "-" + newSuffix()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(d.name), 0o600)
}

func newSuffix() string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for range 8 {
		b.WriteByte(hex[rand.Intn(len(hex))])
	}
	return b.String()
}

// start runs the datastore and returns when the API server can use it.
func (d *datastore) start(ctx context.Context, c *cluster) error {
	if !d.embedded {
		if err := d.run(c.pki, d.config(c.pki, initial{cluster: d.name + "=https://127.0.0.1:2380", state: "new"})); err != nil {
			return err
		}
		return d.waitReady(ctx)
	}
	client, err := etcdClient(c.pki, d.endpoint)
	if err != nil {
		return err
	}
	c.members.Store(client)
	go manageLearners(ctx, client)
	migrates := !d.hasData() && !d.joins && exists(filepath.Join(d.db, "state/member"))
	how, err := d.initial(ctx, c)
	if err != nil {
		return err
	}
	if err := d.run(c.pki, d.config(c.pki, how)); err != nil {
		return err
	}
	if err := d.waitMember(ctx, client); err != nil {
		return err
	}
	if migrates {
		return d.migrate(ctx, c.pki, client)
	}
	return nil
}

// An initial is what a member without data is told of its cluster.
type initial struct {
	cluster, state string
	forceNew       bool
}

func (d *datastore) initial(ctx context.Context, c *cluster) (initial, error) {
	if !d.joins {
		return initial{cluster: d.name + "=" + d.peerURL(), state: "new"}, nil
	}
	members, err := d.join(ctx, c)
	if err != nil {
		return initial{}, err
	}
	info("Starting etcd to join cluster with members %v", members)
	return initial{cluster: strings.Join(members, ","), state: "existing"}, nil
}

func (d *datastore) config(p *pki, how initial) *embed.Config {
	c := embed.NewConfig()
	c.Name, c.Dir, c.LogLevel, c.UnsafeNoFsync, c.SnapshotCount = d.name, d.dir(), "error", true, 10000
	clients, peers, advertised := []string{d.endpoint}, []string{"https://127.0.0.1:2380"}, "https://127.0.0.1:2380"
	c.AdvertiseClientUrls = urls(d.endpoint)
	if d.embedded {
		c.TickMs, c.ElectionMs = 500, 5000
		advertised = d.peerURL()
		if !how.forceNew && d.nodeIP != "127.0.0.1" {
			clients, peers = append(clients, d.clientURL()), append(peers, d.peerURL())
			c.AdvertiseClientUrls = urls(d.clientURL())
		}
	}
	c.ListenClientUrls, c.ListenPeerUrls, c.AdvertisePeerUrls = urls(clients...), urls(peers...), urls(advertised)
	c.InitialCluster, c.ClusterState, c.ForceNewCluster = how.cluster, how.state, how.forceNew
	c.ClientTLSInfo = transport.TLSInfo{CertFile: p.crt("etcd/server-client"), KeyFile: p.key("etcd/server-client"), TrustedCAFile: p.crt("etcd/server-ca"), ClientCertAuth: true}
	c.PeerTLSInfo = transport.TLSInfo{CertFile: p.crt("etcd/peer-server-client"), KeyFile: p.key("etcd/peer-server-client"), TrustedCAFile: p.crt("etcd/peer-ca"), ClientCertAuth: true}
	return c
}

func (d *datastore) run(p *pki, config *embed.Config) error {
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	d.etcd = etcd
	if d.embedded {
		go d.watchRemoval(etcd)
	}
	return nil
}

// watchRemoval notes that others have removed this member. What is left of the server goes on, and joins anew when it is started again.
func (d *datastore) watchRemoval(etcd *embed.Etcd) {
	<-etcd.Server.StopNotify()
	if !etcd.Server.IsIDRemoved(uint64(etcd.Server.MemberID())) {
		return // stopped in order
	}
	if err := os.WriteFile(filepath.Join(d.dir(), "tombstone"), nil, 0o600); err != nil {
		warn("tombstone: %v", err)
	}
	info("this node has been removed from the cluster please restart k3s to rejoin the cluster")
}

func (d *datastore) waitReady(ctx context.Context) error {
	select {
	case <-d.etcd.Server.ReadyNotify():
		return nil
	case err := <-d.etcd.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (d *datastore) close() {
	if d.etcd != nil {
		d.etcd.Close()
	}
}

func urls(values ...string) (out []url.URL) {
	for _, value := range values {
		if u, err := url.Parse(value); err == nil {
			out = append(out, *u)
		}
	}
	return out
}
