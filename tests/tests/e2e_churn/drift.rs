//! Hands that meddle with the host's copies, and with what they are copies of.

use super::agree::{differences, is_copy, text};
use super::faults::say;
use super::sides::Sides;
use super::until_agreed;
use anyhow::{Context, Result, ensure};
use k3k_api::labels::{
    self, CLUSTER_NAME, VIRTUAL_NAME, VIRTUAL_NAMESPACE, VIRTUAL_NAMESPACE_LABEL, component,
};
use k3k_tests::nested::{NestedCluster, WithoutController};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const IMAGE: &str = "docker.io/library/busybox:1.36";

/// A deployment that uses a ConfigMap, a Secret, a token and a claim; a Service of it, and one whose endpoints are named by hand.
fn manifests() -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a": "b"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"a": "b"}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Mi"}},
        }},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "type": "NodePort", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}],
        }},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "c", "image": IMAGE, "command": ["sleep", "3600"],
                    "envFrom": [{"configMapRef": {"name": "conf"}}],
                    "volumeMounts": [{"name": "key", "mountPath": "/key"}, {"name": "disk", "mountPath": "/disk"}],
                }],
                "volumes": [
                    {"name": "key", "secret": {"secretName": "key"}},
                    {"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}},
                ],
            }},
        }},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "solo", "labels": {"a": "b"}}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": IMAGE, "command": ["sleep", "3600"]}],
        }},
    ]})
}

/// What is done behind our back to the host copy of `name`.
#[derive(Clone, Copy, Debug)]
enum Hand {
    Deletes,
    Forces,
    /// Writes this, as a merge patch.
    Writes(fn() -> Value),
}

fn other_labels() -> Value {
    json!({"metadata": {"labels": {"app": "mine", "a": null, "more": "mine"}}})
}

fn no_identity() -> Value {
    json!({"metadata": {"labels": {CLUSTER_NAME: null, VIRTUAL_NAMESPACE_LABEL: null}}})
}

fn other_ports() -> Value {
    json!({"spec": {"ports": [{"name": "http", "port": 81, "protocol": "TCP"}], "selector": {"app": "mine"}}})
}

fn other_data() -> Value {
    json!({"data": {"a": "bWluZQ==", "more": "b2YgbWluZQ=="}})
}

/// By kind and name, or the beginning of a name.
const CASES: [(&str, &str, Hand); 13] = [
    ("Service", "web", Hand::Deletes),
    ("Service", "web", Hand::Writes(other_ports)),
    ("Service", "web", Hand::Writes(no_identity)),
    ("EndpointSlice", "named", Hand::Deletes),
    ("ConfigMap", "conf", Hand::Deletes),
    ("ConfigMap", "conf", Hand::Writes(other_data)),
    ("Secret", "key", Hand::Deletes),
    ("Secret", "key", Hand::Writes(other_data)),
    ("Secret", "key", Hand::Writes(no_identity)),
    ("Secret", "web-", Hand::Deletes),
    ("PersistentVolumeClaim", "disk", Hand::Writes(no_identity)),
    ("Pod", "web-", Hand::Writes(other_labels)),
    ("Pod", "solo", Hand::Writes(no_identity)),
];

/// One that exists, by kind and the beginning of the name of what it stands for: its name in the host, and its UID.
async fn copy(sides: &Sides, kind: &str, of: &str) -> Result<Option<(String, String)>> {
    let found = sides.host_api(kind).list(&ListParams::default()).await?;
    let copies = found.items.into_iter().filter_map(|object| serde_json::to_value(object).ok());
    let mut copies = copies.filter(|copy| {
        let annotations = &copy["metadata"]["annotations"];
        is_copy(copy)
            && annotations[VIRTUAL_NAMESPACE] == "default"
            && annotations[VIRTUAL_NAME].as_str().is_some_and(|name| name.starts_with(of))
    });
    let copy = copies.next();
    Ok(copy.map(|copy| (text(&copy, "/metadata/name").to_owned(), text(&copy, "/metadata/uid").to_owned())))
}

async fn meddle(sides: &Sides, kind: &str, of: &str, hand: Hand) -> Result<String> {
    say(&format!("{hand:?}: {kind} {of}"));
    let (name, uid) = copy(sides, kind, of).await?.with_context(|| format!("no copy of {kind} {of}"))?;
    let api = sides.host_api(kind);
    match hand {
        Hand::Deletes => drop(api.delete(&name, &DeleteParams::default()).await?),
        Hand::Forces => drop(
            api.delete(&name, &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() })
                .await?,
        ),
        Hand::Writes(patch) => {
            drop(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch())).await?);
        }
    }
    Ok(uid)
}

/// Ends all virtual kubelets. The controller starts them again once it runs again, which is when the guard is dropped.
fn leave(cluster: &NestedCluster) -> Result<WithoutController> {
    let without_controller = WithoutController::stop()?;
    let selector = format!("{}={}", labels::COMPONENT, component::KUBELET);
    cluster.on_host(&["scale", "deployment", &format!("k3k-{}-kubelet", cluster.name), "--replicas=0"])?;
    cluster.on_host(&["wait", "pods", "-l", &selector, "--for=delete", "--timeout=240s"])?;
    Ok(without_controller)
}

pub(crate) async fn run() -> Result<()> {
    let cluster = NestedCluster::create("e2e-drift")?;
    let sides = Sides::of(&cluster).await?;
    cluster.apply(&manifests())?;
    cluster.run(&["wait", "deployment", "web", "--for=condition=Available", "--timeout=240s"])?;
    cluster.until_ready("solo")?;
    let address = cluster.run(&["get", "pod", "solo", "-o", "jsonpath={.status.podIP}"])?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "named"}, "spec": {"ports": [{"name": "http", "port": 80}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "named", "labels": {"kubernetes.io/service-name": "named"}},
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    ]}))?;
    until_agreed(&sides, differences).await?;

    // Secrets are not watched.
    for (kind, of, hand) in CASES.into_iter().filter(|(kind, ..)| *kind != "Secret") {
        let before = copy(&sides, "Pod", "solo").await?;
        meddle(&sides, kind, of, hand).await?;
        until_agreed(&sides, differences).await.with_context(|| format!("{hand:?}: {kind} {of}"))?;
        ensure!(before == copy(&sides, "Pod", "solo").await?, "{hand:?} {kind} {of}: a pod was replaced");
    }

    say("all at once, and nobody looks");
    let away = leave(&cluster)?;
    for (kind, of, hand) in CASES {
        // What is deleted cannot be written to as well.
        if matches!(hand, Hand::Writes(_))
            || !CASES
                .iter()
                .any(|(other, name, hand)| (*other, *name) == (kind, of) && matches!(hand, Hand::Writes(_)))
        {
            meddle(&sides, kind, of, hand).await?;
        }
    }
    drop(away);
    until_agreed(&sides, differences).await?;

    // A host pod that goes takes its pod along, as a node's does; its controller makes another.
    for hand in [Hand::Deletes, Hand::Forces] {
        let old = meddle(&sides, "Pod", "web-", hand).await?;
        let renewed = |snapshot: &_| {
            let mut found = differences(snapshot);
            let web = |pod: &&Value| text(pod, "/metadata/labels/app") == "web";
            let pods: Vec<&Value> = snapshot.host["Pod"].iter().filter(web).collect();
            if pods.len() != 1 || pods.iter().any(|pod| text(pod, "/metadata/uid") == old) {
                found.push(format!("not one new host pod, but {}", pods.len()));
            }
            found
        };
        until_agreed(&sides, renewed).await.with_context(|| format!("{hand:?} a host pod"))?;
    }
    meddle(&sides, "Pod", "solo", Hand::Forces).await?;
    cluster.run(&["wait", "pod", "solo", "--for=delete", "--timeout=240s"])?;

    // What loses its place in our lists while nobody looks, and what it stands for as well, does not stay behind.
    say("orphans without a name");
    let away = leave(&cluster)?;
    for (kind, of) in [("Service", "web"), ("Pod", "web-"), ("PersistentVolumeClaim", "disk")] {
        meddle(&sides, kind, of, Hand::Writes(no_identity)).await?;
    }
    cluster.run(&["delete", "deployment,service,pvc", "--all", "--wait=false"])?;
    drop(away);
    until_agreed(&sides, differences).await
}
