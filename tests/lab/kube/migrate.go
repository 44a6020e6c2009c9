package main

import (
	"context"
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// migrate copies what a single server stored until now, in what stands for SQLite, into the new etcd, as k3s does when it is told
// --cluster-init for the first time.
func (d *datastore) migrate(ctx context.Context, p *pki, to *clientv3.Client) error {
	info("Migrating content from sqlite to etcd")
	old := &datastore{db: d.db, name: "default", endpoint: "https://127.0.0.1:2389"}
	config := old.config(p, initial{cluster: "default=https://127.0.0.1:2380", state: "new"})
	config.ListenPeerUrls = urls("https://127.0.0.1:2390")
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	old.etcd = etcd
	if err := old.waitReady(ctx); err != nil {
		old.close()
		return err
	}
	from, err := etcdClient(p, old.endpoint)
	if err == nil {
		err = copyKeys(ctx, from, to)
		_ = from.Close()
	}
	old.close()
	if err != nil {
		return err
	}
	return os.Rename(old.dir(), filepath.Join(d.db, "state.migrated"))
}

func copyKeys(ctx context.Context, from, to *clientv3.Client) error {
	const prefix = "/registry/"
	key, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		page, err := from.Get(ctx, key, clientv3.WithRange(end), clientv3.WithLimit(500))
		if err != nil {
			return err
		}
		for _, pair := range page.Kvs {
			if _, err := to.Put(ctx, string(pair.Key), string(pair.Value)); err != nil {
				return err
			}
			key = string(pair.Key) + "\x00"
		}
		if !page.More {
			return nil
		}
	}
}
