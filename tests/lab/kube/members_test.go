package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

func member(name string, learner bool, peers ...string) *etcdserverpb.Member {
	m := &etcdserverpb.Member{Name: name, IsLearner: learner}
	for _, peer := range peers {
		m.PeerURLs = append(m.PeerURLs, "https://"+peer+":2380")
		m.ClientURLs = append(m.ClientURLs, "https://"+peer+":2379")
	}
	return m
}

func TestPlanOfJoining(t *testing.T) {
	first, second := member("s-0-aaaaaaaa", false, "192.0.2.1"), member("s-1-bbbbbbbb", true, "192.0.2.2")
	for _, c := range []struct {
		what    string
		members []*etcdserverpb.Member
		add     bool
		cluster []string
		failure string
	}{
		{"a new one is added", []*etcdserverpb.Member{first, second}, true, []string{"s-0-aaaaaaaa=https://192.0.2.1:2380", "s-1-bbbbbbbb=https://192.0.2.2:2380"}, ""},
		{"one that was added before has no name yet", []*etcdserverpb.Member{first, member("", true, "192.0.2.3")}, false, []string{"s-0-aaaaaaaa=https://192.0.2.1:2380", "s-2-cccccccc=https://192.0.2.3:2380"}, ""},
		{"the first URL counts, once for each", []*etcdserverpb.Member{member("s-0-aaaaaaaa", false, "192.0.2.1", "s-0.s")}, true, []string{"s-0-aaaaaaaa=https://192.0.2.1:2380", "s-0-aaaaaaaa=https://192.0.2.1:2380"}, ""},
		{"an older member of our name is in the way", []*etcdserverpb.Member{first, member("s-2-dddddddd", false, "192.0.2.9")}, false, nil, "duplicate node name"},
		{"a learner cannot be asked", []*etcdserverpb.Member{second}, true, nil, "can be asked"},
	} {
		plan, err := planJoin(c.members, "s-2-cccccccc", "s-2", "192.0.2.3")
		if (err == nil) != (c.failure == "") || err != nil && !strings.Contains(err.Error(), c.failure) {
			t.Errorf("%s: %v", c.what, err)
		} else if err == nil && (plan.add != c.add || !slices.Equal(plan.cluster, c.cluster)) {
			t.Errorf("%s: %+v", c.what, plan)
		}
	}
}

func TestMembershipIsByNameAndAddress(t *testing.T) {
	members := []*etcdserverpb.Member{member("s-0-aaaaaaaa", false, "192.0.2.1", "s-0.s")}
	if err := isMember(members, "s-0-aaaaaaaa", "https://192.0.2.1:2380"); err != nil {
		t.Error(err)
	}
	if isMember(members, "s-0-aaaaaaaa", "https://192.0.2.7:2380") == nil {
		t.Error("a member with another address passes")
	}
	if isMember(members, "s-0-bbbbbbbb", "https://192.0.2.1:2380") == nil {
		t.Error("a member with another name passes")
	}
}

func TestWhichDatastore(t *testing.T) {
	for _, c := range []struct {
		settings        settings
		wal             bool
		embedded, joins bool
		failure         string
	}{
		{settings{}, false, false, false, ""},
		{settings{}, true, true, false, ""},
		{settings{"cluster-init": {"true"}}, false, true, false, ""},
		{settings{"cluster-init": {"false"}}, true, true, false, ""},
		{settings{"server": {"https://192.0.2.1"}, "token": {"x"}}, false, true, true, ""},
		{settings{"server": {"https://192.0.2.1"}, "token": {"x"}}, true, true, false, ""},
		{settings{"server": {"https://192.0.2.1"}}, false, false, false, "K3S_TOKEN is required"},
		{settings{"server": {"https://192.0.2.1"}, "token": {"x"}, "cluster-reset": {"true"}}, true, false, false, "cannot perform cluster-reset"},
	} {
		dir := t.TempDir()
		if c.wal {
			if err := os.MkdirAll(filepath.Join(dir, "db/etcd/member/wal"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		d, err := prepareDatastore(c.settings, dir, "s-0", "192.0.2.1")
		switch {
		case c.failure != "":
			if err == nil || !strings.Contains(err.Error(), c.failure) {
				t.Errorf("%v: %v", c.settings, err)
			}
		case err != nil:
			t.Errorf("%v: %v", c.settings, err)
		case d.embedded != c.embedded || d.joins != c.joins:
			t.Errorf("%v: embedded %v, joins %v", c.settings, d.embedded, d.joins)
		}
	}
}

func TestNameIsKeptAndTombstoneSetsDataAside(t *testing.T) {
	dir := t.TempDir()
	prepare := func(s settings) *datastore {
		t.Helper()
		d, err := prepareDatastore(s, dir, "s-0", "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	join := settings{"server": {"https://192.0.2.9"}, "token": {"x"}}
	first := prepare(join)
	if !regexp.MustCompile(`^s-0-[0-9a-f]{8}$`).MatchString(first.name) || prepare(join).name != first.name {
		t.Errorf("name %q is not kept", first.name)
	}
	for _, name := range []string{"member/wal", "tombstone"} {
		if err := os.MkdirAll(filepath.Join(dir, "db/etcd", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	again := prepare(join)
	if again.name == first.name || !again.joins {
		t.Errorf("a removed member is %q again, joins: %v", again.name, again.joins)
	}
	if old, _ := filepath.Glob(filepath.Join(dir, "db/etcd-old-*")); len(old) != 1 {
		t.Errorf("data set aside: %v", old)
	}
}

func TestCriticalValuesMustAgree(t *testing.T) {
	ours := []byte(`{"ClusterDNS":"10.43.0.10","FlannelBackend":"vxlan","DataDir":"/a"}`)
	if d := differingValues(ours, []byte(`{"ClusterDNS":"10.43.0.10","FlannelBackend":"vxlan","DataDir":"/b"}`)); len(d) > 0 {
		t.Errorf("differ: %v", d)
	}
	if d := differingValues(ours, []byte(`{"ClusterDNS":"10.43.0.11","FlannelBackend":"vxlan"}`)); !slices.Equal(d, []string{"ClusterDNS"}) {
		t.Errorf("differ: %v", d)
	}
}
