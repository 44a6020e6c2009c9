//! Services of every type in a nested cluster, and what they are in the host.

use anyhow::Result;
use k3k_api::names::translated;
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::{Value, json};

const IMAGE: &str = "docker.io/library/busybox:1.36";

fn server(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", "mkdir /www; echo -n it works >/www/index.html; exec httpd -f -p 8080 -h /www"]}],
    }})
}

fn service(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn ports() -> Value {
    json!([{"port": 80, "targetPort": 8080}])
}

/// A field of a nested Service, or of its host copy.
fn field(cluster: &NestedCluster, in_host: bool, name: &str, path: &str) -> Result<String> {
    let output = format!("jsonpath={{{path}}}");
    if in_host {
        let name = translated(&cluster.name, "default", name);
        cluster.on_host(&["get", "service", &name, "-o", &output])
    } else {
        cluster.run(&["get", "service", name, "-o", &output])
    }
}

fn events(cluster: &NestedCluster) -> Result<String> {
    let output = "jsonpath={range .items[*]}{.involvedObject.name} {.reason} {.message}{\"\\n\"}{end}";
    cluster.run(&["get", "events", "-o", output])
}

/// Asks for the page where the nested node says that it is reached from outside.
fn from_outside(cluster: &NestedCluster, port: &str) -> Result<String> {
    let address = "jsonpath={.items[0].status.addresses[?(@.type==\"ExternalIP\")].address}";
    let node = cluster.run(&["get", "nodes", "-o", address])?;
    succeed(in_host("curl").args(["-sS", "--max-time", "10", &format!("http://{node}:{port}/")]))
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_service_is_reached_from_outside_and_its_type_changes_both_ways() -> Result<()> {
    let cluster = NestedCluster::create("sv-types")?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        server("web"),
        service("web", &json!({"type": "NodePort", "selector": {"app": "web"}, "ports": ports()})),
        service("alias", &json!({"type": "ExternalName", "externalName": "example.org"})),
        service("headless", &json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": ports()})),
    ]}))?;
    cluster.until_ready("web")?;
    let node_port = |in_host| field(&cluster, in_host, "web", ".spec.ports[0].nodePort");
    eventually("the host has the node port", || node_port(true), |port| !port.is_empty())?;
    let port = node_port(false)?;
    assert_eq!(port, node_port(true)?, "one truth");
    eventually("reached", || from_outside(&cluster, &port), |page| page == "it works")?;

    // A port that is taken in the host is exchanged, and the tenant is told.
    cluster.apply(&service(
        "second",
        &json!({"type": "NodePort", "selector": {"app": "web"}, "ports": ports()}),
    ))?;
    let taken = field(&cluster, true, "web", ".spec.ports[0].nodePort")?;
    cluster.on_host(&["create", "service", "nodeport", "squatter", "--tcp=80:80"])?;
    let squatted =
        cluster.on_host(&["get", "service", "squatter", "-o", "jsonpath={.spec.ports[0].nodePort}"])?;
    assert_ne!(taken, squatted);
    let patch =
        json!([{"op": "replace", "path": "/spec/ports/0/nodePort", "value": squatted.parse::<u16>()?}]);
    cluster.run(&["patch", "service", "second", "--type=json", "-p", &patch.to_string()])?;
    eventually("told", || events(&cluster), |events| events.contains("second NodePortChanged"))?;
    let second = |in_host| field(&cluster, in_host, "second", ".spec.ports[0].nodePort");
    eventually(
        "both say the same",
        || Ok((second(false)?, second(true)?)),
        |(nested, host)| nested == host && *nested != squatted && !nested.is_empty(),
    )?;

    // A load balancer: the host's provider is played by this test.
    cluster.run(&[
        "patch",
        "service",
        "web",
        "-p",
        "{\"spec\":{\"type\":\"LoadBalancer\",\"loadBalancerIP\":\"192.0.2.1\"}}",
    ])?;
    let kind = |in_host| field(&cluster, in_host, "web", ".spec.type");
    eventually("a load balancer", || kind(true), |kind| kind == "LoadBalancer")?;
    let status = "{\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"192.0.2.7\"}]}}}";
    let host_name = translated(&cluster.name, "default", "web");
    cluster.on_host(&[
        "patch",
        "service",
        &host_name,
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ])?;
    let ingress = || field(&cluster, false, "web", ".status.loadBalancer.ingress[0].ip");
    eventually("its address is shown", ingress, |address| address == "192.0.2.7")?;
    eventually(
        "what is left out is told",
        || events(&cluster),
        |events| events.contains("web NotInHost") && events.contains("spec.loadBalancerIP"),
    )?;
    assert_eq!(field(&cluster, true, "web", ".spec.loadBalancerIP")?, "");

    // And back.
    cluster.run(&[
        "patch",
        "service",
        "web",
        "-p",
        "{\"spec\":{\"type\":\"ClusterIP\",\"loadBalancerIP\":null}}",
    ])?;
    eventually(
        "inside only",
        || Ok((kind(true)?, node_port(true)?)),
        |(kind, port)| kind == "ClusterIP" && port.is_empty(),
    )?;
    eventually("no address of a load balancer", ingress, String::is_empty)?;

    let listed = cluster.on_host(&["get", "services", "-o", "name"])?;
    assert!(!listed.contains("alias-default") && !listed.contains("headless-default"), "{listed}");
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn endpoints_that_a_tenant_names_lead_to_own_pods_only() -> Result<()> {
    let cluster = NestedCluster::create("sv-endpoints")?;
    cluster.apply(&server("web"))?;
    cluster.until_ready("web")?;
    let ip = cluster.run(&["get", "pod", "web", "-o", "jsonpath={.status.podIP}"])?;
    let foreign = succeed(in_host("kubectl").args([
        "-n",
        "kube-system",
        "get",
        "pods",
        "-l",
        "k8s-app=kube-dns",
        "-o",
        "jsonpath={.items[0].status.podIP}",
    ]))?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        service("by-slice", &json!({"ports": ports()})),
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "by-slice-1", "labels": {"kubernetes.io/service-name": "by-slice"}},
            "endpoints": [{"addresses": [ip]}, {"addresses": [foreign]}], "ports": [{"port": 8080}]},
        service("by-endpoints", &json!({"ports": ports()})),
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "by-endpoints"},
            "subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 8080}]}]},
    ]}))?;
    for name in ["by-slice", "by-endpoints"] {
        let address = cluster.run(&["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"])?;
        let fetch = || cluster.run(&["exec", "web", "--", "wget", "-qO-", &format!("http://{address}")]);
        eventually(name, fetch, |page| page == "it works")?;
    }
    let in_host = || {
        let output = "jsonpath={range .items[*]}{.endpoints[*].addresses} {end}";
        cluster.on_host(&[
            "get",
            "endpointslices",
            "-l",
            "k3k.io/clusterName=sv-endpoints,endpointslice.kubernetes.io/managed-by=k3k-kubelet",
            "-o",
            output,
        ])
    };
    let slices = in_host()?;
    assert!(slices.contains(&ip) && !slices.contains(&foreign), "{slices}");
    eventually(
        "the refusal is told",
        || events(&cluster),
        |events| events.contains("by-slice EndpointRefused") && events.contains(&foreign),
    )?;

    // The address may be anybody's once the pod is gone.
    cluster.run(&["delete", "pod", "web", "--now"])?;
    eventually("no address left", in_host, |slices| !slices.contains(&ip))?;
    Ok(())
}
