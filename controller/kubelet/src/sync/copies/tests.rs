//! The calls that converging a copy makes, on mock API servers.

use super::kinds::{Budgets, Ingresses, NetworkPolicies, namespaces};
use super::*;
use crate::fixture::{self, store};
use k3k_api::names::translated;
use k3k_runtime::scenario::Scenario;
use k3k_translate::ingress::Rules;
use serde_json::json;

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/k3k-dev/ingresses";
const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/k3k-dev/networkpolicies";
const BUDGETS: &str = "/apis/policy/v1/namespaces/k3k-dev/poddisruptionbudgets";
const SECRETS: &str = "/api/v1/namespaces/k3k-dev/secrets";

struct Stage<K> {
    copies: Copies<K>,
    host: Scenario,
    nested: Scenario,
}

fn stage<K: Kind>(
    kind: K,
    synced: SyncedKind,
    nested_object: Option<Value>,
    in_host: Vec<Value>,
) -> Stage<K> {
    let (world, host, nested) = fixture::world(fixture::Seen::default());
    let enabled = json!({"enabled": true});
    let sync = json!({"ingresses": enabled, "podDisruptionBudgets": enabled, "networkPolicies": enabled});
    let listed = Lists::new(3);
    (0..3).for_each(|list| listed.complete(list));
    let copies = Copies {
        world: Arc::new(world),
        sync: serde_json::from_value(sync).unwrap(),
        synced,
        nested: store(kind.resource(), nested_object),
        host: store(kind.resource(), in_host),
        kind,
        listed,
        told: Told::default(),
    };
    Stage { copies, host, nested }
}

fn name() -> Name {
    Name { namespace: "shop".into(), name: "web".into() }
}

fn host_name() -> String {
    translated("dev", "shop", "web")
}

fn nested(kind: &str, spec: &Value) -> Value {
    let version = if kind == "PodDisruptionBudget" { "policy/v1" } else { "networking.k8s.io/v1" };
    json!({
        "apiVersion": version, "kind": kind,
        "metadata": {"name": "web", "namespace": "shop", "uid": "n-uid", "generation": 1}, "spec": spec,
    })
}

fn ingress() -> Value {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    nested("Ingress", &json!({"defaultBackend": backend, "tls": [{"secretName": "cert"}]}))
}

fn ingresses(nested: Option<Value>, host: Option<Value>) -> Stage<Ingresses> {
    stage(Ingresses { rules: Rules::default() }, SyncedKind::Ingress, nested, host.into_iter().collect())
}

fn budget(healthy: u32) -> Value {
    let mut budget = nested("PodDisruptionBudget", &json!({"selector": {}, "minAvailable": "50%"}));
    budget["status"] = json!({"observedGeneration": 1, "desiredHealthy": healthy});
    budget
}

fn budgets(nested: Option<Value>, host: Option<Value>) -> Stage<Budgets> {
    stage(Budgets, SyncedKind::PodDisruptionBudget, nested, host.into_iter().collect())
}

fn policies(nested: Option<Value>, host: Vec<Value>) -> Stage<NetworkPolicies> {
    let shop = json!({"metadata": {"name": "shop", "labels": {"team": "a"}}});
    let kind = NetworkPolicies { namespaces: store(namespaces(), [shop]) };
    stage(kind, SyncedKind::NetworkPolicy, nested, host)
}

/// The host's copy of `nested`, up to date.
fn copy_of<K: Kind>(stage: &Stage<K>, nested: &Value) -> Value {
    let Ok(Desired::Copy { mut object, .. }) = stage.copies.kind.translate(&stage.copies.world, nested, &[])
    else {
        panic!("a copy")
    };
    object["metadata"]["uid"] = "h-uid".into();
    object
}

fn gone() -> Value {
    json!({"kind": "Status", "status": "Success"})
}

#[tokio::test]
async fn an_ingress_comes_after_its_certificate_and_owns_it() {
    let Stage { copies, mut host, mut nested } = ingresses(Some(ingress()), None);
    let step = tokio::spawn(async move { copies.step(&name()).await });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": {"tls.crt": "eA=="},
        "metadata": {"name": "cert", "namespace": "shop", "uid": "s-uid", "resourceVersion": "1"},
    });
    let copied = format!("{SECRETS}/{}", translated("dev", "shop", "cert"));
    nested.expect("GET", "/api/v1/namespaces/shop/secrets/cert").await.answer(200, &secret);
    host.expect("GET", &copied).await.refuse(404, "NotFound", "no such secret yet");
    let call = host.expect("PATCH", &copied).await;
    assert_eq!(call.body["type"], "kubernetes.io/tls");
    assert_eq!(call.body["metadata"]["ownerReferences"][0]["kind"], "Cluster");
    call.accept();
    host.expect("GET", INGRESSES).await.refuse(404, "NotFound", "no such ingress yet");
    let call = host.expect("PATCH", INGRESSES).await;
    assert_eq!(call.body["spec"]["tls"][0]["secretName"], translated("dev", "shop", "cert"));
    let mut made = call.body.clone();
    made["metadata"]["uid"] = "h-uid".into();
    made["spec"]["ingressClassName"] = "default-of-the-host".into();
    call.answer(201, &made);
    nested.expect("GET", "/api/v1/namespaces/shop/secrets/cert").await.answer(200, &secret);
    host.expect("GET", &copied).await.refuse(404, "NotFound", "");
    let call = host.expect("PATCH", &copied).await;
    let owner = json!([{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": host_name(), "uid": "h-uid"}]);
    assert_eq!(call.body["metadata"]["ownerReferences"], owner);
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_certificate_that_is_not_named_any_more_goes() {
    let copy = copy_of(&ingresses(None, None), &ingress());
    let mut plain = ingress();
    plain["spec"].as_object_mut().unwrap().remove("tls");
    let Stage { copies, mut host, .. } = ingresses(Some(plain), Some(copy));
    let step = tokio::spawn(async move { copies.step(&name()).await });
    let call = host.expect("PATCH", INGRESSES).await;
    assert!(call.body["spec"].get("tls").is_none());
    call.accept();
    let secret = format!("{SECRETS}/{}", translated("dev", "shop", "cert"));
    let metadata = json!({
        "name": "x", "labels": {"k3k.io/clusterName": "dev"},
        "annotations": {"k3k.io/name": "cert", "k3k.io/namespace": "shop", "k3k.io/uid": "s-uid"},
    });
    let there =
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
    host.expect("GET", &secret).await.answer(200, &there);
    host.expect("DELETE", &secret).await.answer(200, &gone());
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn where_an_ingress_is_served_comes_back_and_annotations_are_told_once() {
    let mut wanted = ingress();
    wanted["spec"].as_object_mut().unwrap().remove("tls");
    wanted["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/server-snippet": "evil"});
    let mut copy = copy_of(&ingresses(None, None), &wanted);
    copy["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
    let Stage { copies, mut nested, .. } = ingresses(Some(wanted), Some(copy));
    let steps = tokio::spawn(async move { (copies.step(&name()).await, copies.step(&name()).await) });
    for told in [true, false] {
        let call =
            nested.expect("PATCH", "/apis/networking.k8s.io/v1/namespaces/shop/ingresses/web/status").await;
        assert_eq!(call.body["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.7");
        assert_eq!(call.body["metadata"]["uid"], "n-uid");
        call.accept();
        if told {
            let call = nested.expect("POST", EVENTS).await;
            assert_eq!(call.body["reason"], "NotInHost");
            assert!(call.body["note"].as_str().unwrap().contains("server-snippet"), "{}", call.body);
            call.accept();
        }
    }
    assert_eq!(steps.await.unwrap(), (Next::Done, Next::Done));
}

#[tokio::test]
async fn what_cannot_be_taken_is_removed_and_told() {
    let mut wanted = ingress();
    let copy = copy_of(&ingresses(None, None), &wanted);
    wanted["spec"]["defaultBackend"] = json!({"resource": {"kind": "Bucket", "name": "b"}});
    let Stage { copies, mut host, mut nested } = ingresses(Some(wanted), Some(copy));
    let step = tokio::spawn(async move { copies.step(&name()).await });
    host.expect("DELETE", INGRESSES).await.answer(200, &gone());
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(
        (&call.body["reason"], &call.body["regarding"]["kind"]),
        (&json!("NotSupported"), &json!("Ingress"))
    );
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_refusal_of_the_host_is_told_in_the_tenants_terms() {
    let mut wanted = ingress();
    wanted["spec"].as_object_mut().unwrap().remove("tls");
    let Stage { copies, mut host, mut nested } = ingresses(Some(wanted), None);
    let step = tokio::spawn(async move { copies.step(&name()).await });
    host.expect("GET", INGRESSES).await.refuse(404, "NotFound", "");
    let message = format!("ingresses \"{}\" is forbidden: exceeded quota", host_name());
    host.expect("PATCH", INGRESSES).await.refuse(403, "Forbidden", &message);
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(call.body["reason"], "HostAdmissionDenied");
    assert_eq!(call.body["note"], "ingresses \"web\" is forbidden: exceeded quota");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
}

#[tokio::test]
async fn a_budget_follows_the_nested_count() {
    let Stage { copies, mut host, .. } = budgets(Some(budget(3)), None);
    let step = tokio::spawn(async move { copies.step(&name()).await });
    host.expect("GET", BUDGETS).await.refuse(404, "NotFound", "");
    let call = host.expect("PATCH", BUDGETS).await;
    assert_eq!(call.body["spec"]["minAvailable"], 3);
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);

    let copy = copy_of(&budgets(None, None), &budget(3));
    let Stage { copies, .. } = budgets(Some(budget(3)), Some(copy.clone()));
    assert_eq!(copies.step(&name()).await, Next::Done, "in agreement nothing is written");

    let mut uncounted = budget(9);
    uncounted["metadata"]["generation"] = 2.into();
    let Stage { copies, .. } = budgets(Some(uncounted), Some(copy));
    assert_eq!(copies.step(&name()).await, Next::Done, "the number is of an earlier form");
}

#[tokio::test]
async fn what_others_write_into_a_copy_is_taken_away() {
    let mut tampered = copy_of(&budgets(None, None), &budget(3));
    tampered["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
    let Stage { copies, mut host, .. } = budgets(Some(budget(3)), Some(tampered.clone()));
    let step = tokio::spawn(async move { copies.step(&name()).await });
    let call = host.expect("PATCH", BUDGETS).await;
    assert_eq!(call.body["metadata"]["uid"], "h-uid");
    // It is another manager's, so our apply leaves it.
    call.answer(200, &tampered);
    let call = host.expect("PATCH", BUDGETS).await;
    assert_eq!(
        call.body,
        json!({"metadata": {"uid": "h-uid"}, "spec": {"unhealthyPodEvictionPolicy": null}})
    );
    call.answer(200, &copy_of(&budgets(None, None), &budget(3)));
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_copy_ends_with_its_object_and_gives_way_to_a_namesake() {
    let mut namesake = budget(3);
    namesake["metadata"]["uid"] = "later".into();
    let mut unselective = budget(3);
    unselective["spec"]["selector"] = Value::Null;
    for nested in [None, Some(namesake), Some(unselective)] {
        let copy = copy_of(&budgets(None, None), &budget(3));
        let Stage { copies, mut host, .. } = budgets(nested, Some(copy));
        let step = tokio::spawn(async move { copies.step(&name()).await });
        let call = host.expect("DELETE", BUDGETS).await;
        assert_eq!(call.body["preconditions"]["uid"], "h-uid");
        call.answer(200, &gone());
        assert_eq!(step.await.unwrap(), Next::Done);
    }
}

#[tokio::test]
async fn what_is_not_ours_or_not_yet_known_is_left_alone() {
    let foreign = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": host_name(), "namespace": "k3k-dev", "uid": "x"}});
    let Stage { copies, .. } = budgets(None, Some(foreign.clone()));
    assert_eq!(copies.step(&name()).await, Next::Done);
    let Stage { copies, mut nested, .. } = budgets(Some(budget(3)), Some(foreign));
    let step = tokio::spawn(async move { copies.step(&name()).await });
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(call.body["reason"], "HostNameTaken");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);

    let copy = copy_of(&budgets(None, None), &budget(3));
    let Stage { mut copies, .. } = budgets(None, Some(copy));
    copies.listed = Lists::new(3);
    copies.listed.complete(HOST);
    assert_eq!(copies.step(&name()).await, Next::Done, "it is not taken for an orphan");
}

#[tokio::test]
async fn a_kind_that_is_not_copied_any_more_leaves_nothing() {
    let stage = budgets(None, None);
    let ours = copy_of(&stage, &budget(3));
    let Stage { copies, mut host, .. } = stage;
    let mut foreign = ours.clone();
    foreign["metadata"]["annotations"] = json!({});
    let api = copies.host_api();
    let world = copies.world.clone();
    let step = tokio::spawn(async move { remove_all(&world, &api, "k3k.io/clusterName=dev").await });
    let list = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudgetList", "metadata": {}, "items": [foreign, ours]});
    let call = host.expect("GET", BUDGETS).await;
    assert!(call.uri.contains("labelSelector=k3k.io%2FclusterName%3Ddev"), "{}", call.uri);
    call.answer(200, &list);
    let call = host.expect("DELETE", BUDGETS).await;
    assert_eq!(call.body["preconditions"]["uid"], "h-uid");
    call.answer(200, &gone());
    step.await.unwrap();
}

fn open() -> Value {
    let everywhere = json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]);
    nested("NetworkPolicy", &json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": everywhere}))
}

#[tokio::test]
async fn a_policy_gives_way_when_the_host_isolates() {
    let copy = copy_of(&policies(None, Vec::new()), &open());
    let Stage { copies, .. } = policies(Some(open()), vec![copy.clone()]);
    assert_eq!(copies.step(&name()).await, Next::Done, "our own copy isolates nobody else");

    let isolation = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "isolate", "namespace": "k3k-dev", "uid": "i"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    });
    let Stage { copies, mut host, mut nested } = policies(Some(open()), vec![copy, isolation.clone()]);
    let changed = serde_json::from_value(isolation).unwrap();
    assert!(copies.concerned_by(&changed).contains(&name()), "all policies are looked at again");
    let step = tokio::spawn(async move { copies.step(&name()).await });
    let call = nested.expect("POST", EVENTS).await;
    assert!(call.body["note"].as_str().unwrap().contains("spec.egress"), "{}", call.body);
    call.accept();
    host.expect("DELETE", POLICIES).await.answer(200, &gone());
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_policy_follows_the_labels_of_namespaces() {
    let rules = |team: &str| json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": team}}}]}]);
    let spec = |team: &str| json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules(team)});
    let stale = copy_of(&policies(None, Vec::new()), &nested("NetworkPolicy", &spec("b")));
    assert!(stale["spec"].get("ingress").is_none());
    let Stage { copies, mut host, .. } = policies(Some(nested("NetworkPolicy", &spec("a"))), vec![stale]);
    let step = tokio::spawn(async move { copies.step(&name()).await });
    let call = host.expect("PATCH", POLICIES).await;
    let found = &call.body["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"];
    assert_eq!(*found, json!(["shop"]));
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}
