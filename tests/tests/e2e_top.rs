//! `kubectl top` inside a nested cluster, by a metrics-server of its own, beside what the host's says of the same pods.

use anyhow::{Context, Result, ensure};
use k3k_api::quantity::Quantity;
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually};
use k3k_tests::workspace;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const IMAGE: &str = "docker.io/library/busybox:1.36";
const PODS: &str = "/apis/metrics.k8s.io/v1beta1/pods";

/// The host's metrics-server; removed when dropped.
struct HostMetrics;

impl HostMetrics {
    fn install() -> Result<Self> {
        let installed = Self;
        succeed(metrics_server(&mut in_host("kubectl"), "apply"))?;
        succeed(&mut rollout(in_host("kubectl")))?;
        Ok(installed)
    }
}

impl Drop for HostMetrics {
    fn drop(&mut self) {
        let _ = metrics_server(&mut in_host("kubectl"), "delete").output();
    }
}

fn metrics_server<'a>(kubectl: &'a mut Command, verb: &str) -> &'a mut Command {
    kubectl.args([verb, "-f"]).arg(workspace::path("tests/lab/metrics-server.yaml"))
}

fn rollout(mut kubectl: Command) -> Command {
    kubectl.args(["-n", "kube-system", "rollout", "status", "deployment/metrics-server", "--timeout=240s"]);
    kubectl
}

/// The usage of a container, in billionths of a processor and in bytes, at a time.
type Figures = (String, i128, i64);

fn figures(metrics: &Value, container: &Value) -> Result<Figures> {
    let time = metrics["timestamp"].as_str().context("no time")?.to_owned();
    let amount = |what: &str| -> Result<Quantity> {
        container["usage"][what]
            .as_str()
            .with_context(|| format!("no {what}"))?
            .parse()
            .context("no quantity")
    };
    Ok((time, amount("cpu")?.to_nanos(), amount("memory")?.to_integer()))
}

/// What `list` says of the containers of each pod, by the pod's name.
fn by_pod(list: &str) -> Result<BTreeMap<String, Vec<Figures>>> {
    let list: Value = serde_json::from_str(list)?;
    let mut pods = BTreeMap::new();
    for item in list["items"].as_array().context("no items")? {
        let containers = item["containers"].as_array().context("no containers")?;
        let all = containers.iter().map(|container| figures(item, container)).collect::<Result<_>>()?;
        pods.insert(item["metadata"]["name"].as_str().context("no name")?.to_owned(), all);
    }
    Ok(pods)
}

#[test]
#[ignore = "needs the lab: make test"]
fn kubectl_top_shows_what_the_host_measures() -> Result<()> {
    let cluster = NestedCluster::create("e2e-top")?;
    let node = format!("k3k-{}", cluster.name);
    let of_node = |path: &str| cluster.run(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/{path}")]);

    // A host without a metrics API: an error, and no figures.
    // The Service leads to the virtual kubelet soon after the cluster is ready.
    let text = eventually("the node answers", || of_node("metrics/resource"), |_| true)?;
    ensure!(text.contains("\nscrape_error 1") && !text.contains("cpu_usage"), "{text}");
    assert_eq!(serde_json::from_str::<Value>(&of_node("stats/summary")?)?["pods"], json!([]));

    let _host = HostMetrics::install()?;
    // Held at a tenth of a processor, with memory that stays; and one that does nothing at all.
    let busy = "dd if=/dev/zero of=/dev/shm/held bs=1M count=24; while :; do :; done";
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "busy"}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", busy],
                            "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}}}],
        }},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "idle"}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": IMAGE, "command": ["sleep", "3600"]}],
        }},
    ]}))?;
    succeed(metrics_server(&mut cluster.kubectl(), "apply"))?;
    cluster.until_ready("busy")?;
    cluster.until_ready("idle")?;
    let own = of_node("metrics")?;
    ensure!(own.contains("k3k_kubelet_pod_steps_total{result=\"ok\"}"), "{own}");
    succeed(&mut rollout(cluster.kubectl()))?;

    let inside = || by_pod(&cluster.run(&["get", "--raw", PODS])?);
    let namespace = cluster.namespace();
    let on_host = || {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
        by_pod(&succeed(in_host("kubectl").args(["get", "--raw", &path]))?)
    };
    let names: BTreeSet<String> = eventually(
        "the figures of all pods",
        || Ok(inside()?.into_keys().collect::<BTreeSet<_>>()),
        |names| names.len() == 4,
    )?;
    let begins = |prefix: &str| names.iter().any(|name| name.starts_with(prefix));
    ensure!(["busy", "coredns-", "idle", "metrics-server-"].into_iter().all(begins), "{names:?}");

    // A figure is the host's of the same moment. The host has new ones every 15 s, and tells only the latest.
    let mut told: BTreeMap<String, Figures> = BTreeMap::new();
    eventually(
        "figures of the same moment",
        || {
            let host = on_host()?;
            let (_, all) = host.iter().find(|(name, _)| name.starts_with("busy-")).context("not measured")?;
            let figures = all.first().context("no container")?;
            told.insert(figures.0.clone(), figures.clone());
            let now = inside()?;
            let (time, cpu, memory) =
                now.get("busy").and_then(|all| all.first()).context("not told")?.clone();
            Ok((told.get(&time).cloned(), cpu, memory))
        },
        |(host, cpu, memory)| {
            // Whole seconds of a start weigh in the first figures of a container; later ones are exact but for rounding.
            host.as_ref()
                .is_some_and(|(_, on_host, bytes)| (cpu - on_host).abs() <= 100_000 && memory == bytes)
        },
    )?;

    let top = cluster.run(&["top", "pod", "--no-headers"])?;
    let lines: BTreeMap<&str, Vec<&str>> = top
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.collect()))
        })
        .collect();
    let read = |pod: &str, column: usize| -> Result<Quantity> {
        let word = lines.get(pod).and_then(|words| words.get(column)).with_context(|| top.clone())?;
        word.parse().with_context(|| top.clone())
    };
    let (cpu, memory) = (read("busy", 0)?.to_millis(), read("busy", 1)?.to_integer());
    ensure!((50..=150).contains(&cpu) && memory >= 24 << 20, "{top}");
    ensure!(read("idle", 0)?.to_millis() <= 10, "{top}");

    let top = eventually("the node's figures", || cluster.run(&["top", "node", "--no-headers"]), |_| true)?;
    let words: Vec<&str> = top.split_whitespace().collect();
    let [name, cpu, _, memory, _] = words[..] else { anyhow::bail!("{top}") };
    let (cpu, memory) = (cpu.parse::<Quantity>()?.to_millis(), memory.parse::<Quantity>()?.to_integer());
    ensure!(name == node && cpu >= 50 && memory >= 24 << 20, "{top}");
    // The machine below has far more in use than these four pods.
    let sum: i64 = inside()?.values().flatten().map(|(_, _, memory)| memory).sum();
    ensure!(memory <= sum * 3 / 2, "{top} against {sum} bytes of its pods");
    Ok(())
}
