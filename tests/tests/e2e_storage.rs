//! Tenants' claims, on the lab's real volumes.

use anyhow::Result;
use k3k_api::names::translated;
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, WithoutController, eventually};
use serde_json::{Value, json};
use std::process::Command;

const IMAGE: &str = "docker.io/library/busybox:1.36";

fn claim(name: &str, more: &Value) -> Value {
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        claim["spec"][key] = value.clone();
    }
    claim
}

/// A pod that runs `script` with `volume` at `/data`, and stays.
fn pod(name: &str, script: &str, volume: &Value) -> Value {
    let mut volume = volume.clone();
    volume["name"] = "data".into();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "c", "image": IMAGE, "command": ["sh", "-c", format!("{script}; exec sleep 3600")],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }],
        "volumes": [volume],
    }})
}

fn of(claim: &str) -> Value {
    json!({"persistentVolumeClaim": {"claimName": claim}})
}

/// Names of the host claims of tenants.
fn host_claims(cluster: &NestedCluster) -> Result<String> {
    let ours = format!("k3k.io/clusterName={}", cluster.name);
    cluster.on_host(&["get", "persistentvolumeclaims", "-l", &ours, "-o", "name"])
}

fn phase(cluster: &NestedCluster, claim: &str) -> Result<String> {
    cluster.run(&["get", "pvc", claim, "-o", "jsonpath={.status.phase}"])
}

/// A storage class of the host; removed when dropped.
struct HostClass(&'static str);

impl HostClass {
    fn create(name: &'static str, more: &Value) -> Result<Self> {
        let mut class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": "kubernetes.io/host-path",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            class[key] = value.clone();
        }
        let file = tempfile::Builder::new().suffix(".json").tempfile()?;
        serde_json::to_writer(&file, &class)?;
        succeed(in_host("kubectl").arg("apply").arg("-f").arg(file.path()))?;
        Ok(Self(name))
    }

    fn kubectl(arguments: &[&str]) -> Command {
        let mut command = in_host("kubectl");
        command.args(arguments);
        command
    }
}

impl Drop for HostClass {
    fn drop(&mut self) {
        let _ = Self::kubectl(&["delete", "storageclass", self.0, "--ignore-not-found"]).output();
    }
}

#[test]
#[ignore = "needs the lab: make test"]
fn data_outlives_the_pod_and_ends_with_the_claim() -> Result<()> {
    let cluster = NestedCluster::create("e2e-claims")?;
    let scratch = json!({"ephemeral": {"volumeClaimTemplate": {"spec": claim("", &Value::Null)["spec"]}}});
    for object in [
        claim("db", &Value::Null),
        pod("writer", "echo kept >/data/file", &of("db")),
        pod("scratch", "echo lost >/data/file", &scratch),
    ] {
        cluster.apply(&object)?;
    }
    cluster.until_ready("writer")?;
    cluster.until_ready("scratch")?;
    assert_eq!(phase(&cluster, "db")?, "Bound");
    let host_claim = translated("e2e-claims", "default", "db");
    let scratch_claim = translated("e2e-claims", "default", "scratch-data");
    let claims = host_claims(&cluster)?;
    assert!(claims.contains(&host_claim) && claims.contains(&scratch_claim), "{claims}");

    cluster.run(&["delete", "pod", "writer", "scratch", "--now"])?;
    eventually(
        "a pod's own claim goes with it",
        || host_claims(&cluster),
        |claims| !claims.contains(&scratch_claim),
    )?;
    cluster.apply(&pod("reader", "true", &of("db")))?;
    cluster.until_ready("reader")?;
    assert_eq!(cluster.run(&["exec", "reader", "--", "cat", "/data/file"])?, "kept\n");

    // A claim in use waits, as in any cluster, and its namesake gets a volume of its own.
    cluster.run(&["delete", "pvc", "db", "--wait=false"])?;
    assert!(host_claims(&cluster)?.contains(&host_claim));
    cluster.run(&["delete", "pod", "reader", "--now"])?;
    cluster.run(&["wait", "pvc", "db", "--for=delete", "--timeout=240s"])?;
    cluster.apply(&claim("db", &Value::Null))?;
    cluster.apply(&pod("reader", "true", &of("db")))?;
    cluster.until_ready("reader")?;
    assert_eq!(cluster.run(&["exec", "reader", "--", "ls", "/data"])?, "", "an empty volume");

    cluster.run(&["delete", "pod", "reader", "--now"])?;
    cluster.run(&["delete", "pvc", "db"])?;
    eventually("the host claim is gone", || host_claims(&cluster), String::is_empty)?;
    eventually("the volume is gone", || cluster.run(&["get", "pv", "-o", "name"]), String::is_empty)?;
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn classes_of_the_host_are_offered_on_request_and_keep_their_ways() -> Result<()> {
    let late = HostClass::create(
        "k3k-e2e-late",
        &json!({"volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Retain", "allowVolumeExpansion": true}),
    )?;
    let hidden = HostClass::create("k3k-e2e-hidden", &Value::Null)?;
    succeed(&mut HostClass::kubectl(&["label", "storageclass", hidden.0, "k3k.io/sync-enabled=false"]))?;
    let cluster = NestedCluster::create("e2e-classes")?;
    let classes = || cluster.run(&["get", "storageclasses", "-o", "name"]);
    assert_eq!(classes()?, "", "none unless asked for");
    let offer = |enabled: bool| {
        let patch = json!({"spec": {"sync": {"storageClasses": {"enabled": enabled}}}}).to_string();
        cluster.on_host(&["patch", "clusters.k3k.io", "e2e-classes", "--type=merge", "-p", &patch])
    };
    offer(true)?;
    let offered = eventually("offered", classes, |names| names.contains(late.0))?;
    assert!(offered.contains("hostpath") && !offered.contains(hidden.0), "{offered}");
    // What a tenant takes away comes back.
    cluster.run(&["delete", "storageclass", late.0])?;
    eventually("offered again", classes, |names| names.contains(late.0))?;

    // A claim waits for its pod on both sides, and neither waits for the other.
    cluster.apply(&claim("db", &json!({"storageClassName": late.0})))?;
    let host_claim = translated("e2e-classes", "default", "db");
    eventually("the host claim", || host_claims(&cluster), |claims| claims.contains(&host_claim))?;
    assert_eq!(phase(&cluster, "db")?, "Pending");
    cluster.apply(&pod("web", "true", &of("db")))?;
    cluster.until_ready("web")?;
    assert_eq!(phase(&cluster, "db")?, "Bound");

    // Growth goes to the host. No provisioner of the lab can grow a volume, so its part is played here.
    cluster.run(&[
        "patch",
        "pvc",
        "db",
        "-p",
        r#"{"spec":{"resources":{"requests":{"storage":"20Mi"}}}}"#,
    ])?;
    let asked = ["get", "pvc", &host_claim, "-o", "jsonpath={.spec.resources.requests.storage}"];
    eventually("the host is asked", || cluster.on_host(&asked), |size| size == "20Mi")?;
    let grown = r#"{"status":{"capacity":{"storage":"20Mi"}}}"#;
    cluster.on_host(&["patch", "pvc", &host_claim, "--subresource=status", "--type=merge", "-p", grown])?;
    let size = ["get", "pvc", "db", "-o", "jsonpath={.status.capacity.storage}"];
    eventually("the tenant sees it", || cluster.run(&size), |size| size == "20Mi")?;

    // Retained means retained, until the tenant gives the volume up.
    cluster.run(&["delete", "pod", "web", "--now"])?;
    cluster.run(&["delete", "pvc", "db"])?;
    let volumes = ["get", "pv", "-o", "jsonpath={.items[*].status.phase}"];
    eventually("released", || cluster.run(&volumes), |phase| phase == "Released")?;
    assert!(host_claims(&cluster)?.contains(&host_claim));
    cluster.run(&["delete", "pv", "--all"])?;
    eventually("given up", || host_claims(&cluster), String::is_empty)?;

    // Without the classes a claim still names one of the host's, and still does not wait in vain.
    offer(false)?;
    eventually("withdrawn", classes, String::is_empty)?;
    cluster.apply(&claim("db", &json!({"storageClassName": late.0})))?;
    cluster.apply(&pod("web", "true", &of("db")))?;
    cluster.until_ready("web")
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_claim_that_cannot_be_served_is_refused_with_the_reason() -> Result<()> {
    let cluster = NestedCluster::create("e2e-unserved")?;
    let cases = [
        (
            "cloned",
            json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "other"}}),
            "spec.dataSource",
        ),
        ("taken", json!({"volumeName": "somebodys"}), "spec.volumeName"),
        ("chosen", json!({"selector": {"matchLabels": {"a": "b"}}}), "spec.selector"),
    ];
    for (name, spec, path) in &cases {
        cluster.apply(&claim(name, spec))?;
        let describe = || cluster.run(&["describe", "pvc", name]);
        let text = eventually("refused", describe, |text| text.contains("NotSupported"))?;
        assert!(text.contains(path), "{text}");
    }
    // The host's own word reaches the tenant, in the tenant's names.
    cluster.on_host(&["create", "quota", "storage", "--hard=requests.storage=15Mi"])?;
    cluster.apply(&claim("fits", &Value::Null))?;
    eventually("served", || phase(&cluster, "fits"), |phase| phase == "Bound")?;
    cluster.apply(&claim("exceeds", &Value::Null))?;
    let describe = || cluster.run(&["describe", "pvc", "exceeds"]);
    let text = eventually("denied", describe, |text| text.contains("HostAdmissionDenied"))?;
    assert!(text.contains("exceeded quota"), "{text}");
    assert!(
        !text.contains(&translated("e2e-unserved", "default", "exceeds")),
        "no name of the host leaks: {text}"
    );
    let claims = host_claims(&cluster)?;
    assert_eq!(claims.lines().count(), 1, "{claims}");
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn what_ends_while_we_are_away_ends_in_the_host_too() -> Result<()> {
    let cluster = NestedCluster::create("e2e-away")?;
    cluster.apply(&claim("stays", &Value::Null))?;
    cluster.apply(&claim("goes", &Value::Null))?;
    eventually(
        "bound",
        || Ok([phase(&cluster, "stays")?, phase(&cluster, "goes")?]),
        |phases| phases.iter().all(|phase| phase == "Bound"),
    )?;
    // It would start the virtual kubelet again at its next look at the Deployment.
    let without_controller = WithoutController::stop()?;
    cluster.on_host(&["scale", "deployment", "k3k-e2e-away-kubelet", "--replicas=0"])?;
    cluster.on_host(&["wait", "pods", "-l", "k3k.io/component=kubelet", "--for=delete", "--timeout=240s"])?;
    cluster.run(&["delete", "pvc", "goes"])?;
    cluster.apply(&claim("comes", &Value::Null))?;
    drop(without_controller);
    eventually("the new one is bound", || phase(&cluster, "comes"), |phase| phase == "Bound")?;
    let gone = translated("e2e-away", "default", "goes");
    eventually("the old one is gone", || host_claims(&cluster), |claims| !claims.contains(&gone))?;
    let volumes = || cluster.run(&["get", "pv", "-o", "name"]);
    eventually("two volumes", volumes, |volumes| volumes.lines().count() == 2)?;
    assert_eq!(phase(&cluster, "stays")?, "Bound");
    Ok(())
}
