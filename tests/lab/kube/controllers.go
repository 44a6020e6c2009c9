package main

import (
	"context"
	"strconv"

	"github.com/spf13/pflag"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

func controllerArgs(c *cluster) []string {
	p, kubeconfig := c.pki, c.credentials("controller")
	args := append(loopbackArgs(c, kubeconfig),
		"--allocate-node-cidrs=true", "--cluster-cidr="+c.podCIDR, "--service-cluster-ip-range="+c.serviceCIDR,
		"--service-account-private-key-file="+p.key("service"), "--root-ca-file="+p.crt("server-ca"), "--use-service-account-credentials=true",
		"--cluster-signing-kube-apiserver-client-cert-file="+p.crt("client-ca"), "--cluster-signing-kube-apiserver-client-key-file="+p.key("client-ca"),
		"--cluster-signing-kubelet-client-cert-file="+p.crt("client-ca"), "--cluster-signing-kubelet-client-key-file="+p.key("client-ca"),
		"--cluster-signing-kubelet-serving-cert-file="+p.crt("server-ca"), "--cluster-signing-kubelet-serving-key-file="+p.key("server-ca"),
		"--cluster-signing-legacy-unknown-cert-file="+p.crt("client-ca"), "--cluster-signing-legacy-unknown-key-file="+p.key("client-ca"),
		"--kube-api-qps=200", "--kube-api-burst=400", // by default it takes seconds to get the controllers' own accounts
		"--controllers=*,tokencleaner,-service,-route,-cloud-node-lifecycle")
	return append(args, flagsOf(c.settings["kube-controller-manager-arg"])...)
}

func schedulerArgs(c *cluster) []string {
	return append(loopbackArgs(c, c.credentials("scheduler")), flagsOf(c.settings["kube-scheduler-arg"])...)
}

// loopbackArgs are common to both: who they are, where they serve their health, and whether they may be the only ones.
func loopbackArgs(c *cluster, kubeconfig string) []string {
	p := c.pki
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--tls-cert-file=" + p.crt("serving-local"), "--tls-private-key-file=" + p.key("serving-local"),
		"--leader-elect=" + strconv.FormatBool(c.datastore.embedded), "--profiling=false",
	}
}

func runControllers(ctx context.Context, args []string) error {
	o, err := controlleroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, off, aliases := controllers.KnownControllers(), controllers.ControllersDisabledByDefault(), controllers.ControllerAliases()
	named := o.Flags(known, off, aliases)
	o.ParsedFlags = &named
	flags := pflag.NewFlagSet("kube-controller-manager", pflag.ContinueOnError)
	for _, set := range named.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, err := o.Config(ctx, known, off, aliases)
	if err != nil {
		return err
	}
	return controllers.Run(ctx, config.Complete())
}

func runScheduler(ctx context.Context, args []string) error {
	o := scheduleroptions.NewOptions()
	flags := pflag.NewFlagSet("kube-scheduler", pflag.ContinueOnError)
	for _, set := range o.Flags.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, s, err := scheduler.Setup(ctx, o)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, config, s)
}
