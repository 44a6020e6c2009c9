package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	dir := t.TempDir()
	ca, err := createAuthority(filepath.Join(dir, "ca"), "ca")
	if err != nil {
		t.Fatal(err)
	}
	given := settings{"token": {"secret"}}
	p, err := settlePasswords(given, dir, ca)
	if err != nil || p.server != "secret" || p.node != "secret" {
		t.Fatalf("%+v, %v", p, err)
	}
	hash, err := ca.hash()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.write(dir, ca); err != nil {
		t.Fatal(err)
	}
	full := "K10" + hash + "::server:secret"
	for _, name := range []string{"token", "node-token", "agent-token"} {
		if content, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(content) != full+"\n" {
			t.Errorf("%s: %q, %v", name, content, err)
		}
	}
	for _, s := range []settings{{}, {"token": {full}}} {
		if p, err := settlePasswords(s, dir, ca); err != nil || p.server != "secret" {
			t.Errorf("%v: %+v, %v", s, p, err)
		}
	}
	other := "K10" + strings.Repeat("0", 64) + "::server:secret"
	if _, err := settlePasswords(settings{"token": {other}}, dir, ca); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("the token of another CA: %v", err)
	}
	p, err = settlePasswords(settings{"token": {"secret"}, "agent-token": {"agents"}}, dir, ca)
	if err != nil || p.node != "agents" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestTokenOfTheDatastore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	for i, try := range []struct {
		password string
		right    bool
	}{{"first", true}, {"first", true}, {"second", false}, {"first", true}} {
		if err := checkBootstrap(dir, try.password); (err == nil) != try.right {
			t.Errorf("start %d with %s: %v", i, try.password, err)
		}
	}
}
