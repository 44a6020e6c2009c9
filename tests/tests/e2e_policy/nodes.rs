//! Nodes of one tenant alone: the lab's second node.

use crate::{Namespace, Policy, apply, host};
use anyhow::{Result, ensure};
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::{Value, json};

const LABEL: &str = "k3k.node-restriction.kubernetes.io/tenant";
const IMAGE: &str = "docker.io/library/busybox:1.36";
const NODE: &str = "host-1";

/// A label on the second node, gone when this is dropped; and a taint.
struct Dedicated;

impl Dedicated {
    fn node(taint: bool) -> Result<Self> {
        host(&["label", "node", NODE, "--overwrite", &format!("{LABEL}=e2e")])?;
        if taint {
            host(&["taint", "node", NODE, "--overwrite", "k3k.io/tenant=e2e:NoSchedule"])?;
        }
        Ok(Self)
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        let _ = host(&["taint", "node", NODE, "k3k.io/tenant-"]);
        let _ = host(&["label", "node", NODE, &format!("{LABEL}-")]);
    }
}

fn policy(placement: &str) -> Value {
    json!({"nodes": {
        "placement": placement, "requiredSelector": {LABEL: "e2e"},
        "tolerations": {"required": [{"key": "k3k.io/tenant", "value": "e2e", "effect": "NoSchedule"}]},
    }})
}

fn pod(name: &str, namespace: &str, extra: &Value) -> Value {
    let mut spec = json!({
        "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": IMAGE, "command": ["sleep", "3600"]}],
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_tenant_and_its_control_plane_stay_on_their_nodes() -> Result<()> {
    let _node = Dedicated::node(true)?;
    let _policy = Policy::apply("e2e-nodes", &policy("Dedicated"))?;
    let cluster =
        NestedCluster::create_with("e2e-nodes", &["--storage", "ephemeral", "--policy", "e2e-nodes"])?;
    // What tenants say of nodes and tolerations is about their own.
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": IMAGE, "command": ["sleep", "3600"]}],
    }}))?;
    cluster.until_ready("web")?;
    let nodes = cluster.on_host(&[
        "get",
        "pods",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}={.spec.nodeName}\n{end}",
    ])?;
    ensure!(nodes.lines().count() >= 3, "{nodes}");
    for line in nodes.lines() {
        ensure!(line.ends_with(&format!("={NODE}")), "{line} is elsewhere");
    }

    // Whoever may make pods in the namespace does not get out either.
    let namespace = &cluster.namespace();
    for (name, extra, rule) in [
        ("named", json!({"nodeName": "host-0"}), "guard.nodeName"),
        ("everything", json!({"tolerations": [{"operator": "Exists"}]}), "nodes.tolerations"),
        ("scheduler", json!({"schedulerName": "mine"}), "nodes.scheduler"),
    ] {
        let refused = apply_as("edit", namespace, &pod(name, namespace, &extra));
        ensure!(
            refused.as_ref().is_err_and(|error| format!("{error:#}").contains(rule)),
            "{name}: {refused:?}"
        );
    }
    // Another selector, and a choice of nodes beside it, are overruled.
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["host-0"]}]}, {"matchExpressions": [{"key": LABEL, "operator": "Exists"}]}]);
    let extra = json!({"nodeSelector": {LABEL: "other"}, "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
    apply_as("edit", namespace, &pod("or", namespace, &extra))?;
    eventually(
        "the pod has a node",
        || cluster.on_host(&["get", "pod", "or", "-o", "jsonpath={.spec.nodeName}"]),
        |node| node == NODE,
    )?;

    // Others stay away from the tenant's node.
    let _other = Namespace::create("e2e-nodes-other", None)?;
    apply(&pod("stranger", "e2e-nodes-other", &json!({"nodeSelector": {LABEL: "e2e"}})))?;
    eventually(
        "the stranger waits",
        || {
            host(&[
                "-n",
                "e2e-nodes-other",
                "get",
                "pod",
                "stranger",
                "-o",
                "jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}",
            ])
        },
        |reason| reason == "Unschedulable",
    )?;
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn nobody_joins_a_tenant_on_its_exclusive_nodes() -> Result<()> {
    until_free()?;
    let _node = Dedicated::node(false)?;
    let _policy = Policy::apply("e2e-exclusive", &policy("Exclusive"))?;
    let _mine = Namespace::create("e2e-exclusive", Some("e2e-exclusive"))?;
    for name in ["one", "two"] {
        apply(&pod(name, "e2e-exclusive", &json!({})))?;
        host(&["-n", "e2e-exclusive", "wait", "pod", name, "--for=condition=Ready", "--timeout=240s"])?;
    }
    // Nothing but the pods themselves keeps this one away: there is no taint.
    let _other = Namespace::create("e2e-exclusive-other", None)?;
    apply(&pod("stranger", "e2e-exclusive-other", &json!({"nodeSelector": {LABEL: "e2e"}})))?;
    eventually(
        "the stranger waits",
        || {
            host(&[
                "-n",
                "e2e-exclusive-other",
                "get",
                "pod",
                "stranger",
                "-o",
                "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}",
            ])
        },
        |message| message.contains("anti-affinity"),
    )?;
    Ok(())
}

/// Waits until no nested cluster has pods on the node. One that stays is named: a tenant that wants the node for itself would wait for it, too.
fn until_free() -> Result<()> {
    let fields = "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}";
    let namespaces = ["get", "namespaces", "-l", "k3k.io/cluster-namespace=true", "-o", "name"];
    let on_node = format!("spec.nodeName={NODE}");
    let pods = || {
        let mut found = String::new();
        for namespace in host(&namespaces)?.lines().filter_map(|name| name.strip_prefix("namespace/")) {
            found += &host(&["-n", namespace, "get", "pods", "--field-selector", &on_node, "-o", fields])?;
        }
        Ok(found)
    };
    eventually("no nested cluster has pods on the node", pods, String::is_empty).map(drop)
}

/// Applies a manifest as a person with the ClusterRole `edit` in the namespace.
fn apply_as(user: &str, namespace: &str, manifest: &Value) -> Result<()> {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": user, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
    });
    apply(&binding)?;
    let mut file = tempfile::NamedTempFile::with_suffix(".json")?;
    std::io::Write::write_all(&mut file, manifest.to_string().as_bytes())?;
    host(&["apply", "--as", user, "-f", &file.path().to_string_lossy()]).map(drop)
}
