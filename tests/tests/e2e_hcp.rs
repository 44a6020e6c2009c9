//! A cluster in mode hcp: the host has its control plane alone, and workers join from elsewhere.

use anyhow::{Context as _, Result, ensure};
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually};
use k3k_tests::outside::Worker;
use serde_json::{Value, json};

const NAME: &str = "e2e-hcp";
const WORKER: &str = "worker-1";
const IMAGE: &str = "docker.io/library/busybox:1.36";

/// A web server and its Service, each called `name`.
fn web(name: &str) -> Value {
    let serve =
        format!("mkdir /www && echo {name} >/www/index.html && echo serving && exec httpd -f -p 80 -h /www");
    let container = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", serve],
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1}});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}},
    ]})
}

fn k3k(arguments: &[&str]) -> Result<String> {
    succeed(in_host("kubectl").arg("k3k").args(arguments))
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_worker_elsewhere_joins_runs_pods_and_comes_back() -> Result<()> {
    let cluster = NestedCluster::create_with(NAME, &["--mode", "hcp", "--expose", "nodeport"])?;
    let described = k3k(&["describe", NAME])?;
    ensure!(described.contains(&format!("kubectl k3k join {NAME}")), "{described}");

    // The commands hold no secret; that comes by itself, and names the cluster's authority.
    let join: Value = serde_json::from_str(&k3k(&["join", NAME, "-o", "json"])?)?;
    let token = k3k(&["join", NAME, "--token-file", "-"])?;
    ensure!(token.starts_with("K10") && token.contains("::node:"), "a token without the authority's hash");
    let text = k3k(&["join", NAME])?;
    let secret = token.trim().rsplit_once(':').context("a token without a secret")?.1;
    ensure!(!text.contains(secret) && !join.to_string().contains(secret), "the secret is shown unasked");
    let (url, install) =
        (join["url"].as_str().unwrap_or_default(), join["install"].as_str().unwrap_or_default());
    ensure!(text.contains(install) && install.contains(&format!("K3S_URL={url}")), "{text}");

    // Workers are told where the API is exposed, not where its pod is.
    let told = "jsonpath={range .endpoints[*]}{.addresses[0]} {end}{.ports[0].port}";
    let told = cluster.run(&["get", "endpointslice", "kubernetes", "-o", told])?;
    let port = url.rsplit_once(':').context("no port")?.1;
    ensure!(
        told == format!("10.10.0.2 10.10.0.3 {port}") || told == format!("10.10.0.2 {port}"),
        "{told} for {url}"
    );

    let worker = Worker::join(WORKER, &join, &token)?;
    let ready = r#"jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
    let nodes = || cluster.run(&["get", "nodes", "-o", ready]);
    eventually("the worker joins", nodes, |nodes| *nodes == format!("{WORKER} True\n"))
        .with_context(|| worker.log())?;

    // Pods run there; the API server reaches its kubelet over the connection that the agent keeps.
    cluster.apply(&web("one"))?;
    cluster.until_ready("one").with_context(|| worker.log())?;
    ensure!(cluster.run(&["get", "pod", "one", "-o", "jsonpath={.spec.nodeName}"])? == WORKER);
    ensure!(cluster.run(&["logs", "one"])? == "serving\n");
    let by_name = |from: &str, to: &str| {
        cluster.run(&["exec", from, "--", "wget", "-qO-", &format!("http://{to}.default.svc.cluster.local")])
    };
    eventually("a Service by its name", || by_name("one", "one"), |page| page.trim() == "one")?;
    // In the host there is a server, without privileges, and no more.
    let powers = r"jsonpath={range .items[*]}{.metadata.name} {.spec.containers[*].securityContext.privileged} {.spec.hostNetwork}{end}";
    let on_host = cluster.on_host(&["get", "pods", "-o", powers])?;
    ensure!(on_host.trim() == format!("k3k-{NAME}-server-0 false"), "{on_host}");
    // It never was on a command line there.
    let command_lines = worker.run(&["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"])?;
    ensure!(!command_lines.contains(secret), "the secret is in a command line");

    // Another server pod has another address, of which the worker learns nothing.
    let server = format!("k3k-{NAME}-server-0");
    cluster.on_host(&["delete", "pod", &server, "--grace-period=1"])?;
    cluster.on_host(&["wait", "pod", &server, "--for=condition=Ready", "--timeout=240s"])?;
    let wait = ["wait", "clusters.k3k.io", NAME, "--for=condition=Ready", "--timeout=240s"];
    cluster.on_host(&wait)?;
    eventually("the worker's kubelet hears of a new pod", || cluster.apply(&web("two")), |()| true)?;
    cluster.until_ready("two").with_context(|| worker.log())?;
    eventually("logs", || cluster.run(&["logs", "two"]), |logs| logs == "serving\n")?;
    eventually("exec, and the other Service", || by_name("two", "one"), |page| page.trim() == "one")?;
    ensure!(nodes()? == format!("{WORKER} True\n"), "{}", nodes()?);

    cluster.delete()?;
    let kinds = "pods,statefulsets,persistentvolumeclaims,secrets,services";
    let left = succeed(in_host("kubectl").args(["-n", &cluster.namespace(), "get", kinds, "-o", "name"]));
    ensure!(left.as_deref().unwrap_or_default().trim().is_empty(), "{left:?}");
    drop(worker);
    let gone = succeed(std::process::Command::new("ip").args(["netns", "list"]))?;
    ensure!(!gone.contains(&format!("outside-{WORKER}")), "{gone}");
    Ok(())
}
