use super::*;
use rstest::rstest;

fn owner() -> Owner {
    Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() }
}

fn ingress(spec: &Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u"}, "spec": spec})
}

fn backend(name: &str) -> Value {
    json!({"service": {"name": name, "port": {"number": 80}}})
}

fn full() -> Value {
    json!({
        "ingressClassName": "nginx", "defaultBackend": backend("fallback"),
        "rules": [{"host": "shop.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend("web")}]}}],
        "tls": [{"hosts": ["shop.example.com"], "secretName": "cert"}],
    })
}

#[test]
fn names_become_the_hosts() {
    let desired = translate(&owner(), &Rules::default(), &ingress(&full())).unwrap();
    let Desired::Copy { object, left_out, secrets } = desired else { panic!("a copy") };
    let name = |name: &str| k3k_api::names::translated("dev", "shop", name);
    assert_eq!(
        object["spec"],
        json!({
            "ingressClassName": "nginx", "defaultBackend": backend(&name("fallback")),
            "rules": [{"host": "shop.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend(&name("web"))}]}}],
            "tls": [{"hosts": ["shop.example.com"], "secretName": name("cert")}],
        })
    );
    assert_eq!((left_out, secrets), (Vec::new(), vec!["cert".to_owned()]));
    assert_eq!(host_secrets(&object), BTreeSet::from([name("cert")]));
}

#[test]
fn secrets_of_the_host_keep_their_names_and_ours_are_out_of_reach() {
    let rules = Rules { host_secrets: true, ..Rules::default() };
    let Desired::Copy { object, secrets, .. } = translate(&owner(), &rules, &ingress(&full())).unwrap()
    else {
        panic!("a copy")
    };
    assert_eq!((&object["spec"]["tls"][0]["secretName"], secrets), (&json!("cert"), Vec::new()));
    let ours = json!({"tls": [{"secretName": "k3k-dev-agent-config"}]});
    assert_eq!(translate(&owner(), &rules, &ingress(&ours)).unwrap_err().path, "spec.tls[0].secretName");
}

#[rstest]
#[case("spec.defaultBackend.resource", json!({"defaultBackend": {"resource": {"kind": "Bucket", "name": "b"}}}))]
#[case("spec.rules[0].http.paths[0].backend.resource", json!({"rules": [{"http": {"paths": [{"backend": {"resource": {}}}]}}]}))]
#[case("spec.rules[0].tcp", json!({"rules": [{"tcp": {}}]}))]
#[case("spec.rules[0].http.snippet", json!({"rules": [{"http": {"snippet": 1}}]}))]
#[case("spec.defaultBackend.service.namespace", json!({"defaultBackend": {"service": {"name": "a", "namespace": "b"}}}))]
#[case("spec.tls[0].key", json!({"tls": [{"key": "a"}]}))]
#[case("spec.teleport", json!({"teleport": true}))]
#[case("spec.ingressClassName", json!({"ingressClassName": "internal"}))]
fn what_cannot_be_judged_is_refused(#[case] path: &str, #[case] spec: Value) {
    let rules = Rules { classes: Some(BTreeSet::from(["nginx".to_owned()])), ..Rules::default() };
    assert_eq!(translate(&owner(), &rules, &ingress(&spec)).unwrap_err().path, path);
}

#[test]
fn annotations_are_orders_that_need_leave() {
    let mut nested = ingress(&json!({}));
    nested["metadata"]["annotations"] = json!({
        "nginx.ingress.kubernetes.io/rewrite-target": "/", "nginx.ingress.kubernetes.io/server-snippet": "evil",
        "cert-manager.io/issuer": "ca", "cert-manager.io.evil/x": "1", "k3k.io/name": "other",
        "kubernetes.io/ingress.class": "internal", "kubectl.kubernetes.io/last-applied-configuration": "{}",
    });
    let allowed = [
        "nginx.ingress.kubernetes.io/rewrite-target",
        "cert-manager.io/*",
        "k3k.io/*",
        "*",
        "kubernetes.io/*",
    ];
    let rules = Rules { annotations: allowed.map(str::to_owned).to_vec(), ..Rules::default() };
    let Desired::Copy { object, left_out, .. } = translate(&owner(), &rules, &nested).unwrap() else {
        panic!("a copy")
    };
    assert_eq!(
        object["metadata"]["annotations"],
        json!({
            "nginx.ingress.kubernetes.io/rewrite-target": "/", "cert-manager.io/issuer": "ca",
            "k3k.io/name": "web", "k3k.io/namespace": "shop", "k3k.io/uid": "u",
        })
    );
    let told: Vec<_> = left_out.iter().map(|refusal| refusal.path.as_str()).collect();
    assert_eq!(
        told,
        [
            "metadata.annotations[cert-manager.io.evil/x]",
            "metadata.annotations[kubernetes.io/ingress.class]",
            "metadata.annotations[nginx.ingress.kubernetes.io/server-snippet]",
        ]
    );
}

#[test]
fn where_it_is_served_is_told() {
    let (none, there) = (
        json!({"status": {"loadBalancer": {}}}),
        json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
    );
    assert_eq!(told_status(&none, &there), Some(there.clone()));
    assert_eq!(told_status(&there, &there), None);
    assert_eq!(told_status(&there, &none), Some(json!({"status": {"loadBalancer": {"ingress": null}}})));
}
