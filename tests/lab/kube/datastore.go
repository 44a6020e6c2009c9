package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

// A datastore is the etcd inside this process. With --cluster-init it is what k3s calls embedded etcd, reachable on the node's
// address; without, where k3s has SQLite, it is one that only listens on loopback and that nobody is told about.
type datastore struct {
	etcd     *embed.Etcd
	endpoint string
	dir      string
	nodeIP   string
	embedded bool
}

func prepareDatastore(s settings, dir, nodeIP string) (*datastore, error) {
	if endpoint := s.get("datastore-endpoint", ""); endpoint != "" {
		return nil, errors.New("the lab's k3s has no external datastore (--datastore-endpoint)")
	}
	if s.get("server", "") != "" {
		return nil, errors.New("the lab's k3s cannot join a second server (--server)")
	}
	embedded := s.on("cluster-init") || exists(filepath.Join(dir, "db/etcd/member"))
	d := &datastore{nodeIP: nodeIP, endpoint: "https://127.0.0.1:2379", embedded: embedded, dir: filepath.Join(dir, "db/state")}
	if embedded {
		d.dir = filepath.Join(dir, "db/etcd")
	}
	return d, nil
}

func (d *datastore) start(ctx context.Context, p *pki) error {
	c := embed.NewConfig()
	c.Name, c.Dir, c.LogLevel, c.UnsafeNoFsync, c.SnapshotCount = "default", d.dir, "error", true, 10000
	client, peer := []string{d.endpoint}, "https://127.0.0.1:2380"
	if d.embedded && d.nodeIP != "" {
		client = append(client, "https://"+d.nodeIP+":2379")
		peer = "https://" + d.nodeIP + ":2380"
	}
	c.ListenClientUrls, c.AdvertiseClientUrls = urls(client...), urls(client...)
	c.ListenPeerUrls, c.AdvertisePeerUrls = urls(peer), urls(peer)
	c.InitialCluster = c.Name + "=" + peer
	c.ClientTLSInfo = transport.TLSInfo{CertFile: p.crt("etcd/server-client"), KeyFile: p.key("etcd/server-client"), TrustedCAFile: p.crt("etcd/server-ca"), ClientCertAuth: true}
	c.PeerTLSInfo = transport.TLSInfo{CertFile: p.crt("etcd/peer-server-client"), KeyFile: p.key("etcd/peer-server-client"), TrustedCAFile: p.crt("etcd/peer-ca"), ClientCertAuth: true}
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	d.etcd = etcd
	select {
	case <-etcd.Server.ReadyNotify():
		return nil
	case err := <-etcd.Err():
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
