use super::*;
use serde_json::json;

fn live(kind: Kind, namespace: &str, name: &str, second: u8, mut object: Value) -> Live {
    object["apiVersion"] = "v1".into();
    object["kind"] = kind.kind.into();
    object["metadata"]["name"] = name.into();
    object["metadata"]["creationTimestamp"] = format!("2026-01-01T00:00:{second:02}Z").into();
    Live { kind, namespace: namespace.to_owned(), object }
}

#[test]
fn what_runs_is_held_against_the_policies() {
    let policy = json!({"metadata": {"name": "gold"}, "spec": {"tenancy": {"clustersPerNamespace": "Single"}, "images": {"digest": "Require"},
        "enforcement": {"rules": [{"name": "images", "mode": "Warn"}, {"name": "network", "mode": "Audit"}]},
        "network": {"services": {"types": ["ClusterIP"]}, "ingresses": {"hosts": ["*.a.example"]}}}});
    let governed = [
        ("team-a".to_owned(), Governing::Named(Arc::new(k3k_policy::read_policy(&policy).expect("policy")))),
        ("team-b".to_owned(), Governing::Default),
        ("team-c".to_owned(), Governing::Missing { name: "gone".into() }),
    ];
    let copy = json!({"metadata": {"labels": {labels::CLUSTER_NAME: "dev"}, "annotations": {labels::VIRTUAL_NAME: "web", labels::VIRTUAL_NAMESPACE: "shop"}},
        "spec": {"nodeName": "n", "hostPID": true, "containers": [{"name": "a", "image": "a:1"}]}});
    let ingress = json!({"spec": {"rules": [{"host": "shop.a.example"}]}});
    let objects = [
        live(kinds::CLUSTER, "team-a", "dev", 1, json!({"spec": {}})),
        live(kinds::CLUSTER, "team-a", "second", 2, json!({"spec": {}})),
        live(kinds::POD, "team-a", "web", 3, copy.clone()),
        live(kinds::SERVICE, "team-a", "web", 3, json!({"spec": {"type": "NodePort"}})),
        live(kinds::INGRESS, "team-a", "web", 9, ingress.clone()),
        live(kinds::INGRESS, "team-b", "web", 8, ingress),
        live(
            kinds::POD,
            "team-b",
            "fine",
            3,
            json!({"spec": {"containers": [{"name": "a", "image": "a:1"}]}}),
        ),
        live(kinds::POD, "team-c", "lost", 3, json!({"spec": {"containers": []}})),
    ];
    let report = judge(&governed, &objects);
    insta::assert_snapshot!("table", report.table(true));
    insta::assert_snapshot!("summary", report.summary());
    insta::assert_json_snapshot!("document", report.document());
}

#[test]
fn nothing_found_is_no_table() {
    let report = judge(&[], &[]);
    assert_eq!((report.table(true).as_str(), report.count(Outcome::Denied)), ("", 0));
}
