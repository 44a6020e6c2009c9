// Command metrics-server is the stock one, for the lab's host and for nested clusters.
package main

import (
	"os"

	"k8s.io/apiserver/pkg/server"
	"sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

func main() {
	if err := app.NewMetricsServerCommand(server.SetupSignalHandler()).Execute(); err != nil {
		os.Exit(1)
	}
}
