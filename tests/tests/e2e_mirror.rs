//! A cluster whose nodes stand for the host's.

use anyhow::{Context, Result};
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const IMAGE: &str = "docker.io/library/busybox:1.36";
const LABEL: &str = "k3k-e2e-mirror";

fn host(arguments: &[&str]) -> Result<String> {
    succeed(in_host("kubectl").args(arguments))
}

fn host_nodes() -> Result<Vec<String>> {
    let names = host(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"])?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

/// Takes back what a test did to the host's nodes.
struct Restored(Vec<String>);

impl Drop for Restored {
    fn drop(&mut self) {
        for node in &self.0 {
            let _ = host(&["uncordon", node]);
            let _ = host(&["label", "node", node, &format!("{LABEL}-")]);
            let _ = host(&["taint", "node", node, &format!("{LABEL}-")]);
        }
    }
}

fn node(cluster: &NestedCluster, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&cluster.run(&["get", "node", name, "-o", "json"])?)?)
}

fn nodes(cluster: &NestedCluster) -> Result<Vec<String>> {
    let names = cluster.run(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"])?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn deployment(replicas: u32) -> Value {
    let labels = json!({"app": "spread"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "spread"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": labels},
            }],
            "containers": [{"name": "c", "image": IMAGE, "command": ["sleep", "3600"]}],
        }},
    }})
}

/// Where pods are: by name, the nested node and the host's.
fn places(cluster: &NestedCluster) -> Result<BTreeMap<String, (String, String)>> {
    let items = |text: String| -> Result<Vec<Value>> {
        let list: Value = serde_json::from_str(&text)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ours = format!("k3k.io/clusterName={}", cluster.name);
    let hosts = items(cluster.on_host(&["get", "pods", "-l", &ours, "-o", "json"])?)?;
    let mut places = BTreeMap::new();
    for pod in items(cluster.run(&["get", "pods", "-o", "json"])?)? {
        let uid = &pod["metadata"]["uid"];
        let copy = hosts.iter().find(|host| &host["metadata"]["annotations"]["k3k.io/uid"] == uid);
        let copy = copy.with_context(|| format!("no host pod of {}", pod["metadata"]["name"]))?;
        let place = (text(&pod["spec"]["nodeName"]), text(&copy["spec"]["nodeName"]));
        places.insert(text(&pod["metadata"]["name"]), place);
    }
    Ok(places)
}

#[test]
#[ignore = "needs the lab: make test"]
fn nested_nodes_follow_the_hosts_and_pods_run_where_they_are_bound() -> Result<()> {
    let all = host_nodes()?;
    let _restored = Restored(all.clone());
    let last = all.last().context("a node")?.clone();
    for name in &all {
        host(&["label", "node", name, &format!("{LABEL}=yes"), "--overwrite"])?;
    }
    let selector = format!("{LABEL}=yes");
    let flags = ["--storage", "ephemeral", "--mirror-host-nodes", "--node-selector", &selector];
    let cluster = NestedCluster::create_with("e2e-mirror", &flags)?;
    eventually("a node for each of the host's", || nodes(&cluster), |nodes| *nodes == all)?;
    for name in &all {
        let ready = || node(&cluster, name);
        let nested = eventually("it is ready", ready, is_ready)?;
        let real: Value = serde_json::from_str(&host(&["get", "node", name, "-o", "json"])?)?;
        for key in ["kubernetes.io/hostname", "kubernetes.io/arch", LABEL] {
            assert_eq!(nested["metadata"]["labels"][key], real["metadata"]["labels"][key], "{key} of {name}");
        }
        assert_eq!(nested["status"]["allocatable"], real["status"]["allocatable"]);
        let lease = cluster.run(&[
            "-n",
            "kube-node-lease",
            "get",
            "lease",
            name,
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ])?;
        assert_eq!(lease, *name);
    }

    // The nested scheduler decides, and the host obeys.
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "chosen"}, "spec": {
        "terminationGracePeriodSeconds": 1, "nodeSelector": {"kubernetes.io/hostname": last},
        "containers": [{
            "name": "c", "image": IMAGE, "command": ["sh", "-c", "echo on $NODE; exec sleep 3600"],
            "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        }],
    }}))?;
    cluster.until_ready("chosen")?;
    assert_eq!(cluster.run(&["logs", "chosen"])?, format!("on {last}\n"));
    assert_eq!(cluster.run(&["exec", "chosen", "--", "echo", "hello"])?, "hello\n");
    cluster.apply(&deployment(4))?;
    cluster.run(&["rollout", "status", "deployment", "spread", "--timeout=240s"])?;
    let placed = places(&cluster)?;
    assert!(placed.values().all(|(nested, host)| nested == host), "{placed:?}");
    let mut counts = BTreeMap::new();
    for (name, (place, _)) in &placed {
        *counts.entry(place).or_insert(0) += usize::from(name.starts_with("spread"));
    }
    assert_eq!(counts.len(), all.len(), "{placed:?}");
    let (fewest, most) = (counts.values().min(), counts.values().max());
    assert!(most.zip(fewest).is_some_and(|(most, fewest)| most - fewest <= 1), "{placed:?}");

    // Changes of the host's nodes show inside.
    host(&["cordon", &last])?;
    let unschedulable = |node: &Value| node["spec"]["unschedulable"] == true;
    eventually("the cordon shows", || node(&cluster, &last), unschedulable)?;
    host(&["uncordon", &last])?;
    eventually("and its end", || node(&cluster, &last), |node| !unschedulable(node))?;
    host(&["taint", "node", &last, &format!("{LABEL}=x:PreferNoSchedule")])?;
    let tainted = |node: &Value| {
        node["spec"]["taints"]
            .as_array()
            .is_some_and(|taints| taints.iter().any(|taint| taint["key"] == LABEL))
    };
    eventually("the taint shows", || node(&cluster, &last), tainted)?;

    // A quota bounds what a node offers.
    cluster.on_host(&["create", "quota", "small", "--hard=requests.cpu=1500m"])?;
    eventually(
        "the quota shows",
        || node(&cluster, &last),
        |node| node["status"]["allocatable"]["cpu"] == "1500m",
    )?;
    cluster.on_host(&["delete", "quota", "small"])?;

    // A tenant's own Node of a host node's name is corrected, and one of another name gets no pod of the host.
    cluster.run(&["delete", "node", &last])?;
    eventually("a node that a tenant removed comes back", || nodes(&cluster), |nodes| *nodes == all)?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "made-up"}}))?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stray"}, "spec": {
        "nodeName": "made-up", "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": IMAGE}],
    }}))?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "later"}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": IMAGE, "command": ["sleep", "3600"]}],
    }}))?;
    cluster.until_ready("later")?;
    let ours = format!("k3k.io/clusterName={}", cluster.name);
    let copies = cluster.on_host(&["get", "pods", "-l", &ours, "-o", "name"])?;
    assert!(!copies.contains("stray-default") && copies.contains("later-default"), "{copies}");

    // A node that is no longer eligible goes.
    host(&["label", "node", &last, &format!("{LABEL}-")])?;
    eventually("its node has gone", || nodes(&cluster), |nodes| !nodes.contains(&last))?;
    host(&["label", "node", &last, &format!("{LABEL}=yes")])?;
    eventually("and comes again", || node(&cluster, &last), is_ready)?;
    Ok(())
}
