//! How a nested API is reached, and how that changes while it runs.

use anyhow::{Context as _, Result, ensure};
use k3k_tests::lab::{host_kubeconfig, in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::{Value, json};
use std::path::Path;

/// An address of the host's Service range that no Service has: the lab's nodes have a route there, and a load balancer's
/// address is their kube-proxies' matter.
const BALANCER: &str = "10.96.255.210";
const NAME: &str = "exposed.example";

fn patch(cluster: &NestedCluster, expose: &Value) -> Result<()> {
    let patch = json!({"spec": {"expose": expose}}).to_string();
    cluster.on_host(&["patch", "cluster", &cluster.name, "--type=merge", "-p", &patch]).map(drop)
}

fn condition(cluster: &NestedCluster) -> Result<String> {
    let fields =
        r#"jsonpath={range .status.conditions[?(@.type=="Exposed")]}{.status} {.reason} {.message}{end}"#;
    cluster.on_host(&["get", "cluster", &cluster.name, "-o", fields])
}

/// The cluster in the kubeconfig that a user gets now.
fn kubeconfig(cluster: &NestedCluster) -> Result<(String, Value)> {
    let text = succeed(in_host("kubectl").args(["k3k", "kubeconfig", "get", &cluster.name]))?;
    let config: Value = serde_saphyr::from_str(&text)?;
    Ok((text, config["clusters"][0]["cluster"].clone()))
}

/// Waits for a kubeconfig that leads to `url`, and uses it.
fn leads_to(cluster: &NestedCluster, url: impl Fn(&str) -> bool) -> Result<Value> {
    let asked =
        || kubeconfig(cluster).map(|(_, told)| told["server"].as_str().unwrap_or_default().to_owned());
    eventually("the kubeconfig follows", asked, |server| url(server))?;
    let (text, told) = kubeconfig(cluster)?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text)?;
    // The nodes route what the Service says a moment after it says so.
    let mut tried = Ok(String::new());
    eventually(
        "the address answers",
        || {
            tried = with(file.path(), &["get", "namespaces"]);
            Ok(tried.as_deref().is_ok_and(|namespaces| namespaces.contains("kube-system")))
        },
        |answered| *answered,
    )
    .with_context(|| format!("{tried:?}"))?;
    Ok(told)
}

fn with(kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
    let setting = format!("KUBECONFIG={}", kubeconfig.display());
    succeed(in_host("env").arg(setting).arg("kubectl").args(arguments))
}

#[test]
#[ignore = "needs the lab: make test"]
fn the_kubeconfig_follows_the_exposure_while_the_server_runs_on() -> Result<()> {
    let flags = ["--storage", "ephemeral", "--tls-san", NAME];
    let cluster = NestedCluster::create_with("exposed", &flags)?;
    let server =
        || cluster.on_host(&["get", "pod", "k3k-exposed-server-0", "-o", "jsonpath={.metadata.uid}"]);
    let (inside, before) = (kubeconfig(&cluster)?.1["server"].clone(), server()?);
    ensure!(condition(&cluster)?.is_empty(), "nothing was asked for");

    patch(&cluster, &json!({"nodePort": {}}))?;
    let told = leads_to(&cluster, |server| {
        server.starts_with("https://10.10.0.") && server.matches(':').count() == 2
    })?;
    ensure!(told["tls-server-name"] == "k3k-exposed-service", "{told}");
    let node_port = told["server"].as_str().context("a URL")?.to_owned();
    ensure!(condition(&cluster)? == format!("True NodePort {node_port}"), "{}", condition(&cluster)?);

    patch(&cluster, &json!({"nodePort": null, "loadBalancer": {"serverPort": 8443}}))?;
    let waits = |told: &String| told.starts_with("False AddressPending") && told.contains("describe service");
    eventually("the address is waited for", || condition(&cluster), waits)?;
    let page = succeed(in_host("kubectl").args(["k3k", "describe", "exposed"]))?;
    ensure!(page.contains("AddressPending"), "{page}");
    leads_to(&cluster, |server| inside == server)?;
    let given = json!({"status": {"loadBalancer": {"ingress": [{"ip": BALANCER}]}}}).to_string();
    cluster.on_host(&[
        "patch",
        "service",
        "k3k-exposed-service",
        "--subresource=status",
        "--type=merge",
        "-p",
        &given,
    ])?;
    let told = leads_to(&cluster, |server| server == format!("https://{BALANCER}:8443"))?;
    ensure!(told["tls-server-name"] == "k3k-exposed-service", "{told}");

    patch(
        &cluster,
        &json!({"loadBalancer": null, "ingress": {"ingressClassName": "none", "annotations": {"example.com/passthrough": "true"}}}),
    )?;
    let exposed = || condition(&cluster);
    eventually("the name is told", exposed, |told| {
        told.starts_with(&format!("True Ingress https://{NAME}"))
    })?;
    let told = kubeconfig(&cluster)?.1;
    ensure!(told["server"] == format!("https://{NAME}") && told["tls-server-name"].is_null(), "{told}");
    let rule = "jsonpath={.spec.ingressClassName} {.spec.rules[0].host} {.spec.rules[0].http.paths[0].backend.service.name}";
    let ingress = cluster.on_host(&["get", "ingress", "k3k-exposed-ingress", "-o", rule])?;
    ensure!(ingress == format!("none {NAME} k3k-exposed-service"), "{ingress}");
    // What an Ingress controller that passes TLS on would do: the API server answers to that name.
    let inside = inside.as_str().context("a URL")?;
    let answer = cluster.run(&["--server", inside, "--tls-server-name", NAME, "get", "--raw", "/readyz"])?;
    ensure!(answer == "ok", "{answer}");

    patch(&cluster, &Value::Null)?;
    leads_to(&cluster, |server| server == inside)?;
    eventually("nothing is told any more", || condition(&cluster), String::is_empty)?;
    let gone = || cluster.on_host(&["get", "ingress", "-o", "name"]);
    eventually("the Ingress is gone", gone, String::is_empty)?;
    let service =
        cluster.on_host(&["get", "service", "k3k-exposed-service", "-o", "jsonpath={.spec.type}"])?;
    ensure!(service == "ClusterIP", "{service}");
    ensure!(server()? == before, "the server was replaced on the way");
    let reasons = cluster.on_host(&["get", "events", "-o", "jsonpath={.items[*].reason}"])?;
    ensure!(reasons.contains("Exposed") && reasons.contains("NotExposed"), "{reasons}");
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_cluster_is_connected_to_and_left_again() -> Result<()> {
    let _cluster = NestedCluster::create("connected")?;
    let forwarded = ["k3k", "connect", "connected", "--port-forward", "--"];
    let nodes = succeed(in_host("kubectl").args(forwarded).args(["kubectl", "get", "nodes", "-o", "name"]))?;
    ensure!(nodes.trim() == "node/k3k-connected", "{nodes}");
    let view = ["kubectl", "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"];
    let server = succeed(in_host("kubectl").args(forwarded).args(view))?;
    ensure!(server.starts_with("https://127.0.0.1:"), "{server}");
    let server = succeed(in_host("kubectl").args(["k3k", "connect", "connected", "--"]).args(view))?;
    ensure!(server.starts_with("https://10.96."), "{server}");

    let mine = tempfile::NamedTempFile::new()?;
    std::fs::copy(host_kubeconfig(), mine.path())?;
    let before = with(mine.path(), &["config", "current-context"])?;
    with(mine.path(), &["k3k", "connect", "connected"])?;
    ensure!(with(mine.path(), &["config", "current-context"])?.trim() == "k3k-connected");
    ensure!(with(mine.path(), &["get", "nodes", "-o", "name"])?.trim() == "node/k3k-connected");
    with(mine.path(), &["k3k", "disconnect"])?;
    ensure!(with(mine.path(), &["config", "current-context"])? == before);
    let nothing = with(mine.path(), &["k3k", "disconnect"]);
    ensure!(nothing.is_err(), "there is nothing to go back to");
    Ok(())
}
