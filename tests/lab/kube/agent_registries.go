package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// registries is what the lab's agent reads of /etc/rancher/k3s/registries.yaml: where images of a registry are really pulled from.
type registries struct {
	Mirrors map[string]struct {
		Endpoint []string `json:"endpoint"`
	} `json:"mirrors"`
}

// writeRegistries translates k3s' file of private registries into containerd's, below the directory that its configuration names.
func (n *node) writeRegistries() error {
	path := n.settings.get("private-registry", "/etc/rancher/k3s/registries.yaml")
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var given registries
	if err := yaml.Unmarshal(content, &given); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for registry, mirror := range given.Mirrors {
		name := registry
		if registry == "*" {
			name = "_default"
		}
		var out strings.Builder
		for _, endpoint := range mirror.Endpoint {
			if u, err := url.Parse(endpoint); err != nil || u.Host == "" {
				return fmt.Errorf("%s: %q is not a URL", path, endpoint)
			}
			fmt.Fprintf(&out, "[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", endpoint)
		}
		file := filepath.Join(n.path("etc/containerd/certs.d"), filepath.Base(name), "hosts.toml")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(out.String()), 0o600)); err != nil {
			return err
		}
	}
	return nil
}
