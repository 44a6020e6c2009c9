#![expect(clippy::needless_pass_by_value, reason = "cases read better")]

use super::*;
use rstest::rstest;
use std::sync::Arc;

fn governing(spec: &Value) -> Governing {
    let object = json!({"metadata": {"name": "gold"}, "spec": spec});
    Governing::Named(Arc::new(k3k_policy::read_policy(&object).expect("policy")))
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("time")
}

fn tenant(object: &Value, spec: &Value) -> Verdict {
    let source = Source { cluster: "dev", virtual_namespace: "shop" };
    manifest(object, Side::Tenant(source), &Given::new(&governing(spec), now()))
}

fn hosted(object: &Value, spec: &Value) -> Verdict {
    manifest(object, Side::Host("k3k-dev"), &Given::new(&governing(spec), now()))
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec})
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"metadata": {}, "spec": spec}}})
}

fn service(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "annotations": {"a/b": "c"}}, "spec": spec})
}

fn ingress(host: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"rules": [{"host": host}]}})
}

fn claim(class: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {"storageClassName": class, "volumeName": "pv-1"}})
}

fn cluster(mode: &str) -> Value {
    json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "metadata": {"name": "dev"}, "spec": {"mode": mode}})
}

fn rules_of(verdict: &Verdict) -> Vec<&str> {
    verdict.violations.iter().map(|violation| violation.rule).collect()
}

const PLAIN: &str = r#"{"containers": [{"name": "a", "image": "docker.io/library/nginx:1"}]}"#;

fn plain() -> Value {
    serde_json::from_str(PLAIN).expect("spec")
}

#[rstest]
#[case(pod(plain()), json!({}), Outcome::Admitted, &[])]
#[case(pod(json!({"hostNetwork": true, "containers": []})), json!({}), Outcome::Denied, &["podSecurity.hostNamespaces"])]
#[case(deployment(json!({"hostNetwork": true, "containers": []})), json!({}), Outcome::Denied, &["podSecurity.hostNamespaces"])]
#[case(deployment(json!({"hostNetwork": true, "containers": []})), json!({"enforcement": {"mode": "Warn"}}), Outcome::Warned, &["podSecurity.hostNamespaces"])]
#[case(deployment(json!({"hostNetwork": true, "containers": []})), json!({"enforcement": {"mode": "Audit"}}), Outcome::Admitted, &["podSecurity.hostNamespaces"])]
#[case(pod(plain()), json!({"images": {"digest": "Require"}}), Outcome::Denied, &["images.digest"])]
#[case(pod(plain()), json!({"images": {"digest": "Resolve", "allowedRegistries": [{"host": "docker.io"}]}}), Outcome::Admitted, &[])]
#[case(pod(plain()), json!({"images": {"digest": "Resolve", "allowedRegistries": [{"host": "r.example"}]}}), Outcome::Denied, &["images.registries"])]
#[case(pod(plain()), json!({"images": {"pullPolicy": "Always"}}), Outcome::Admitted, &[])]
#[case(pod(json!({"containers": 3})), json!({}), Outcome::Denied, &["malformed"])]
#[case(pod(json!({"nodeName": "n", "serviceAccountName": "app", "containers": []})), json!({}), Outcome::Admitted, &[])]
#[case(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}), json!({}), Outcome::Denied, &["malformed"])]
#[case(service(json!({"type": "LoadBalancer"})), json!({"network": {"services": {"types": ["ClusterIP"]}}}), Outcome::Denied, &["network.serviceType"])]
#[case(service(json!({"externalIPs": ["1.2.3.4"], "selector": {"k3k.io/x": "y"}})), json!({"network": {"ingresses": {}}}), Outcome::Admitted, &[])]
#[case(service(json!({"type": "ExternalName"})), json!({"network": {"services": {"types": []}}}), Outcome::NotJudged, &[])]
#[case(ingress("shop.a.example"), json!({"network": {"ingresses": {"hosts": ["*.a.example"]}}}), Outcome::Admitted, &[])]
#[case(ingress("bank.example"), json!({"network": {"ingresses": {"hosts": ["*.a.example"]}}}), Outcome::Denied, &["network.ingressHosts"])]
#[case(claim("slow"), json!({"workloads": {"storageClasses": {"allowed": ["fast"]}}}), Outcome::Denied, &["workloads.storageClass"])]
#[case(claim("fast"), json!({"workloads": {"storageClasses": {"allowed": ["fast"]}}}), Outcome::Admitted, &[])]
#[case(cluster("virtual"), json!({}), Outcome::Denied, &["tenancy.clusters"])]
#[case(cluster("shared"), json!({}), Outcome::Admitted, &[])]
#[case(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}), json!({}), Outcome::NotJudged, &[])]
#[case(json!({"apiVersion": "example.com/v1", "kind": "Pod", "metadata": {"name": "c"}}), json!({}), Outcome::NotJudged, &[])]
fn inside_a_cluster(
    #[case] object: Value,
    #[case] spec: Value,
    #[case] outcome: Outcome,
    #[case] rules: &[&str],
) {
    let verdict = tenant(&object, &spec);
    assert_eq!((verdict.outcome, rules_of(&verdict)), (outcome, rules.to_vec()), "{verdict:?}");
}

#[rstest]
#[case(pod(json!({"nodeName": "n", "containers": []})), json!({}), Outcome::Denied, &["guard.nodeName"])]
#[case(deployment(json!({"hostNetwork": true, "containers": []})), json!({}), Outcome::Warned, &["podSecurity.hostNamespaces"])]
#[case(service(json!({"externalIPs": ["1.2.3.4"]})), json!({}), Outcome::Denied, &["guard.externalIPs"])]
#[case(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "open"}, "spec": {}}), json!({}), Outcome::Denied,
    &["guard.networkPolicies"])]
#[case(pod(plain()), json!({"nodes": {"requiredSelector": {"a": "b"}}}), Outcome::Admitted, &[])]
#[case(pod(plain()), json!({"images": {"digest": "Resolve", "allowedRegistries": [{"host": "docker.io"}]}}), Outcome::Admitted, &[])]
fn in_the_host(#[case] object: Value, #[case] spec: Value, #[case] outcome: Outcome, #[case] rules: &[&str]) {
    let verdict = hosted(&object, &spec);
    assert_eq!((verdict.outcome, rules_of(&verdict)), (outcome, rules.to_vec()), "{verdict:?}");
}

#[test]
fn a_volume_without_a_source_is_an_empty_dir() {
    let restricted =
        json!({"podSecurityAdmissionLevel": "restricted", "podSecurity": {"volumeTypes": ["EmptyDir"]}});
    let spec = json!({"volumes": [{"name": "tmp"}], "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "image": "a:1", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]});
    assert_eq!(tenant(&pod(spec), &restricted).outcome, Outcome::Admitted);
}

#[test]
fn exemptions_hold_where_they_say_and_until_they_end() {
    let spec = |until: &str| {
        json!({"enforcement": {"exemptions": [{"name": "e", "rules": ["podSecurity", "network"], "clusters": ["dev"],
        "virtualNamespaces": ["shop"], "reason": "r", "expiresAt": until}]}, "network": {"services": {"types": ["ClusterIP"]}}})
    };
    for object in [pod(json!({"hostNetwork": true, "containers": []})), service(json!({"type": "NodePort"}))]
    {
        assert_eq!(tenant(&object, &spec("2026-06-01T00:00:00Z")).outcome, Outcome::Admitted);
        assert_eq!(tenant(&object, &spec("2025-06-01T00:00:00Z")).outcome, Outcome::Denied);
        let elsewhere = Source { cluster: "dev", virtual_namespace: "default" };
        let governing = governing(&spec("2026-06-01T00:00:00Z"));
        assert_eq!(
            manifest(&object, Side::Tenant(elsewhere), &Given::new(&governing, now())).outcome,
            Outcome::Denied
        );
    }
}

#[test]
fn fields_are_those_of_the_manifest_and_changes_are_named() {
    let spec = json!({"images": {"digest": "Require", "pullPolicy": "Always"}, "nodes": {"requiredSelector": {"pool": "a"}}});
    let verdict = tenant(&deployment(plain()), &spec);
    assert_eq!(verdict.violations[0].field, "spec.template.spec.containers[0].image");
    assert!(
        verdict.violations[0].message.starts_with("spec.template.spec.containers[0].image"),
        "{:?}",
        verdict.violations
    );
    assert_eq!(
        verdict.changes,
        [
            "~ spec.template.spec.containers[0].imagePullPolicy: \"IfNotPresent\" -> \"Always\"",
            "+ spec.template.spec.nodeSelector.pool: \"a\"",
        ]
    );
}

#[test]
fn what_runs_is_judged_as_if_it_were_made_now() {
    let given = governing(&json!({}));
    let given = Given::new(&given, now());
    let mut object = pod(json!({"nodeName": "n", "containers": [{"name": "a", "image": "a:1"}]}));
    object["metadata"]["labels"] = json!({labels::CLUSTER_NAME: "dev", "app": "web"});
    object["metadata"]["annotations"] =
        json!({labels::VIRTUAL_NAME: "web", labels::VIRTUAL_NAMESPACE: "shop"});
    assert_eq!(live(&object, kinds::POD, "k3k-dev", &given).violations, []);
    object["spec"]["hostPID"] = true.into();
    assert_eq!(rules_of(&live(&object, kinds::POD, "k3k-dev", &given)), ["podSecurity.hostNamespaces"]);
    let mut bound = claim("x");
    bound["metadata"]["labels"] = json!({labels::CLUSTER_NAME: "dev"});
    assert_eq!(live(&bound, kinds::CLAIM, "k3k-dev", &given).violations, []);
}

#[test]
fn without_a_policy_nothing_is_let_in() {
    let governing = Governing::Missing { name: "gone".into() };
    let given = Given::new(&governing, now());
    let source = Source::default();
    for side in [Side::Tenant(source), Side::Host("x")] {
        let verdict = manifest(&pod(plain()), side, &given);
        assert_eq!(
            (verdict.outcome, rules_of(&verdict)),
            (Outcome::Denied, vec![k3k_policy::POLICY_MISSING])
        );
    }
}
