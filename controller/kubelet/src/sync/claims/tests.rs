//! The calls that converging a claim makes, on mock API servers.

use super::*;
use crate::fixture::{self, store};
use k3k_api::names::translated;
use k3k_runtime::scenario::Scenario;
use serde_json::json;

const HOST_CLAIMS: &str = "/api/v1/namespaces/k3k-dev/persistentvolumeclaims";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

/// What a kubelet sees.
#[derive(Default)]
struct Seen {
    nested: Option<Value>,
    host: Option<Value>,
    volume: Option<Value>,
    class: Option<Value>,
    sync: SyncConfig,
}

struct Stage {
    claims: Claims,
    host: Scenario,
    nested: Scenario,
}

fn stage(seen: Seen) -> Stage {
    let (world, host, nested) = fixture::world(fixture::Seen::default());
    let listed = Lists::new(4);
    (0..4).for_each(|list| listed.complete(list));
    let claims = Claims {
        world: Arc::new(world),
        sync: seen.sync,
        nested: store(core("PersistentVolumeClaim"), seen.nested),
        host: store(core("PersistentVolumeClaim"), seen.host),
        volumes: store(core("PersistentVolume"), seen.volume),
        classes: store(storage_class(), seen.class),
        listed,
        waiting: Mutex::default(),
    };
    Stage { claims, host, nested }
}

fn name() -> Name {
    Name { namespace: "shop".into(), name: "data".into() }
}

fn nested(size: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "shop", "uid": "n-uid"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
        "status": status,
    })
}

fn bound(size: &str, capacity: &str) -> Value {
    let mut claim = nested(size, &json!({"phase": "Bound", "capacity": {"storage": capacity}}));
    claim["spec"]["volumeName"] = "pvc-n-uid".into();
    claim
}

fn host(origin_uid: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": translated("dev", "shop", "data"), "namespace": "k3k-dev", "uid": "h-uid",
            "labels": {"k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop"},
            "annotations": {"k3k.io/name": "data", "k3k.io/namespace": "shop", "k3k.io/uid": origin_uid},
        },
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": status,
    })
}

fn volume(uid: &str, reclaim: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("pvc-{uid}"), "uid": "v-uid"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": reclaim,
            "csi": {"driver": "host.k3k.io", "volumeHandle": "h", "volumeAttributes": {"k3k.io/namespace": "shop", "k3k.io/name": "data"}},
        },
    })
}

fn has(capacity: &str) -> Value {
    json!({"phase": "Bound", "capacity": {"storage": capacity}})
}

#[tokio::test]
async fn a_claim_gets_a_host_claim_and_then_a_volume() {
    let pending = json!({"phase": "Pending"});
    let Stage { claims, mut host, .. } =
        stage(Seen { nested: Some(nested("1Gi", &pending)), ..Seen::default() });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    let call = host.expect("POST", HOST_CLAIMS).await;
    assert_eq!(call.body["metadata"]["name"], translated("dev", "shop", "data"));
    assert_eq!(call.body["metadata"]["ownerReferences"][0]["uid"], "c-uid");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);

    let Stage { claims, .. } = stage(Seen {
        nested: Some(nested("1Gi", &pending)),
        host: Some(self::host("n-uid", &pending)),
        ..Seen::default()
    });
    assert_eq!(claims.step(&name()).await, Next::Done, "nothing is bound before the host binds");

    let Stage { claims, mut nested, .. } = stage(Seen {
        nested: Some(self::nested("1Gi", &pending)),
        host: Some(self::host("n-uid", &has("2Gi"))),
        ..Seen::default()
    });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    let call = nested.expect("POST", "/api/v1/persistentvolumes").await;
    assert_eq!(call.body["metadata"]["name"], "pvc-n-uid");
    assert_eq!(call.body["spec"]["claimRef"]["uid"], "n-uid");
    assert_eq!(call.body["spec"]["capacity"]["storage"], "2Gi");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_host_that_waits_for_a_pod_gets_one() {
    let pending = json!({"phase": "Pending"});
    let Stage { claims, mut nested, .. } = stage(Seen {
        nested: Some(self::nested("1Gi", &pending)),
        host: Some(host("n-uid", &pending)),
        ..Seen::default()
    });
    let event = json!({
        "metadata": {"name": "e.1"}, "reason": "WaitForFirstConsumer",
        "involvedObject": {"kind": "PersistentVolumeClaim", "name": translated("dev", "shop", "data"), "uid": "h-uid"},
    });
    let (requests, _queue) = queue();
    claims.hear_one(&requests, &event).await;
    let step = tokio::spawn(async move { claims.step(&name()).await });
    let call = nested.expect("POST", "/api/v1/persistentvolumes").await;
    assert_eq!(call.body["spec"]["capacity"]["storage"], "1Gi");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
    assert!(nested.next().await.is_none(), "and nothing is retold that the nested cluster says itself");
}

#[tokio::test]
async fn growth_goes_to_the_host_and_its_size_comes_back() {
    let Stage { claims, mut host, mut nested, .. } = stage(Seen {
        nested: Some(bound("3Gi", "1Gi")),
        host: Some(self::host("n-uid", &has("3Gi"))),
        volume: Some(volume("n-uid", "Delete")),
        ..Seen::default()
    });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    let call = host.expect("PATCH", &format!("{HOST_CLAIMS}/{}", translated("dev", "shop", "data"))).await;
    assert_eq!(call.body["spec"], json!({"resources": {"requests": {"storage": "3Gi"}}}));
    assert_eq!(call.body["metadata"]["uid"], "h-uid");
    call.accept();
    let call = nested.expect("PATCH", "/api/v1/persistentvolumes/pvc-n-uid").await;
    assert_eq!(call.body["spec"]["capacity"]["storage"], "3Gi");
    call.accept();
    let call = nested.expect("PATCH", "/api/v1/namespaces/shop/persistentvolumeclaims/data/status").await;
    assert_eq!(call.body["status"], json!({"capacity": {"storage": "3Gi"}}));
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn agreement_calls_for_nothing() {
    let Stage { claims, .. } = stage(Seen {
        nested: Some(bound("1Gi", "1Gi")),
        host: Some(host("n-uid", &has("1Gi"))),
        volume: Some(volume("n-uid", "Delete")),
        ..Seen::default()
    });
    assert_eq!(claims.step(&name()).await, Next::Done);
}

#[tokio::test]
async fn an_ended_claim_takes_the_host_claim_first_and_then_its_volume() {
    let Stage { claims, mut host, .. } = stage(Seen {
        host: Some(self::host("n-uid", &has("1Gi"))),
        volume: Some(volume("n-uid", "Delete")),
        ..Seen::default()
    });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    let call = host.expect("DELETE", HOST_CLAIMS).await;
    assert_eq!(call.body["preconditions"]["uid"], "h-uid");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);

    let Stage { claims, mut nested, .. } =
        stage(Seen { volume: Some(volume("n-uid", "Delete")), ..Seen::default() });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    nested.expect("DELETE", "/api/v1/persistentvolumes/pvc-n-uid").await.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_retained_volume_outlives_its_claim_and_keeps_its_name() {
    let seen = || Seen {
        host: Some(host("n-uid", &has("1Gi"))),
        volume: Some(volume("n-uid", "Retain")),
        ..Seen::default()
    };
    let Stage { claims, .. } = stage(seen());
    assert_eq!(claims.step(&name()).await, Next::Done);

    let mut namesake = nested("1Gi", &json!({"phase": "Pending"}));
    namesake["metadata"]["uid"] = "later".into();
    let Stage { claims, mut nested, .. } = stage(Seen { nested: Some(namesake), ..seen() });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(call.body["reason"], "VolumeRetained");
    assert!(call.body["note"].as_str().unwrap().contains("pvc-n-uid"), "{}", call.body);
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_namesake_waits_for_the_claim_before_it_to_go() {
    let Stage { claims, mut host, .. } = stage(Seen {
        nested: Some(nested("1Gi", &json!({"phase": "Pending"}))),
        host: Some(self::host("before", &has("1Gi"))),
        ..Seen::default()
    });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    host.expect("DELETE", HOST_CLAIMS).await.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_claim_that_reaches_for_another_volume_is_refused_with_the_reason() {
    let mut claim = nested("1Gi", &json!({"phase": "Pending"}));
    claim["spec"]["dataSource"] = json!({"kind": "PersistentVolumeClaim", "name": "other"});
    let Stage { claims, host, mut nested } = stage(Seen { nested: Some(claim), ..Seen::default() });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!((&call.body["reason"], &call.body["type"]), (&json!("NotSupported"), &json!("Warning")));
    assert!(call.body["note"].as_str().unwrap().starts_with("spec.dataSource"), "{}", call.body);
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
    drop(host);
}

#[tokio::test]
async fn a_quota_of_the_host_is_told_in_the_tenants_terms() {
    let Stage { claims, mut host, mut nested } =
        stage(Seen { nested: Some(nested("1Gi", &json!({"phase": "Pending"}))), ..Seen::default() });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    let message = format!("{} is forbidden: exceeded quota: storage", translated("dev", "shop", "data"));
    host.expect("POST", HOST_CLAIMS).await.refuse(403, "Forbidden", &message);
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(call.body["reason"], "HostAdmissionDenied");
    assert_eq!(call.body["note"], "data is forbidden: exceeded quota: storage");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
}

#[tokio::test]
async fn lost_data_is_not_replaced_by_an_empty_volume() {
    let Stage { claims, mut nested, mut host, .. } = stage(Seen {
        nested: Some(bound("1Gi", "1Gi")),
        volume: Some(volume("n-uid", "Delete")),
        ..Seen::default()
    });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    host.expect("GET", HOST_CLAIMS).await.refuse(404, "NotFound", "it is not only out of sight");
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(call.body["reason"], "VolumeLost");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_host_claim_that_only_lost_its_labels_gets_them_back() {
    let Stage { claims, host: mut calls, .. } = stage(Seen {
        nested: Some(bound("1Gi", "1Gi")),
        volume: Some(volume("n-uid", "Delete")),
        ..Seen::default()
    });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    let mut stray = host("n-uid", &has("1Gi"))["metadata"].clone();
    stray["labels"] = Value::Null;
    let meta = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": stray});
    calls.expect("GET", HOST_CLAIMS).await.answer(200, &meta);
    let call = calls.expect("PATCH", HOST_CLAIMS).await;
    assert_eq!(call.body["metadata"]["labels"]["k3k.io/clusterName"], "dev");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done, "and nobody is told that data are lost");
}

#[tokio::test]
async fn a_claim_of_that_name_that_is_not_ours_is_left_alone() {
    let mut foreign = host("n-uid", &has("1Gi"));
    foreign["metadata"]["annotations"]["k3k.io/name"] = "other".into();
    let Stage { claims, .. } = stage(Seen { host: Some(foreign.clone()), ..Seen::default() });
    assert_eq!(claims.step(&name()).await, Next::Done);

    let wants = Some(nested("1Gi", &json!({"phase": "Pending"})));
    let Stage { claims, mut nested, .. } =
        stage(Seen { nested: wants.clone(), host: Some(foreign.clone()), ..Seen::default() });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(call.body["reason"], "HostNameTaken");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);

    // The same when only the API server knows, as it does not carry our label.
    let Stage { claims, mut host, mut nested } = stage(Seen { nested: wants, ..Seen::default() });
    let step = tokio::spawn(async move { claims.step(&name()).await });
    host.expect("POST", HOST_CLAIMS).await.refuse(409, "AlreadyExists", "there is one");
    let call = host.expect("GET", HOST_CLAIMS).await;
    foreign["metadata"]["labels"] = json!({});
    call.answer(200, &json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": foreign["metadata"]}));
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(call.body["reason"], "HostNameTaken");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
}

#[tokio::test]
async fn what_is_not_selected_or_not_yet_known_is_left_alone() {
    let sync =
        serde_json::from_value(json!({"persistentVolumeClaims": {"selector": {"on": "host"}}})).unwrap();
    let wants = Some(nested("1Gi", &json!({"phase": "Pending"})));
    let Stage { claims, .. } = stage(Seen { nested: wants, sync, ..Seen::default() });
    assert_eq!(claims.step(&name()).await, Next::Done);

    let Stage { mut claims, .. } = stage(Seen { host: Some(host("n-uid", &has("1Gi"))), ..Seen::default() });
    claims.listed = Lists::new(4);
    (1..4).for_each(|list| claims.listed.complete(list));
    assert_eq!(claims.step(&name()).await, Next::Done, "the host claim is not taken for an orphan");
}
