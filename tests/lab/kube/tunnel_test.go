package main

import (
	"net"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestANodeHoldsItsAddressesAndItsPods(t *testing.T) {
	node := &corev1.Node{
		Spec:   corev1.NodeSpec{PodCIDR: "10.52.1.0/24"},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "worker"}, {Type: corev1.NodeInternalIP, Address: "192.0.2.7"}}},
	}
	for address, want := range map[string]bool{"192.0.2.7": true, "10.52.1.200": true, "10.52.2.1": false, "192.0.2.8": false, "worker": false} {
		if got := holds(node, net.ParseIP(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if holds(&corev1.Node{}, nil) {
		t.Error("a node without anything holds nothing")
	}
}

func TestServersAreAtThePortHTTPSOfEachEndpoint(t *testing.T) {
	name, other, port := "https", "metrics", int32(31234)
	slice := discoveryv1.EndpointSlice{
		Ports:     []discoveryv1.EndpointPort{{Name: &other, Port: &port}, {Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}, {Addresses: []string{"2001:db8::1"}}},
	}
	got := addressesOf(slice)
	if len(got) != 2 || got[0] != "192.0.2.1:31234" || got[1] != "[2001:db8::1]:31234" {
		t.Errorf("%v", got)
	}
}

func TestAnAgentLetsServersReachItsKubeletAndPodsOnly(t *testing.T) {
	_, pods, _ := net.ParseCIDR("10.52.0.0/16")
	n := &node{name: "worker", ip: "192.0.2.7", config: agentConfig{ClusterIPRange: *pods}}
	for address, want := range map[string]bool{
		"192.0.2.7:10250": true, "127.0.0.1:10250": true, "10.52.3.4:8443": true,
		"192.0.2.7:22": false, "127.0.0.1:6444": false, "192.0.2.8:10250": false, "nonsense": false,
	} {
		if got := n.mayReach("tcp", address); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if n.mayReach("udp", "192.0.2.7:10250") {
		t.Error("only TCP is carried")
	}
}
