//! What runs already when a policy becomes stricter: counted, named and told, until it is mended.

use crate::{Namespace, Policy, apply, host};
use anyhow::{Result, ensure};
use k3k_tests::nested::eventually;
use serde_json::{Value, json};

const NAME: &str = "e2e-audit";

fn violations() -> Result<Value> {
    let told = host(&["get", "virtualclusterpolicy", NAME, "-o", "jsonpath={.status.violations}"])?;
    Ok(serde_json::from_str(&told).unwrap_or_default())
}

fn reasons() -> Result<String> {
    let about = format!("involvedObject.kind=VirtualClusterPolicy,involvedObject.name={NAME}");
    host(&["get", "events", "-n", "default", "--field-selector", &about, "-o", "jsonpath={.items[*].reason}"])
}

#[test]
#[ignore = "needs the lab: make test"]
fn what_runs_and_would_not_get_in_any_more_is_told_until_it_is_mended() -> Result<()> {
    let _policy = Policy::apply(
        NAME,
        &json!({"podSecurityAdmissionLevel": "privileged", "disableNetworkPolicy": true}),
    )?;
    let _namespace = Namespace::create(NAME, Some(NAME))?;
    let pod = |name: &str, extra: &Value| {
        let mut spec = json!({
            "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "docker.io/library/busybox:1.36", "command": ["sleep", "3600"]}],
        });
        for (key, value) in extra.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAME}, "spec": spec})
    };
    apply(&pod("old", &json!({"hostPID": true})))?;
    apply(&pod("fine", &json!({})))?;

    let stricter = r#"{"spec": {"podSecurityAdmissionLevel": "baseline"}}"#;
    host(&["patch", "virtualclusterpolicy", NAME, "--type=merge", "-p", stricter])?;
    let found = eventually("the pod is counted", violations, |found| found["enforced"].as_u64() > Some(0))?;
    ensure!(found["examples"] == json!([format!("{NAME}/old: podSecurity.hostNamespaces")]), "{found}");
    eventually("it is told", reasons, |reasons| reasons.contains("ViolationsFound"))?;
    let page = host(&["k3k", "policy", "describe", NAME])?;
    ensure!(page.contains("1 would be denied") && page.contains("ViolationsFound"), "{page}");

    host(&["-n", NAME, "delete", "pod", "old"])?;
    let mended = eventually("it is not counted any more", violations, |found| found["enforced"] == 0)?;
    ensure!(mended.get("examples").is_none(), "{mended}");
    eventually("that is told", reasons, |reasons| reasons.contains("NoViolations")).map(drop)
}
