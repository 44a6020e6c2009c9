//! Reconciles against a mock API server: which calls are made, and in which order.

use super::super::caches::Caches;
use super::*;
use crate::cluster::events::Events;
use crate::cluster::host::Host;
use crate::cluster::retry::Retries;
use crate::metrics::Metrics;
use k3k_runtime::scenario::{self, Scenario};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, store::Writer};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The mock host: objects by path, and the calls that were made.
async fn serve(mut scenario: Scenario, objects: BTreeMap<String, Value>) -> Vec<(String, Value)> {
    let mut calls = Vec::new();
    while let Some(call) = scenario.next().await {
        let path = call.uri.split('?').next().unwrap_or_default().to_owned();
        calls.push((format!("{} {path}", call.method), call.body.clone()));
        match call.method.as_str() {
            "GET" => match objects.get(&path) {
                Some(object) => call.answer(200, object),
                None => call.refuse(404, "NotFound", "not found"),
            },
            "DELETE" => call.answer(
                200,
                &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }),
            ),
            _ => call.accept(),
        }
    }
    calls
}

fn filled<K>(items: &[Value]) -> reflector::Store<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + 'static,
{
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Init);
    for item in items {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(item.clone()).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
    store
}

fn owned(kind: Kind, items: &[Value]) -> (Kind, reflector::Store<kube::api::DynamicObject>) {
    let mut writer = Writer::new(kind.resource());
    writer.apply_watcher_event(&Event::Init);
    for item in items.iter().filter(|item| item["kind"] == kind.to_string()) {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(item.clone()).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
    (kind, writer.as_reader())
}

fn policy(spec: &Value) -> Value {
    json!({ "apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy",
        "metadata": { "name": "gold", "uid": "p", "generation": 3 }, "spec": spec })
}

fn namespace(labels: &Value) -> Value {
    let mut labels = labels.clone();
    labels["policy.k3k.io/policy-name"] = "gold".into();
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "t", "uid": "n", "labels": labels } })
}

/// Reconciles once. `present` are our objects, `others` those that only the host knows.
async fn once(
    policy: &Value,
    namespace: &Value,
    present: &[Value],
    others: BTreeMap<String, Value>,
) -> (Result<Action, Error>, Vec<(String, Value)>) {
    let (client, scenario) = scenario::client();
    let range = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": ["10.43.0.0/16"] } });
    let mut objects = others;
    objects.insert("/apis/networking.k8s.io/v1/servicecidrs/kubernetes".into(), range);
    let context = Arc::new(Context {
        host: Host::new(client.clone(), "k3k-system".into()),
        namespace: "k3k-system".into(),
        audit: Arc::default(),
        caches: Caches {
            policies: filled(std::slice::from_ref(policy)),
            namespaces: filled(std::slice::from_ref(namespace)),
            clusters: filled(&[]),
            nodes: filled(&[]),
            storage_classes: filled(&[]),
            endpoints: filled(&[]),
            replicas: super::super::replicas::Replicas { leases: filled(&[]), slices: filled(&[]) },
            owned: Kind::ALL.into_iter().map(|kind| owned(kind, present)).collect(),
            ready: tokio::sync::OnceCell::new(),
        },
        budgets: tokio::sync::Mutex::default(),
        events: Events::new(client.clone(), "test".into()),
        retries: Retries::default(),
        metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        client,
    });
    let object: DeserializeGuard<VirtualClusterPolicy> = serde_json::from_value(policy.clone()).unwrap();
    let served = tokio::spawn(serve(scenario, objects));
    let outcome = Box::pin(reconcile(Arc::new(object), context)).await;
    (outcome, served.await.unwrap())
}

const STATUS: &str = "PATCH /apis/k3k.io/v1beta1/virtualclusterpolicies/gold/status";
const QUOTAS: &str = "/api/v1/namespaces/t/resourcequotas";

fn written(calls: &[(String, Value)]) -> Vec<&str> {
    calls.iter().map(|(call, _)| call.as_str()).filter(|call| !call.starts_with("GET")).collect()
}

fn condition<'a>(calls: &'a [(String, Value)], kind: &str) -> &'a Value {
    let (_, body) = calls.iter().find(|(call, _)| call == STATUS).unwrap();
    body["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|condition| condition["type"] == kind)
        .unwrap()
}

fn in_force(namespace: &Value) -> bool {
    namespace["metadata"]["labels"]["policy.k3k.io/in-force"] == "p"
}

#[tokio::test]
async fn a_bound_namespace_gets_everything_and_then_it_is_told() {
    let policy =
        policy(&json!({ "quota": { "hard": { "pods": "5" } }, "podSecurityAdmissionLevel": "baseline" }));
    let (outcome, calls) = once(&policy, &namespace(&json!({})), &[], BTreeMap::new()).await;
    outcome.unwrap();
    let mut written = written(&calls);
    assert_eq!(written.pop(), Some(STATUS), "an Event is for failures");
    assert_eq!(written.pop(), Some("PATCH /api/v1/namespaces/t"));
    assert!(calls.iter().any(|(call, body)| call == "PATCH /api/v1/namespaces/t" && in_force(body)));
    written.sort_unstable();
    let policies = "PATCH /apis/networking.k8s.io/v1/namespaces/t/networkpolicies";
    let mut want = vec![
        format!("PATCH {QUOTAS}/k3k-gold"),
        format!("PATCH {QUOTAS}/k3k-gold-priority"),
        format!("{policies}/k3k-gold"),
        format!("{policies}/k3k-gold-kubelets"),
        format!("{policies}/k3k-gold-servers"),
        format!("{policies}/k3k-gold-tenants"),
    ];
    want.sort_unstable();
    assert_eq!(written, want);
    let (_, status) = calls.last().unwrap();
    assert_eq!(status["status"]["observedGeneration"], 3);
    assert_eq!(status["status"]["namespaces"], json!([{ "name": "t", "clusters": 0 }]));
}

#[tokio::test]
async fn somebody_elses_object_stays_and_the_others_come() {
    let foreign = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "k3k-gold", "namespace": "t" }, "spec": {} });
    let others = BTreeMap::from([(format!("{QUOTAS}/k3k-gold"), foreign)]);
    let policy = policy(&json!({ "quota": { "hard": { "pods": "5" } } }));
    let (outcome, calls) = once(&policy, &namespace(&json!({})), &[], others).await;
    assert_eq!(outcome.unwrap_err().category(), "Foreign");
    assert!(!calls.iter().any(|(_, body)| in_force(body)), "no cluster begins here");
    let written = written(&calls);
    assert!(!written.contains(&format!("PATCH {QUOTAS}/k3k-gold").as_str()));
    assert!(written.contains(&format!("PATCH {QUOTAS}/k3k-gold-priority").as_str()));
    let ready = condition(&calls, "NativeObjectsReady");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("NameTaken")));
    let (_, status) = calls.iter().find(|(call, _)| call == STATUS).unwrap();
    assert!(status["status"]["observedGeneration"].is_null());
    assert!(written.iter().any(|call| call.starts_with("POST /apis/events.k8s.io")), "{written:#?}");
}

fn ours(kind: Kind, name: &str) -> Value {
    let resource = kind.resource();
    json!({ "apiVersion": resource.api_version, "kind": resource.kind, "metadata": { "name": name, "namespace": "t", "uid": "o",
        "ownerReferences": [{ "apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "name": "gold", "uid": "p", "controller": true }] } })
}

#[tokio::test]
async fn what_is_not_asked_for_any_more_goes() {
    let present = [ours(Kind::LimitRange, "k3k-gold"), ours(Kind::ResourceQuota, "k3k-gold-tenant")];
    let (outcome, calls) = once(&policy(&json!({})), &namespace(&json!({})), &present, BTreeMap::new()).await;
    outcome.unwrap();
    let written = written(&calls);
    assert!(written.contains(&"DELETE /api/v1/namespaces/t/limitranges/k3k-gold"), "{written:#?}");
    assert!(written.contains(&"DELETE /api/v1/namespaces/t/resourcequotas/k3k-gold-tenant"), "{written:#?}");
}

#[tokio::test]
async fn a_level_of_others_is_told_and_stays() {
    let policy = policy(&json!({ "podSecurityAdmissionLevel": "baseline" }));
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let (outcome, calls) = once(&policy, &namespace(&labels), &[], BTreeMap::new()).await;
    outcome.unwrap();
    let (_, patch) = calls.iter().find(|(call, _)| call == "PATCH /api/v1/namespaces/t").unwrap();
    assert!(patch["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].is_null());
    assert_eq!(patch["metadata"]["labels"]["pod-security.kubernetes.io/warn"], "baseline");
    let ready = condition(&calls, "NativeObjectsReady");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("True"), &json!("PodSecurityLabelOfOthers")));
    assert!(ready["message"].as_str().unwrap().contains("t: pod-security.kubernetes.io/enforce=restricted"));
}

#[tokio::test]
async fn a_share_is_given_from_what_the_host_has_now() {
    let spec = json!({ "resources": { "perTenant": { "pods": "9" } } });
    let mut quota = ours(Kind::ResourceQuota, "k3k-gold-tenant");
    quota["metadata"]["resourceVersion"] = "7".into();
    quota["spec"] = json!({ "hard": { "pods": "4" } });
    let others = BTreeMap::from([(format!("{QUOTAS}/k3k-gold-tenant"), quota.clone())]);
    let (outcome, calls) = once(&policy(&spec), &namespace(&json!({})), &[], others).await;
    outcome.unwrap();
    let (_, share) =
        calls.iter().find(|(call, _)| *call == format!("PATCH {QUOTAS}/k3k-gold-tenant")).unwrap();
    assert_eq!(share["spec"]["hard"], json!({ "pods": "9" }));
    assert_eq!(share["metadata"]["resourceVersion"], "7", "only if nobody was faster");
    assert_eq!(share["metadata"]["labels"]["policy.k3k.io/tenant"], "gold");
}

#[tokio::test]
async fn a_policy_that_goes_makes_nothing() {
    let mut going = policy(&json!({}));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let (outcome, calls) = once(&going, &namespace(&json!({})), &[], BTreeMap::new()).await;
    assert_eq!((outcome.unwrap(), calls.len()), (Action::await_change(), 0));
}

#[tokio::test]
async fn a_policy_that_does_not_fit_the_schema_is_told() {
    let (outcome, calls) =
        once(&policy(&json!({ "allowedMode": 5 })), &namespace(&json!({})), &[], BTreeMap::new()).await;
    outcome.unwrap();
    let accepted = condition(&calls, "Accepted");
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("Invalid")));
}
