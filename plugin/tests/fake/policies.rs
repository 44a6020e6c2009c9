//! A host with policies, for the tests of `policy …`.

use super::Fake;
use serde_json::json;

pub(crate) fn path(policy: &str) -> String {
    format!("/apis/k3k.io/v1beta1/virtualclusterpolicies/{policy}")
}

pub(crate) fn namespace(name: &str) -> String {
    format!("/api/v1/namespaces/{name}")
}

/// A host with two namespaces and a policy that governs the first.
pub(crate) fn host() -> Fake {
    let fake = Fake::start();
    fake.put(
        &path("gold"),
        json!({"kind": "VirtualClusterPolicy", "metadata": {"generation": 1}, "spec": {
        "podSecurityAdmissionLevel": "restricted", "images": {"digest": "Require"},
        "enforcement": {"rules": [{"name": "images", "mode": "Warn"}]}}}),
    );
    for (name, policy) in [("team-a", Some("gold")), ("team-b", None)] {
        let mut labels = json!({"owner": name});
        if let Some(policy) = policy {
            labels["policy.k3k.io/policy-name"] = policy.into();
        }
        fake.put(&namespace(name), json!({"kind": "Namespace", "metadata": {"labels": labels}}));
    }
    fake
}

pub(crate) fn stdout(fake: &Fake, args: &[&str], code: i32) -> String {
    let output = fake.command(args).assert().code(code).get_output().clone();
    String::from_utf8(output.stdout).expect("text")
}

pub(crate) fn stderr(fake: &Fake, args: &[&str], code: i32) -> String {
    let output = fake.command(args).assert().code(code).get_output().clone();
    String::from_utf8(output.stderr).expect("text")
}
