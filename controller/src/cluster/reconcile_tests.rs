//! Reconciles against a mock API server that holds what it is given: which calls are made, and in which order.

use super::*;
use crate::args::Images;
use crate::cluster::caches::Caches;
use crate::cluster::events::Events;
use crate::cluster::host::Host;
use crate::cluster::memory::Memory;
use crate::cluster::retry::Retries;
use crate::cluster::{build::Kind, health};
use crate::metrics::Metrics;
use k3k_runtime::scenario::{self, Call, Scenario};
use kube::core::DeserializeGuard;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The mock host: objects by path.
struct Store {
    scenario: Scenario,
    objects: BTreeMap<String, Value>,
    calls: Vec<String>,
}

impl Store {
    /// Answers until the client is gone, and gives itself back.
    async fn serve(mut self) -> Self {
        self.answer_all().await;
        self
    }

    async fn answer_all(&mut self) {
        while let Some(call) = self.scenario.next().await {
            self.answer(call);
        }
    }

    fn answer(&mut self, call: Call) {
        let path = call.uri.split('?').next().unwrap().trim_end_matches("/status").to_owned();
        self.calls.push(format!("{} {}", call.method, call.uri.split('?').next().unwrap()));
        match call.method.as_str() {
            _ if path == "/version" => {
                let version = json!({ "major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "",
                    "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "" });
                call.answer(200, &version);
            }
            "GET" => match self.objects.get(&path) {
                Some(object) => call.answer(200, object),
                None => call.refuse(404, "NotFound", "not found"),
            },
            "POST" => {
                let name = call.body["metadata"]["name"].as_str().unwrap_or_default();
                self.objects.insert(format!("{path}/{name}"), call.body.clone());
                call.accept();
            }
            "PATCH" if call.body.is_array() => {
                self.objects.insert(path, call.body.clone());
                call.answer(200, &json!({ "metadata": {} }));
            }
            "PATCH" => {
                let mut object = call.body.clone();
                if path.contains("/services/") && object["spec"]["clusterIP"].is_null() {
                    object["spec"]["clusterIP"] = "10.43.0.9".into();
                }
                self.objects.insert(path, object.clone());
                call.answer(200, &object);
            }
            _ => call.answer(
                200,
                &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }),
            ),
        }
    }
}

const PRIORITY_CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

fn priority_classes(items: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items })
}

fn host(objects: impl IntoIterator<Item = (String, Value)>) -> (kube::Client, Store) {
    let (client, scenario) = scenario::client();
    let range = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": ["10.43.0.0/16"] } });
    let mut all = BTreeMap::from([
        ("/apis/networking.k8s.io/v1/servicecidrs/kubernetes".to_owned(), range),
        (PRIORITY_CLASSES.to_owned(), priority_classes(&json!([]))),
    ]);
    all.extend(objects);
    (client, Store { scenario, objects: all, calls: Vec::new() })
}

/// What reconciles share, with caches that are full and empty.
fn context(client: kube::Client) -> Arc<Context> {
    fn empty<K>() -> reflector::Store<K>
    where
        K: kube::Resource<DynamicType = ()> + Clone + 'static,
    {
        let (store, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::InitDone);
        store
    }
    Arc::new(Context {
        host: Host::new(client.clone(), "k3k-system".into()),
        caches: Caches::new(empty(), Vec::new(), empty(), empty(), empty(), empty(), empty()),
        health: health::Registry::new().0,
        memory: Arc::new(Memory::default()),
        events: Events::new(client.clone(), "test".into()),
        retries: Retries::default(),
        images: Images::default(),
        kubelet_replicas: 2,
        metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        client,
    })
}

fn cluster(metadata: &Value, spec: &Value) -> Arc<Guarded> {
    let mut object = json!({ "apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "metadata": {
        "name": "dev", "namespace": "k3k-dev", "uid": "u", "generation": 1 }, "spec": spec });
    for (key, value) in metadata.as_object().unwrap() {
        object["metadata"][key] = value.clone();
    }
    Arc::new(serde_json::from_value::<DeserializeGuard<Cluster>>(object).unwrap())
}

/// Reconciles once. Gives the outcome and the mock host.
async fn once(object: Arc<Guarded>, objects: Vec<(String, Value)>) -> (Result<Action, Error>, Store) {
    let (client, store) = host(objects);
    let context = context(client);
    let served = tokio::spawn(store.serve());
    let outcome = Box::pin(reconcile(object, context)).await;
    (outcome, served.await.unwrap())
}

const NAMESPACE: &str = "PATCH /api/v1/namespaces/k3k-dev";
const CLUSTER: &str = "/apis/k3k.io/v1beta1/namespaces/k3k-dev/clusters/dev";

fn position(calls: &[String], call: &str) -> usize {
    calls.iter().position(|made| made == call).unwrap_or_else(|| panic!("{call} in {calls:#?}"))
}

#[tokio::test]
async fn a_new_cluster_gets_everything_at_once_and_in_order() {
    let (outcome, host) = once(cluster(&json!({}), &json!({})), Vec::new()).await;
    outcome.unwrap();
    let calls = &host.calls;
    let written: Vec<&String> = calls.iter().filter(|call| !call.starts_with("GET")).collect();
    // The label for the webhook and the finalizer come before anything that could leave a trace.
    let finalizer = format!("PATCH {CLUSTER}");
    assert!(
        written[..2].contains(&&NAMESPACE.to_owned()) && written[..2].contains(&&finalizer),
        "{written:#?}"
    );
    let server = position(calls, "PATCH /apis/apps/v1/namespaces/k3k-dev/statefulsets/k3k-dev-server");
    let kubelet = position(calls, "PATCH /apis/apps/v1/namespaces/k3k-dev/deployments/k3k-dev-kubelet");
    for needed in [
        "POST /api/v1/namespaces/k3k-dev/secrets",
        "PATCH /api/v1/namespaces/k3k-dev/secrets/k3k-dev-init-server-config",
        "PATCH /api/v1/namespaces/k3k-dev/secrets/k3k-dev-agent-config",
        "PATCH /api/v1/namespaces/k3k-dev/services/k3k-dev-service",
        "PATCH /api/v1/namespaces/k3k-dev/services/k3k-dev-kubelet",
        "PATCH /api/v1/namespaces/k3k-dev/serviceaccounts/k3k-dev-kubelet",
        "PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/k3k-dev/rolebindings/k3k-dev-kubelet",
    ] {
        assert!(position(calls, needed) < server.min(kubelet), "{needed}");
    }
    let status = &host.objects[CLUSTER]["status"];
    assert_eq!(status["phase"], "Provisioning");
    assert_eq!(status["endpoint"], "https://10.43.0.9");
    let secret = &host.objects["/api/v1/namespaces/k3k-dev/secrets/k3k-dev-certificates"];
    assert!(secret["metadata"]["ownerReferences"][0]["controller"].as_bool().unwrap());
}

#[tokio::test]
async fn a_bad_spec_is_told_and_not_tried_again() {
    let object = cluster(&json!({}), &json!({ "serverArgs": ["--token=mine"] }));
    let (outcome, host) = once(object, Vec::new()).await;
    assert_eq!(outcome.unwrap(), Action::await_change());
    let written: Vec<&String> = host.calls.iter().filter(|call| !call.starts_with("GET")).collect();
    // Label, finalizer, status and an event.
    assert_eq!(written.len(), 4, "{written:#?}");
    assert_eq!(host.objects[CLUSTER]["status"]["conditions"][0]["reason"], "ValidationFailed");
}

#[tokio::test]
async fn an_object_that_does_not_fit_the_schema_is_told() {
    let (outcome, host) = once(cluster(&json!({}), &json!({ "servers": "three" })), Vec::new()).await;
    assert_eq!(outcome.unwrap(), Action::await_change());
    let message = host.objects[CLUSTER]["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("cannot be read"), "{message}");
}

#[tokio::test]
async fn somebody_elses_certificates_are_not_used() {
    let path = "/api/v1/namespaces/k3k-dev/secrets/k3k-dev-certificates".to_owned();
    let foreign =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "k3k-dev-certificates" } });
    let (outcome, host) = once(cluster(&json!({}), &json!({})), vec![(path.clone(), foreign.clone())]).await;
    assert_eq!(outcome.unwrap_err().category(), "Foreign");
    assert_eq!(host.objects[&path], foreign);
    assert!(!host.calls.iter().any(|call| call.contains("statefulsets") && call.starts_with("PATCH")));
}

fn owned(kind: Kind, name: &str, uid: &str) -> Value {
    let resource = kind.resource();
    json!({ "apiVersion": resource.api_version, "kind": resource.kind, "metadata": { "name": name, "uid": "x",
        "ownerReferences": [{ "apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "name": "dev", "uid": uid, "controller": true }] } })
}

#[tokio::test]
async fn what_remains_of_an_earlier_cluster_is_waited_for() {
    let path = "/api/v1/namespaces/k3k-dev/secrets/k3k-dev-certificates".to_owned();
    let leftover = owned(Kind::Secret, "k3k-dev-certificates", "earlier");
    let (outcome, host) = once(cluster(&json!({}), &json!({})), vec![(path, leftover)]).await;
    let error = outcome.unwrap_err();
    assert_eq!((error.category(), error.is_terminal()), ("Leftover", false));
    assert_eq!(host.objects[CLUSTER]["status"]["phase"], "Provisioning");
}

#[tokio::test]
async fn a_deletion_stops_what_runs_and_lets_go() {
    let server = "/apis/apps/v1/namespaces/k3k-dev/statefulsets/k3k-dev-server";
    let kubelet = "/apis/apps/v1/namespaces/k3k-dev/deployments/k3k-dev-kubelet";
    // The spec does not even fit the schema.
    let metadata = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foreground", labels::CLUSTER_FINALIZER] });
    let present = vec![
        (server.to_owned(), owned(Kind::StatefulSet, "k3k-dev-server", "u")),
        (kubelet.to_owned(), owned(Kind::Deployment, "k3k-dev-kubelet", "u")),
        (PRIORITY_CLASSES.to_owned(), priority_classes(&json!([{ "metadata": { "name": "copy" } }]))),
    ];
    let (outcome, host) = once(cluster(&metadata, &json!({ "servers": "three" })), present).await;
    assert_eq!(outcome.unwrap(), Action::await_change());
    let status = position(&host.calls, &format!("PATCH {CLUSTER}/status"));
    let let_go = position(&host.calls, &format!("PATCH {CLUSTER}"));
    for deleted in [server, kubelet, &format!("{PRIORITY_CLASSES}/copy")] {
        let deleted = position(&host.calls, &format!("DELETE {deleted}"));
        assert!(status < deleted && deleted < let_go);
    }
    let removal = json!([
        { "op": "test", "path": "/metadata/finalizers/1", "value": labels::CLUSTER_FINALIZER },
        { "op": "remove", "path": "/metadata/finalizers/1" },
    ]);
    assert_eq!(host.objects[CLUSTER], removal);
}

#[tokio::test]
async fn a_deletion_touches_nothing_of_others() {
    let kubelet = "/apis/apps/v1/namespaces/k3k-dev/deployments/k3k-dev-kubelet";
    let metadata =
        json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [labels::CLUSTER_FINALIZER] });
    let present = vec![(kubelet.to_owned(), owned(Kind::Deployment, "k3k-dev-kubelet", "somebody"))];
    let (outcome, host) = once(cluster(&metadata, &json!({})), present).await;
    outcome.unwrap();
    assert!(!host.calls.iter().any(|call| call.starts_with("DELETE")), "{:#?}", host.calls);
}

#[tokio::test(start_paused = true)]
async fn events_do_not_put_off_the_full_look() {
    let (client, mut host) = host(Vec::new());
    let context = context(client);
    // The label and the finalizer are there, so that the first look differs in nothing from the others.
    let object = cluster(&json!({ "finalizers": [labels::CLUSTER_FINALIZER] }), &json!({}));
    for minutes in [0, 4, 2] {
        tokio::time::advance(Duration::from_secs(minutes * 60)).await;
        tokio::select! {
            outcome = Box::pin(reconcile(object.clone(), context.clone())) => drop(outcome.unwrap()),
            () = host.answer_all() => unreachable!("the context holds a client"),
        }
    }
    let looked =
        |call: &&String| call.ends_with("GET /api/v1/namespaces/k3k-dev/secrets/k3k-dev-certificates");
    assert_eq!(host.calls.iter().filter(looked).count(), 2, "{:#?}", host.calls);
}
