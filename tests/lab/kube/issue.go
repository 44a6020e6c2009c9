package main

import (
	"errors"
)

// issueCommand signs a certificate with an authority on disk. The real k3s has no such command: the lab's own scripts use it for the
// nodes of the host.
func issueCommand(args []string) error {
	if len(args) != 5 {
		return errors.New("usage: k3s issue AUTHORITY OUTPUT NAME GROUP[,…] SAN[,…]")
	}
	ca, err := loadOrCreateAuthority(args[0], "")
	if err != nil {
		return err
	}
	return ca.issue(args[1], subject{args[2], split(args[3:4]), split(args[4:5]), both})
}
