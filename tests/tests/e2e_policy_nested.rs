//! What the host would refuse, told inside a nested cluster at once. (That the host decides: `e2e_shared.rs`.)

use anyhow::{Context, Result};
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

const IMAGE: &str = "docker.io/library/busybox:1.36";

/// Whether kubectl could apply `manifest`, and what it said on standard error. Nothing stays of it with `--dry-run=server`.
fn applied(cluster: &NestedCluster, manifest: &Value, flags: &[&str]) -> Result<(bool, String)> {
    let mut kubectl = cluster.kubectl();
    kubectl.args(["apply", "-f", "-"]).args(flags);
    kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = kubectl.spawn()?;
    child.stdin.take().context("standard input")?.write_all(manifest.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn spec(privileged: bool) -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "c", "image": IMAGE, "command": ["sleep", "3600"], "securityContext": {"privileged": privileged},
        }],
    })
}

fn pod(name: &str, privileged: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec(privileged)})
}

fn deployment(name: &str, privileged: bool) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": spec(privileged)},
    }})
}

/// Waits until a pod that would be privileged is refused, or is not any more, and gives what was said.
fn until_privileged_is(cluster: &NestedCluster, admitted: bool) -> Result<String> {
    let ask = || applied(cluster, &pod("privileged", true), &["--dry-run=server"]);
    eventually("what may be privileged", ask, |(done, _)| *done == admitted).map(|(_, said)| said)
}

/// A policy of the host, and the label that binds a cluster's namespace to it; both gone when dropped.
struct Policy<'a> {
    name: &'a str,
    namespace: String,
}

impl<'a> Policy<'a> {
    fn bind(name: &'a str, level: &str, cluster: &NestedCluster) -> Result<Self> {
        let policy = Self { name, namespace: cluster.namespace() };
        policy.set(level)?;
        let label = format!("policy.k3k.io/policy-name={name}");
        succeed(in_host("kubectl").args(["label", "namespace", &policy.namespace, "--overwrite", &label]))?;
        Ok(policy)
    }

    fn set(&self, level: &str) -> Result<()> {
        let mut file = tempfile::NamedTempFile::with_suffix(".json")?;
        let manifest = json!({
            "apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "metadata": {"name": self.name},
            "spec": {"podSecurityAdmissionLevel": level, "disableNetworkPolicy": true},
        });
        file.write_all(manifest.to_string().as_bytes())?;
        succeed(in_host("kubectl").arg("apply").arg("-f").arg(file.path())).map(drop)
    }
}

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        let unbind = ["label", "namespace", &self.namespace, "policy.k3k.io/policy-name-"];
        let _ = in_host("kubectl").args(unbind).output();
        let _ =
            in_host("kubectl").args(["delete", "virtualclusterpolicy", self.name, "--wait=false"]).output();
    }
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_bad_pod_is_refused_at_once_and_a_template_warned_about() -> Result<()> {
    let cluster = NestedCluster::create("e2e-advised")?;
    let said = until_privileged_is(&cluster, false)?;
    assert!(said.contains("policy.k3k.io") && said.contains("privileged"), "{said}");
    let (done, said) = applied(&cluster, &pod("bad", true), &[])?;
    assert!(!done && said.contains("spec.containers[0].securityContext.privileged"), "{said}");
    assert_eq!(cluster.run(&["get", "pods", "-o", "name"])?, "", "no pod that waits for ever");

    let (done, said) = applied(&cluster, &deployment("bad", true), &[])?;
    assert!(
        done && said.contains("Warning: ") && said.contains("spec.template.spec.containers[0]"),
        "{said}"
    );
    let events = || cluster.run(&["describe", "replicasets", "-l", "app=bad"]);
    eventually("the ReplicaSet says why it has no pods", events, |text| {
        text.contains("FailedCreate") && text.contains("policy.k3k.io")
    })?;

    // What may run runs, the cluster's own DNS, too.
    assert_eq!(applied(&cluster, &pod("good", false), &[])?, (true, String::new()));
    cluster.until_ready("good")?;
    assert_eq!(applied(&cluster, &deployment("good", false), &[])?, (true, String::new()));
    cluster.run(&["rollout", "status", "deployment/good", "--timeout=240s"])?;
    cluster.run(&["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=240s"])?;

    // A tenant may take it away; it comes back, and nothing depends on it.
    cluster.run(&["delete", "validatingwebhookconfiguration", "k3k-policy"])?;
    until_privileged_is(&cluster, true)?;
    until_privileged_is(&cluster, false)?;
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_policy_is_followed_inside_without_a_restart() -> Result<()> {
    let cluster = NestedCluster::create("e2e-followed")?;
    until_privileged_is(&cluster, false)?;
    let kubelets = || {
        let uids = "jsonpath={.items[*].metadata.uid}";
        cluster.on_host(&["get", "pods", "-l", "k3k.io/component=kubelet", "-o", uids])
    };
    // The second comes some seconds after the first.
    let before = eventually("two virtual kubelets", kubelets, |uids| uids.split_whitespace().count() == 2)?;
    let policy = Policy::bind("e2e-followed", "privileged", &cluster)?;
    until_privileged_is(&cluster, true)?;
    policy.set("restricted")?;
    let said = until_privileged_is(&cluster, false)?;
    assert!(said.contains("e2e-followed"), "the policy is named: {said}");
    let (done, said) = applied(&cluster, &pod("plain", false), &["--dry-run=server"])?;
    assert!(!done && said.contains("runAsNonRoot"), "{said}");
    assert_eq!(kubelets()?, before, "nobody was started anew");
    Ok(())
}
