package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// followNodes keeps the nodes' names and addresses in the key NodeHosts of CoreDNS' ConfigMap, without which its volume cannot be
// mounted.
func followNodes(ctx context.Context, core kubernetes.Interface) {
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	factory := informers.NewSharedInformerFactory(core, 0)
	nodes := factory.Core().V1().Nodes()
	_, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
	})
	if err != nil {
		warn("nodes are not followed: %v", err)
		return
	}
	factory.Start(ctx.Done())
	var written *string
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		all, err := nodes.Lister().List(labels.Everything())
		if err != nil {
			continue
		}
		hosts := hostsOf(all)
		if written != nil && *written == hosts {
			continue
		}
		if err := writeHosts(ctx, core, hosts); err != nil {
			if !apierrors.IsNotFound(err) {
				warn("NodeHosts: %v", err)
			}
			time.AfterFunc(500*time.Millisecond, tell)
			continue
		}
		written = &hosts
	}
}

func hostsOf(nodes []*corev1.Node) string {
	var lines []string
	for _, node := range nodes {
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				lines = append(lines, fmt.Sprintf("%s %s\n", address.Address, node.Name))
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func writeHosts(ctx context.Context, core kubernetes.Interface, hosts string) error {
	maps := core.CoreV1().ConfigMaps("kube-system")
	if _, err := maps.Get(ctx, "coredns", metav1.GetOptions{}); err != nil {
		return err // only the packaged manifest makes it
	}
	object := corev1apply.ConfigMap("coredns", "kube-system").WithData(map[string]string{"NodeHosts": hosts})
	_, err := maps.Apply(ctx, object, metav1.ApplyOptions{FieldManager: "node-hosts", Force: true})
	return err
}
