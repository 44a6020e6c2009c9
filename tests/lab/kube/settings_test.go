package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, "token: from-file\ntls-san: [a, b]\ndisable: x,y\nhttps-listen-port: 16443\ndisable-agent: true\nno-such-key: 1\n")
	write(t, file+".d/10-more.yaml", "tls-san+: [c]\ntoken: from-drop-in\n")
	write(t, file+".d/20-last.yml", "tls-san+: d\n")
	write(t, file+".d/ignored.txt", "token: never\n")

	t.Run("files", func(t *testing.T) {
		s, err := parseSettings("server", serverFlags, []string{"--config", file})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string][]string{
			"tls-san": {"a", "b", "c", "d"}, "token": {"from-drop-in"}, "disable": {"x", "y"}, "https-listen-port": {"16443"}, "no-such-key": nil,
		} {
			if got := s[name]; !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if !s.on("disable-agent") {
			t.Error("disable-agent is off")
		}
	})
	t.Run("environment beats files, the command line both", func(t *testing.T) {
		t.Setenv("K3S_TOKEN", "from-environment")
		s, err := parseSettings("server", serverFlags, []string{"-c", file})
		if err != nil || s.get("token", "") != "from-environment" {
			t.Errorf("token %q, %v", s.get("token", ""), err)
		}
		s, err = parseSettings("server", serverFlags, []string{"-c=" + file, "-t", "given", "--disable-agent=false"})
		if err != nil || s.get("token", "") != "given" || s.on("disable-agent") {
			t.Errorf("token %q, disable-agent %v, %v", s.get("token", ""), s.on("disable-agent"), err)
		}
	})
	t.Run("K3S_CONFIG_FILE beats --config", func(t *testing.T) {
		t.Setenv("K3S_CONFIG_FILE", file)
		s, err := parseSettings("server", serverFlags, []string{"--config", "/nowhere"})
		if err != nil || s.get("token", "") != "from-drop-in" {
			t.Errorf("token %q, %v", s.get("token", ""), err)
		}
	})
	t.Run("an absent file is an empty one", func(t *testing.T) {
		if _, err := parseSettings("server", serverFlags, []string{"--config", "/nowhere"}); err != nil {
			t.Error(err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		for args, want := range map[string]string{
			"--no-such-flag": "flag provided but not defined: -no-such-flag", "stray": "unexpected argument", "--token": "flag needs an argument",
			"--disable-agent=maybe": "invalid boolean value",
		} {
			if _, err := parseSettings("server", serverFlags, []string{args}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", args, err, want)
			}
		}
		if _, err := parseSettings("agent", agentFlags, []string{"--cluster-init"}); err == nil {
			t.Error("an agent takes a server's flag")
		}
	})
}
