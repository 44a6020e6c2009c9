package main

import (
	_ "embed"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed coredns.yaml
var coreDNS string

// writePackaged puts the manifests that come with k3s into the directory, again at each start, but for those that are disabled.
func writePackaged(dir string, c *cluster) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if slices.Contains(c.settings["disable"], "coredns") {
		return nil
	}
	filled := strings.NewReplacer("%{CLUSTER_DNS}%", c.dns, "%{CLUSTER_DOMAIN}%", c.domain).Replace(coreDNS)
	return os.WriteFile(filepath.Join(dir, "coredns.yaml"), []byte(filled), 0o600)
}
