//! The calls that converging a slice makes, on mock API servers.

use super::*;
use crate::fixture::{Seen, store, world};
use k3k_runtime::scenario::Scenario;
use serde_json::json as object;

struct Stage {
    slices: Endpoints,
    host: Scenario,
    nested: Scenario,
    name: Name,
}

fn stage(
    nested_slice: Option<Value>,
    service: Value,
    pod: Option<Value>,
    host_slice: Option<Value>,
) -> Stage {
    let (world, host, nested) =
        world(Seen { nested_service: Some(service), host_pod: pod, ..Seen::default() });
    let slices = Endpoints {
        world: Arc::new(world),
        sync: SyncConfig::default(),
        nested: store(slice(), nested_slice),
        host: store(slice(), host_slice),
        listed: Lists::new(4),
        told: Mutex::default(),
    };
    let (requests, _) = queue();
    (0..4).for_each(|list| slices.relisted(list, &requests));
    let name = Name { namespace: "shop".into(), name: "db-1".into() };
    Stage { slices, host, nested, name }
}

fn service(selector: &Value) -> Value {
    object!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "shop", "uid": "s-uid"},
        "spec": {"clusterIP": "10.96.5.5", "selector": selector, "ports": [{"port": 5432}]},
    })
}

fn nested_slice(address: &str) -> Value {
    object!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "db-1", "namespace": "shop", "uid": "e-uid", "labels": {SERVICE_NAME: "db"}},
        "endpoints": [{"addresses": [address]}], "ports": [{"port": 5432}],
    })
}

fn host_pod(owned: bool) -> Value {
    let mut pod = object!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "k3k-dev", "labels": {"k3k.io/clusterName": "dev"}},
        "spec": {"nodeName": "host-1"}, "status": {"podIP": "10.244.0.7"},
    });
    if owned {
        pod["metadata"]["annotations"] =
            object!({"k3k.io/name": "p", "k3k.io/namespace": "shop", "k3k.io/uid": "u"});
    }
    pod
}

fn in_host() -> String {
    let name = k3k_api::names::translated("dev", "shop", "db-1");
    format!("/apis/discovery.k8s.io/v1/namespaces/k3k-dev/endpointslices/{name}")
}

/// What the host has after the slice was taken there.
async fn taken() -> Value {
    let Stage { slices, mut host, name, .. } =
        stage(Some(nested_slice("10.244.0.7")), service(&Value::Null), Some(host_pod(true)), None);
    let step = tokio::spawn(async move { slices.step(&name).await });
    host.expect("GET", &in_host()).await.refuse(404, "NotFound", "");
    let call = host.expect("PATCH", &in_host()).await;
    let mut made = call.body.clone();
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
    made["metadata"]["uid"] = "h-uid".into();
    made
}

#[tokio::test]
async fn an_address_of_a_pod_is_taken_to_the_host_once() {
    let made = taken().await;
    assert_eq!(made["endpoints"], object!([{"addresses": ["10.244.0.7"], "nodeName": "host-1"}]));
    let host_service = k3k_api::names::translated("dev", "shop", "db");
    assert_eq!(made["metadata"]["labels"][SERVICE_NAME], host_service.as_str());
    let Stage { slices, name, .. } =
        stage(Some(nested_slice("10.244.0.7")), service(&Value::Null), Some(host_pod(true)), Some(made));
    assert_eq!(slices.step(&name).await, Next::Done, "with nothing new to say, nothing is written");
}

#[tokio::test]
async fn an_address_goes_when_its_pod_goes() {
    let Stage { slices, mut host, mut nested, name } =
        stage(Some(nested_slice("10.244.0.7")), service(&Value::Null), None, Some(taken().await));
    let step = tokio::spawn(async move { slices.step(&name).await });
    let call = nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/shop/events").await;
    assert_eq!(
        (&call.body["reason"], &call.body["regarding"]["kind"]),
        (&"EndpointRefused".into(), &"Service".into())
    );
    call.accept();
    let call = host.expect("DELETE", &in_host()).await;
    assert_eq!(call.body["preconditions"]["uid"], "h-uid");
    call.answer(200, &object!({"kind": "Status", "status": "Success"}));
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn an_address_that_is_no_pods_is_told_once_and_never_written() {
    // Neither an address from anywhere nor one of a pod in our namespace that is no tenant's, as the server's.
    for (address, pod) in [("169.254.169.254", host_pod(true)), ("10.244.0.7", host_pod(false))] {
        let Stage { slices, mut nested, name, host } =
            stage(Some(nested_slice(address)), service(&Value::Null), Some(pod), None);
        let steps = tokio::spawn(async move { (slices.step(&name).await, slices.step(&name).await) });
        let call = nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/shop/events").await;
        assert!(call.body["note"].as_str().unwrap().contains(address), "{}", call.body);
        call.accept();
        assert_eq!(steps.await.unwrap(), (Next::Done, Next::Done));
        drop(host);
    }
}

#[tokio::test]
async fn a_service_with_a_selector_or_without_an_address_has_none() {
    let mut headless = service(&Value::Null);
    headless["spec"]["clusterIP"] = "None".into();
    for service in [service(&object!({"app": "db"})), headless] {
        let nested = Some(nested_slice("10.244.0.7"));
        let Stage { slices, name, .. } = stage(nested.clone(), service.clone(), Some(host_pod(true)), None);
        assert_eq!(slices.step(&name).await, Next::Done);
        let Stage { slices, mut host, name, .. } =
            stage(nested, service, Some(host_pod(true)), Some(taken().await));
        let step = tokio::spawn(async move { slices.step(&name).await });
        host.expect("DELETE", &in_host())
            .await
            .answer(200, &object!({"kind": "Status", "status": "Success"}));
        assert_eq!(step.await.unwrap(), Next::Done);
    }
}

#[tokio::test]
async fn before_all_sides_are_known_nothing_is_done() {
    let Stage { mut slices, name, .. } = stage(None, service(&Value::Null), None, Some(taken().await));
    slices.listed = Lists::new(4);
    (0..3).for_each(|list| slices.listed.complete(list));
    assert_eq!(slices.step(&name).await, Next::Done, "the pod's absence means nothing yet");
}
