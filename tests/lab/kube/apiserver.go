package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

func apiServerArgs(c *cluster) ([]string, error) {
	p, issuer := c.pki, "https://kubernetes.default.svc."+c.domain
	args := []string{
		"--advertise-address=" + c.advertise, "--allow-privileged=true", "--anonymous-auth=false", "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", "--enable-bootstrap-token-auth=true", "--profiling=false",
		"--service-cluster-ip-range=" + c.serviceCIDR, "--service-node-port-range=" + c.settings.get("service-node-port-range", "30000-32767"),
		"--etcd-servers=" + c.datastore.endpoint, "--etcd-cafile=" + p.crt("etcd/server-ca"), "--etcd-certfile=" + p.crt("etcd/client"), "--etcd-keyfile=" + p.key("etcd/client"),
		"--client-ca-file=" + p.crt("client-ca"), "--tls-cert-file=" + p.crt("serving-k3s"), "--tls-private-key-file=" + p.key("serving-k3s"),
		"--kubelet-certificate-authority=" + p.crt("server-ca"), "--kubelet-client-certificate=" + p.crt("client-kube-apiserver"), "--kubelet-client-key=" + p.key("client-kube-apiserver"),
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--service-account-issuer=" + issuer, "--api-audiences=" + issuer + ",k3s",
		"--service-account-key-file=" + p.key("service"), "--service-account-signing-key-file=" + p.key("service"),
		"--requestheader-client-ca-file=" + p.crt("request-header-ca"), "--requestheader-allowed-names=system:auth-proxy", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + p.crt("client-auth-proxy"), "--proxy-client-key-file=" + p.key("client-auth-proxy"),
	}
	if tunneled(c.settings.get("egress-selector-mode", "agent")) {
		selector, err := c.egressSelector()
		if err != nil {
			return nil, err
		}
		args = append(args, "--enable-aggregator-routing=true", "--egress-selector-config-file="+selector)
	}
	return append(args, flagsOf(c.settings["kube-apiserver-arg"])...), nil
}

// flagsOf turns the name=value words of a component's settings into its flags.
func flagsOf(words []string) (out []string) {
	for _, word := range words {
		out = append(out, "--"+word)
	}
	return out
}

// runAPIServer serves the Kubernetes API, with wrap around all of it, on connections that listener hands out, until ctx ends.
func runAPIServer(ctx context.Context, args []string, listener net.Listener, wrap func(http.Handler) http.Handler) error {
	o := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	named := o.Flags()
	for _, set := range named.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.SecureServing.Listener = listener
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if err := logsapi.ValidateAndApply(o.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return err
	}
	completed, err := o.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("%v", errs)
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return err
	}
	config.Aggregator.GenericConfig.BuildHandlerChainFunc = func(h http.Handler, c *genericapiserver.Config) http.Handler {
		return wrap(genericapiserver.DefaultBuildHandlerChain(h, c))
	}
	full, err := config.Complete()
	if err != nil {
		return err
	}
	server, err := app.CreateServerChain(full)
	if err != nil {
		return err
	}
	prepared, err := server.PrepareRun()
	if err != nil {
		return err
	}
	return prepared.Run(ctx)
}
