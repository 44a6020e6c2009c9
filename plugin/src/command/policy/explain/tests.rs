use super::*;
use serde_json::json;
use std::sync::Arc;

fn named(spec: &Value) -> Governing {
    let object = json!({"metadata": {"name": "gold"}, "spec": spec});
    Governing::Named(Arc::new(k3k_policy::read_policy(&object).expect("policy")))
}

fn now() -> jiff::Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("time")
}

#[test]
fn a_tenants_pod() {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-shop-abc", "labels": {labels::CLUSTER_NAME: "dev"},
        "annotations": {labels::VIRTUAL_NAME: "web", labels::VIRTUAL_NAMESPACE: "shop"}},
        "spec": {"nodeName": "n", "hostNetwork": true, "containers": [{"name": "a", "image": "docker.io/library/nginx:1"}]}});
    let governing = named(
        &json!({"nodes": {"requiredSelector": {"pool": "a"}}, "images": {"digest": "Require"},
        "enforcement": {"rules": [{"name": "images.digest", "mode": "Warn"}], "exemptions": [{"name": "e", "rules": ["podSecurity.hostNamespaces"],
            "reason": "until moved", "expiresAt": "2026-06-01T00:00:00Z", "virtualNamespaces": ["other"]}, {"name": "s", "rules": ["nodes.scheduler"],
            "reason": "own scheduler", "expiresAt": "2026-06-01T00:00:00Z"}]}}),
    );
    insta::assert_snapshot!(explained(&object, None, "k3k-dev", &governing, now()));
}

#[test]
fn a_tenants_pod_that_the_host_refused() {
    let own = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"nodeName": "k3k-dev", "containers": [
        {"name": "a", "image": "docker.io/library/nginx:1", "securityContext": {"privileged": true}}]}});
    let governing = named(&json!({"images": {"pullPolicy": "Always"}}));
    insta::assert_snapshot!(refused(&own, "dev", "shop", &governing, now()));
}

#[test]
fn a_pod_of_a_control_plane_without_its_policy() {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "k3k-dev-server-0",
        "labels": {labels::COMPONENT: "server", labels::CLUSTER: "dev"}}, "spec": {"containers": []}});
    let governing = Governing::Missing { name: "gold".into() };
    insta::assert_snapshot!(explained(&object, None, "k3k-dev", &governing, now()));
}

#[test]
fn a_namespace() {
    let spec = json!({"allowedMode": "virtual", "defaultNodeSelector": {"pool": "tenants"}, "quota": {"hard": {"requests.cpu": "8"}},
        "sync": {"ingresses": {"enabled": false}}});
    let used = ["requests.cpu: 2 of 8 used".to_owned()];
    insta::assert_snapshot!("namespace", page::namespace("team-a", &named(&spec), &used, now()));
    insta::assert_snapshot!("namespace_default", page::namespace("team-a", &Governing::Default, &[], now()));
    let unreadable = Governing::Unreadable { name: "gold".into(), error: "spec.x: no".into() };
    insta::assert_snapshot!("namespace_unreadable", page::namespace("team-a", &unreadable, &[], now()));
}
