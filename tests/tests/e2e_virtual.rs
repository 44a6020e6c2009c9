//! A cluster in mode virtual: its servers and agents are pods of the host, and nodes inside.

use anyhow::{Context, Result, ensure};
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually, install};
use k3k_tests::workspace;
use serde_json::{Value, json};
use std::process::Command;

const NAME: &str = "e2e-virtual";
const IMAGE: &str = "docker.io/library/busybox:1.36";

/// The nested nodes, and whether each is ready.
fn nodes(cluster: &NestedCluster) -> Result<Vec<(String, String)>> {
    let path = r#"jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
    let text = cluster.run(&["get", "nodes", "-o", path])?;
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.map(|(name, ready)| (name.to_owned(), ready.to_owned())).collect())
}

fn ready(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), "True".to_owned())).collect()
}

/// A web server on every node, which says where it runs.
fn web() -> Value {
    let serve =
        "mkdir /www && echo $NODE >/www/index.html && echo serving on $NODE && exec httpd -f -p 80 -h /www";
    let node = json!({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}});
    let container = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", serve], "env": [node],
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1}});
    let apart = json!({"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container], "affinity": {"podAntiAffinity": apart}});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2,
            "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec}}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}},
    ]})
}

/// A cluster of one server and one agent, whose images of `registry.k8s.io` come from the lab's registry.
fn create() -> Result<NestedCluster> {
    install()?;
    let namespace = format!("k3k-{NAME}");
    let registry =
        |arguments: &[&str]| succeed(Command::new(workspace::path("tests/lab/registry")).args(arguments));
    let host = registry(&["up"])?;
    let metrics = "metrics-server/metrics-server:v0.9.0";
    registry(&["push", &format!("registry.k8s.io/{metrics}"), metrics])?;
    let mirrors = format!("mirrors: {{registry.k8s.io: {{endpoint: [\"http://{}\"]}}}}", host.trim());
    let _ = in_host("kubectl").args(["delete", "namespace", &namespace, "--ignore-not-found"]).output();
    succeed(in_host("kubectl").args(["create", "namespace", &namespace]))?;
    let literal = format!("--from-literal=registries.yaml={mirrors}");
    succeed(in_host("kubectl").args([
        "-n",
        &namespace,
        "create",
        "secret",
        "generic",
        "registries",
        &literal,
    ]))?;
    let file = "/etc/rancher/k3s/registries.yaml";
    let manifest = json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "metadata": {"name": NAME}, "spec": {
        "mode": "virtual", "agents": 1,
        "secretMounts": [{"secretName": "registries", "mountPath": file, "subPath": "registries.yaml"}]}});
    let path = tempfile::NamedTempFile::with_suffix(".json")?.into_temp_path();
    std::fs::write(&path, manifest.to_string())?;
    NestedCluster::create_with(NAME, &["-f", &path.to_string_lossy()])
}

fn set_agents(cluster: &NestedCluster, count: u32) -> Result<()> {
    let patch = json!({"spec": {"agents": count}}).to_string();
    cluster.on_host(&["patch", "clusters.k3k.io", NAME, "--type=merge", "-p", &patch]).map(drop)
}

fn until_cluster_is_ready(cluster: &NestedCluster) -> Result<()> {
    let wait = ["wait", "clusters.k3k.io", NAME, "--for=condition=Ready", "--timeout=240s"];
    cluster.on_host(&wait).map(drop).with_context(|| {
        let describe = succeed(in_host("kubectl").args(["k3k", "describe", NAME]));
        describe.unwrap_or_else(|error| format!("nor can it be described: {error:#}"))
    })
}

#[test]
#[ignore = "needs the lab: make test"]
fn nodes_are_pods_that_come_go_and_come_back() -> Result<()> {
    let cluster = create()?;
    let (server, agent, second) =
        ("k3k-e2e-virtual-server-0", "k3k-e2e-virtual-agent-0", "k3k-e2e-virtual-agent-1");
    ensure!(
        nodes(&cluster)? == ready(&[agent, server]),
        "create waits for all nodes: {:?}",
        nodes(&cluster)?
    );

    // Pods on both nodes are reached by the name of their Service from either.
    cluster.apply(&web())?;
    cluster.run(&["rollout", "status", "deployment/web", "--timeout=240s"])?;
    let place = r#"jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name}{"\n"}{end}"#;
    let pods = cluster.run(&["get", "pods", "-l", "app=web", "-o", place])?;
    let mut pods: Vec<(&str, &str)> = pods.lines().filter_map(|line| line.split_once(' ')).collect();
    pods.sort_unstable();
    ensure!(pods.iter().map(|(node, _)| *node).eq([agent, server]), "{pods:?}");
    for (node, pod) in &pods {
        ensure!(cluster.run(&["logs", pod])? == format!("serving on {node}\n"));
        for other in [agent, server] {
            let ask = ["exec", pod, "--", "wget", "-qO-", "http://web.default.svc.cluster.local"];
            eventually("every pod answers", || cluster.run(&ask), |answer| answer.trim() == other)?;
        }
    }
    // They are out of the host's sight.
    let on_host = cluster.on_host(&["get", "pods", "-o", "name"])?;
    ensure!(on_host.trim() == format!("pod/{agent}\npod/{server}"), "{on_host}");

    // What a metrics-server inside says of the nodes comes from their own kubelets.
    cluster.run(&["apply", "-f", &workspace::path("tests/lab/metrics-server.yaml").to_string_lossy()])?;

    // One node more, and one less: it does not stay behind as one that no longer reports.
    set_agents(&cluster, 2)?;
    let three = ready(&[agent, second, server]);
    eventually("a second agent joins", || nodes(&cluster), |nodes| *nodes == three)?;
    until_cluster_is_ready(&cluster)?;
    set_agents(&cluster, 1)?;
    eventually("its node is gone with it", || nodes(&cluster), |nodes| *nodes == ready(&[agent, server]))?;

    // An agent without data, and a server with its volume, come back as the nodes that they were.
    let uid = |node: &str| cluster.run(&["get", "node", node, "-o", "jsonpath={.metadata.uid}"]);
    let before = (uid(agent)?, uid(server)?);
    cluster.on_host(&["delete", "pod", agent, server, "--grace-period=1"])?;
    cluster.on_host(&["wait", "pod", agent, server, "--for=condition=Ready", "--timeout=240s"])?;
    until_cluster_is_ready(&cluster)?;
    ensure!((uid(agent)?, uid(server)?) == before);
    cluster.run(&["rollout", "status", "deployment/web", "--timeout=240s"])?;
    let answer = || cluster.run(&["exec", "deployment/web", "--", "wget", "-qO-", "http://web"]);
    eventually("the Service works again", answer, |answer| [agent, server].contains(&answer.trim()))?;
    eventually(
        "top",
        || cluster.run(&["top", "node", "--no-headers"]),
        |top| top.lines().count() == 2 && !top.contains("unknown"),
    )?;

    let described = succeed(in_host("kubectl").args(["k3k", "describe", NAME]))?;
    ensure!(described.contains(agent) && described.contains("AgentsReady True"), "{described}");
    cluster.delete()?;
    let kinds = "pods,statefulsets,persistentvolumeclaims,secrets,services";
    let left = cluster.on_host(&["get", kinds, "-o", "name"])?;
    ensure!(left.trim() == "secret/registries", "{left}");
    succeed(in_host("kubectl").args(["delete", "namespace", &cluster.namespace()])).map(drop)
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_policy_that_grants_no_privileges_refuses_the_cluster_with_the_reason() -> Result<()> {
    const POLICY: &str = "e2e-unprivileged";
    /// Takes the policy away again.
    struct Policy;
    impl Drop for Policy {
        fn drop(&mut self) {
            let namespace = ["delete", "namespace", "k3k-e2e-denied", "--ignore-not-found"];
            let _ = in_host("kubectl").args(namespace).output();
            let _ = in_host("kubectl").args(["k3k", "policy", "delete", POLICY, "--yes"]).output();
        }
    }
    install()?;
    let _policy = Policy;
    succeed(in_host("kubectl").args(["k3k", "policy", "create", POLICY, "--mode", "virtual"]))?;
    let create = ["k3k", "create", "e2e-denied", "--mode", "virtual", "--policy", POLICY, "--no-kubeconfig"];
    let refused = in_host("kubectl").args(create).output()?;
    let words = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success(), "{words}");
    ensure!(words.contains("podSecurity.controlPlane") && words.contains("spec.mode"), "{words}");
    // By now the webhook is asked about the namespace, and the next one is refused at once.
    let next =
        ["k3k", "create", "e2e-denied-2", "-n", "k3k-e2e-denied", "--mode", "virtual", "--no-kubeconfig"];
    let refused = in_host("kubectl").args(next).output()?;
    let words = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success() && words.contains("podSecurity.controlPlane"), "{words}");
    let stored = ["-n", "k3k-e2e-denied", "get", "clusters.k3k.io", "-o", "name"];
    let stored = succeed(in_host("kubectl").args(stored))?;
    ensure!(stored.trim() == "cluster.k3k.io/e2e-denied", "{stored}");
    Ok(())
}
