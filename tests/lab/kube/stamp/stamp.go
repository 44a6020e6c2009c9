// Package stamp lets one binary be several versions of K3s: what LAB_K3S_VERSION says, else what it was linked with. So the lab has an
// older release to upgrade from for the price of a few lines in an image's configuration.
//
// It depends on nothing but os, and its path sorts before those of Kubernetes: so it is initialized before anybody reads the version.
package stamp

import (
	"os"
	_ "unsafe" // for go:linkname
)

// Variable names the version of K3s that the process shall be, for example v1.35.6+k3s1. Images set it.
const Variable = "LAB_K3S_VERSION"

//go:linkname gitVersion k8s.io/component-base/version.gitVersion
var gitVersion string

//go:linkname gitMinor k8s.io/component-base/version.gitMinor
var gitMinor string

func init() {
	if wanted, minor := os.Getenv(Variable), ""; wanted != "" {
		if minor = minorOf(wanted); minor != "" {
			gitVersion, gitMinor = wanted, minor
		}
	}
}

// minorOf is the 35 of v1.35.6+k3s1, empty if the text is no version of Kubernetes 1.
func minorOf(version string) string {
	const prefix = "v1."
	if len(version) < len(prefix) || version[:len(prefix)] != prefix {
		return ""
	}
	rest := version[len(prefix):]
	for i := range len(rest) {
		switch {
		case rest[i] == '.' && i > 0:
			return rest[:i]
		case rest[i] < '0' || rest[i] > '9':
			return ""
		}
	}
	return ""
}
