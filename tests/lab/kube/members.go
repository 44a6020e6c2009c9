package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// testEvery is how often k3s looks whether its etcd can be used.
	testEvery = 5 * time.Second
	// promoteEvery is how often the leader looks for a learner that has caught up.
	promoteEvery = 15 * time.Second
	// etcdTimeout limits one look.
	etcdTimeout = 10 * time.Second
)

// etcdClient is a client with the certificate that the API server has as well.
func etcdClient(p *pki, endpoints ...string) (*clientv3.Client, error) {
	pair, err := tls.LoadX509KeyPair(p.crt("etcd/client"), p.key("etcd/client"))
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: 2 * time.Second, DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
		PermitWithoutStream: true,
		TLS:                 &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: p.etcd.pool(), MinVersion: tls.VersionTLS12},
	})
}

// waitMember waits until this is a voting member that its cluster knows by the address it has now. k3s has nobody but others to
// correct that address.
func (d *datastore) waitMember(ctx context.Context, client *clientv3.Client) error {
	for {
		err := d.test(ctx, client)
		if err == nil {
			info("etcd data store connection OK")
			return nil
		}
		info("Failed to test etcd connection: %v", err)
		select {
		case err := <-d.etcd.Err():
			return fmt.Errorf("etcd: %w", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(testEvery):
		}
	}
}

func (d *datastore) test(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	status, err := client.Status(ctx, d.endpoint)
	if err != nil {
		return err
	}
	if status.IsLearner {
		return errors.New("this server has not yet been promoted from learner to voting member")
	}
	all, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	return isMember(all.Members, d.name, d.peerURL())
}

// reset makes this the only member, whatever members there were.
func (d *datastore) reset(ctx context.Context, p *pki) error {
	client, err := etcdClient(p, d.endpoint)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	if err := d.run(p, d.config(p, initial{cluster: d.name + "=" + d.peerURL(), state: "new", forceNew: true})); err != nil {
		return err
	}
	defer d.close()
	if err := d.waitReady(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	all, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	if len(all.Members) != 1 {
		return fmt.Errorf("failed to update peer url: etcd still has %d members", len(all.Members))
	}
	_, err = client.MemberUpdate(ctx, all.Members[0].ID, []string{d.peerURL()})
	return err
}

// isMember is k3s' test: there is a member of that name which has, perhaps among others, that very URL.
func isMember(members []*etcdserverpb.Member, name, peerURL string) error {
	var found []string
	for _, member := range members {
		if member.Name == name && slices.Contains(member.PeerURLs, peerURL) {
			return nil
		}
		if len(member.PeerURLs) > 0 {
			found = append(found, member.Name+"="+member.PeerURLs[0])
		}
	}
	return fmt.Errorf("this server is a not a member of the etcd cluster. Found %v, expect: %s=%s", found, name, peerURL)
}

// manageLearners makes voters of learners that have caught up, on the member that leads.
func manageLearners(ctx context.Context, client *clientv3.Client) {
	tick := time.NewTicker(promoteEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := promoteOne(ctx, client); err != nil && ctx.Err() == nil {
			warn("Failed to manage etcd learners: %v", err)
		}
	}
}

func promoteOne(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	status, err := client.Status(ctx, client.Endpoints()[0])
	if err != nil || status.Header.MemberId != status.Leader {
		return err
	}
	all, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, member := range all.Members {
		if !member.IsLearner {
			continue
		}
		if _, err := client.MemberPromote(ctx, member.ID); err != nil {
			info("Unable to promote learner %s: %v", member.Name, err)
		} else {
			info("Promoted learner %s", member.Name)
		}
		return nil
	}
	return nil
}

// join becomes a learner of the cluster, and returns its members as etcd is told of them.
func (d *datastore) join(ctx context.Context, c *cluster) ([]string, error) {
	for {
		members, err := d.tryJoin(ctx, c)
		if err == nil {
			return members, nil
		}
		if !errors.Is(err, rpctypes.ErrTooManyLearners) && !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, errMemberList) {
			return nil, fmt.Errorf("etcd cluster join failed: %w", err)
		}
		info("Waiting for other members to finish joining etcd cluster: %v", err)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

var errMemberList = errors.New("failed to get MemberList from server")

func (d *datastore) tryJoin(ctx context.Context, c *cluster) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	known, err := c.server.members(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errMemberList, err)
	}
	plan, err := planJoin(known, d.name, d.nodeName, d.nodeIP)
	if err != nil {
		return nil, errors.Join(err, os.Remove(filepath.Join(d.db, "etcd/name")))
	}
	if !plan.add {
		return plan.cluster, nil
	}
	client, err := etcdClient(c.pki, plan.clients...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	info("Adding member %s=%s to etcd cluster %v", d.name, d.peerURL(), plan.cluster)
	if _, err := client.MemberAddAsLearner(ctx, []string{d.peerURL()}); err != nil {
		return nil, err
	}
	return append(plan.cluster, d.name+"="+d.peerURL()), nil
}

// A joinPlan is how to become a member.
type joinPlan struct {
	cluster []string // name=URL, once for each URL of each member, but always with its first: so etcd wants members of one URL
	clients []string // where voters can be asked
	add     bool     // we are not among them yet
}

func planJoin(members []*etcdserverpb.Member, name, nodeName, address string) (joinPlan, error) {
	plan := joinPlan{add: true}
	for _, member := range members {
		called := member.Name
		for _, peer := range member.PeerURLs {
			ours := len(urls(peer)) == 1 && urls(peer)[0].Hostname() == address
			if called == "" && ours {
				called = name
			}
			if called == name && ours {
				plan.add = false
			}
			plan.cluster = append(plan.cluster, called+"="+member.PeerURLs[0])
		}
		node := called
		if hyphen := strings.LastIndex(called, "-"); hyphen > 1 {
			node = called[:hyphen]
		}
		if called != name && node == nodeName {
			return joinPlan{}, errors.New("duplicate node name found, please use a unique name for this node")
		}
		ours := slices.ContainsFunc(member.ClientURLs, func(u string) bool { return len(urls(u)) == 1 && urls(u)[0].Hostname() == address })
		if !member.IsLearner && !ours {
			plan.clients = append(plan.clients, member.ClientURLs...)
		}
	}
	if plan.add && len(plan.clients) == 0 {
		return joinPlan{}, errors.New("no member of the etcd cluster can be asked")
	}
	return plan, nil
}
