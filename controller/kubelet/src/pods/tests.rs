//! The calls that converging a pod makes, on mock API servers.

use super::*;
use crate::fixture::{Seen, world};
use k3k_runtime::scenario::Scenario;
use serde_json::{Value, json};

struct Stage {
    pods: Pods,
    host: Scenario,
    nested: Scenario,
    name: Name,
}

/// A kubelet that sees these pods.
fn stage(nested_pod: Option<Value>, host_pod: Option<Value>) -> Stage {
    let (world, host, nested) = world(Seen { nested_pod, host_pod, ..Seen::default() });
    let name = Name { namespace: "default".into(), name: "web".into() };
    let pods = Pods::new(Arc::new(world));
    let (requests, _) = crate::converge::queue();
    pods.ask(&requests, true, &Change::Relisted);
    pods.ask(&requests, false, &Change::Relisted);
    Stage { pods, host, nested, name }
}

fn nested_pod(spec: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "uid": "n-uid", "resourceVersion": "5"},
        "spec": spec, "status": {"phase": "Pending"},
    })
}

fn host_name() -> String {
    k3k_api::names::translated("dev", "default", "web")
}

fn host_pod(status: &Value) -> Value {
    let spec = json!({"containers": [{"name": "c", "image": "busybox"}]});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": host_name(), "namespace": "k3k-dev", "uid": "h-uid",
            "labels": {"k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "default", "k3k.io/agentName": "k3k-dev"},
            "annotations": {"k3k.io/name": "web", "k3k.io/namespace": "default", "k3k.io/uid": "n-uid"},
        },
        "spec": spec, "status": status,
    })
}

fn plain() -> Value {
    json!({"containers": [{"name": "c", "image": "busybox"}]})
}

#[tokio::test]
async fn a_pod_owns_its_tokens_and_the_copies_that_it_uses() {
    let mut spec = plain();
    spec["volumes"] = json!([
        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"name": "s", "secret": {"secretName": "mine"}},
    ]);
    let Stage { pods, mut host, mut nested, name } = stage(Some(nested_pod(&spec)), None);
    let step = tokio::spawn(async move { pods.step(&name).await });

    let call = nested.expect("GET", "/api/v1/namespaces/default/secrets/mine").await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": "default", "uid": "s-uid", "resourceVersion": "1"}, "data": {"k": "dg=="}});
    call.answer(200, &secret);
    let copy = "/api/v1/namespaces/k3k-dev/secrets/mine-default-dev-";
    host.expect("GET", copy).await.refuse(404, "NotFound", "no such secret yet");
    let call = host.expect("PATCH", copy).await;
    assert_eq!(call.body["metadata"]["ownerReferences"][0]["kind"], "Cluster", "until there is a pod");
    call.accept();

    let call = host.expect("POST", "/api/v1/namespaces/k3k-dev/pods").await;
    assert_eq!(call.body["metadata"]["name"], host_name());
    call.answer(201, &host_pod(&Value::Null));
    let call = nested.expect("POST", "/api/v1/namespaces/default/serviceaccounts/default/token").await;
    assert_eq!(call.body["spec"]["boundObjectRef"]["uid"], "n-uid", "the token ends with the pod");
    call.answer(
        201,
        &json!({"status": {"token": "secret-token", "expirationTimestamp": "2100-01-01T00:00:00Z"}}),
    );

    nested.expect("GET", "/api/v1/namespaces/default/secrets/mine").await.answer(200, &secret);
    let mut written = Vec::new();
    for _ in 0..2 {
        let call = host.next().await.unwrap();
        assert!(call.uri.starts_with("/api/v1/namespaces/k3k-dev/secrets"), "{}", call.uri);
        assert_eq!(call.body["metadata"]["ownerReferences"][0]["uid"], "h-uid", "they go when the pod goes");
        written.push(call.body["metadata"]["name"].as_str().unwrap().to_owned());
        call.accept();
    }
    assert!(written.contains(&"k3k-pod-n-uid".to_owned()), "{written:?}");
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_denied_pod_leaves_no_copy_behind() {
    let mut spec = plain();
    spec["volumes"] = json!([{"name": "s", "secret": {"secretName": "mine"}}]);
    let Stage { pods, mut host, mut nested, name } = stage(Some(nested_pod(&spec)), None);
    let step = tokio::spawn(async move { pods.step(&name).await });
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": "default", "uid": "s-uid"}});
    nested.expect("GET", "/api/v1/namespaces/default/secrets/mine").await.answer(200, &secret);
    let copy = "/api/v1/namespaces/k3k-dev/secrets/mine-default-dev-";
    host.expect("GET", copy).await.refuse(404, "NotFound", "no such secret yet");
    host.expect("PATCH", copy).await.accept();
    host.expect("POST", "/api/v1/namespaces/k3k-dev/pods").await.refuse(403, "Forbidden", "no");
    host.expect("DELETE", copy).await.answer(200, &json!({"kind": "Status", "status": "Success"}));
    nested.expect("PATCH", "/api/v1/namespaces/default/pods/web/status").await.accept();
    nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/default/events").await.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
}

#[tokio::test]
async fn a_denial_of_the_host_reaches_the_tenant() {
    let Stage { pods, mut host, mut nested, name } = stage(Some(nested_pod(&plain())), None);
    let step = tokio::spawn(async move { pods.step(&name).await });
    let message =
        format!("admission webhook \"pods.k3k.io\" denied the request: pod {} is privileged", host_name());
    host.expect("POST", "/api/v1/namespaces/k3k-dev/pods").await.refuse(403, "Forbidden", &message);
    let call = nested.expect("PATCH", "/api/v1/namespaces/default/pods/web/status").await;
    assert_eq!(call.body[0], json!({"op": "test", "path": "/metadata/resourceVersion", "value": "5"}));
    let waiting = &call.body[1]["value"]["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waiting["reason"], "HostAdmissionDenied");
    assert_eq!(
        waiting["message"],
        "admission webhook \"pods.k3k.io\" denied the request: pod web is privileged"
    );
    call.accept();
    let call = nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/default/events").await;
    assert_eq!(call.body["reason"], "HostAdmissionDenied");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
}

#[tokio::test]
async fn who_waits_for_room_is_tried_when_another_pod_ends() {
    let Stage { pods, mut host, mut nested, name } = stage(Some(nested_pod(&plain())), None);
    let (pods, waiting) = (Arc::new(pods), name.clone());
    let stepping = pods.clone();
    let step = tokio::spawn(async move { stepping.step(&waiting).await });
    let message =
        format!("pods \"{}\" is forbidden: exceeded quota: k3k-gold, requested: pods=1", host_name());
    host.expect("POST", "/api/v1/namespaces/k3k-dev/pods").await.refuse(403, "Forbidden", &message);
    let call = nested.expect("PATCH", "/api/v1/namespaces/default/pods/web/status").await;
    let waits = &call.body[1]["value"]["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waits["reason"], "HostAdmissionDenied");
    assert!(waits["message"].as_str().unwrap().contains("exceeded quota"));
    call.accept();
    nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/default/events").await.accept();
    assert_eq!(step.await.unwrap(), Next::NoRoom);

    let other = |phase: &str| {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "other", "namespace": "k3k-dev"},
            "status": {"phase": phase}});
        Change::Object(Box::new(serde_json::from_value(pod).unwrap()))
    };
    // Whoever is in no cache has gone.
    let (requests, mut queue) = crate::converge::queue();
    pods.ask(&requests, false, &other("Running"));
    assert_eq!(queue.next_requested(), Some(name));
    pods.ask(&requests, false, &other("Running"));
    assert_eq!(queue.next_requested(), None, "once");
}

#[tokio::test]
async fn what_cannot_be_translated_never_reaches_the_host() {
    let mut spec = plain();
    spec["volumes"] = json!([{"name": "v", "nfs": {"server": "s", "path": "/"}}]);
    let Stage { pods, host, mut nested, name } = stage(Some(nested_pod(&spec)), None);
    let step = tokio::spawn(async move { pods.step(&name).await });
    let call = nested.expect("PATCH", "/api/v1/namespaces/default/pods/web/status").await;
    assert_eq!(call.body[1]["value"]["containerStatuses"][0]["state"]["waiting"]["reason"], "NotSupported");
    call.accept();
    nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/default/events").await.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
    drop(host);
}

#[tokio::test]
async fn the_hosts_status_comes_back_once() {
    let host_status = json!({"phase": "Running", "podIP": "10.244.0.7", "hostIP": "10.0.0.1"});
    let Stage { pods, mut nested, name, .. } =
        stage(Some(nested_pod(&plain())), Some(host_pod(&host_status)));
    let step = tokio::spawn(async move { pods.step(&name).await });
    let call = nested.expect("PATCH", "/api/v1/namespaces/default/pods/web/status").await;
    assert_eq!(call.body[1]["value"]["podIP"], "10.244.0.7");
    assert_eq!(call.body[1]["value"]["hostIP"], "10.96.3.3", "the node's address, not the host node's");
    let status = call.body[1]["value"].clone();
    call.answer(200, &nested_pod(&plain()));
    assert_eq!(step.await.unwrap(), Next::Done);

    let mut told = nested_pod(&plain());
    told["status"] = status;
    let Stage { pods, name, .. } = stage(Some(told), Some(host_pod(&host_status)));
    assert_eq!(pods.step(&name).await, Next::Done, "with nothing new to say, nothing is written");
}

#[tokio::test]
async fn a_pod_of_the_right_name_that_is_not_ours_is_left_alone() {
    let mut foreign = host_pod(&Value::Null);
    foreign["metadata"]["annotations"] = json!({});
    let Stage { pods, mut nested, name, .. } = stage(Some(nested_pod(&plain())), Some(foreign));
    let step = tokio::spawn(async move { pods.step(&name).await });
    let call = nested.expect("PATCH", "/api/v1/namespaces/default/pods/web/status").await;
    assert_eq!(call.body[1]["value"]["containerStatuses"][0]["state"]["waiting"]["reason"], "HostNameTaken");
    call.accept();
    nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/default/events").await.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
}

#[tokio::test]
async fn an_ended_pod_is_removed_for_good_and_only_that_one() {
    let mut ended = nested_pod(&plain());
    ended["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let Stage { pods, mut nested, name, .. } = stage(Some(ended), None);
    let step = tokio::spawn(async move { pods.step(&name).await });
    let call = nested.expect("DELETE", "/api/v1/namespaces/default/pods/web").await;
    assert_eq!(call.body["gracePeriodSeconds"], 0);
    assert_eq!(call.body["preconditions"]["uid"], "n-uid");
    call.refuse(409, "Conflict", "another pod by now");
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_copy_never_takes_the_place_of_another_object() {
    let mut spec = plain();
    spec["volumes"] = json!([{"name": "s", "secret": {"secretName": "mine"}}]);
    let Stage { pods, mut host, mut nested, name } = stage(Some(nested_pod(&spec)), None);
    let step = tokio::spawn(async move { pods.step(&name).await });
    let call = nested.expect("GET", "/api/v1/namespaces/default/secrets/mine").await;
    call.answer(200, &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": "default", "uid": "s"}}));
    let call = host.expect("GET", "/api/v1/namespaces/k3k-dev/secrets/mine-default-dev-").await;
    let theirs = json!({"k3k.io/name": "yours", "k3k.io/namespace": "default", "k3k.io/uid": "x"});
    call.answer(200, &json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "mine-default-dev-x", "labels": {"k3k.io/clusterName": "dev"}, "annotations": theirs},
    }));
    let call = nested.expect("PATCH", "/api/v1/namespaces/default/pods/web/status").await;
    assert_eq!(call.body[1]["value"]["containerStatuses"][0]["state"]["waiting"]["reason"], "HostNameTaken");
    call.accept();
    nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/default/events").await.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
}

#[tokio::test]
async fn a_resize_and_a_label_reach_the_running_pod() {
    let mut spec = plain();
    spec["containers"][0]["resources"] = json!({"requests": {"cpu": "200m"}});
    let mut nested_object = nested_pod(&spec);
    nested_object["metadata"]["labels"] = json!({"tier": "web"});
    nested_object["metadata"]["generation"] = 2.into();
    let running = json!({"phase": "Running", "podIP": "10.244.0.7", "hostIP": "10.0.0.1"});
    nested_object["status"] = k3k_translate::status::of_pod(&nested_object, &host_pod(&running), "10.96.3.3");
    let mut before = host_pod(&running);
    before["metadata"]["labels"]["old"] = "label".into();
    before["metadata"]["annotations"]["k3k.io/applied-spec"] = json!([
        {"containers": [{"name": "c", "image": "busybox"}]},
        {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
    ])
    .to_string()
    .into();
    let Stage { pods, mut host, name, .. } = stage(Some(nested_object), Some(before.clone()));
    let step = tokio::spawn(async move { pods.step(&name).await });
    let call = host.expect("PATCH", &format!("/api/v1/namespaces/k3k-dev/pods/{}/resize", host_name())).await;
    assert_eq!(
        call.body["spec"]["containers"],
        json!([{"name": "c", "resources": {"requests": {"cpu": "200m"}}}])
    );
    call.answer(200, &before);
    let call = host.expect("PATCH", &format!("/api/v1/namespaces/k3k-dev/pods/{}", host_name())).await;
    assert_eq!(
        call.body["metadata"]["annotations"]["k3k.io/generation"], "2",
        "after all that belongs to it"
    );
    assert_eq!(call.body["metadata"]["labels"]["tier"], "web");
    assert_eq!(call.body["metadata"]["labels"]["old"], Value::Null, "a label that is gone is removed");
    assert_eq!(call.body["spec"], json!({}), "images the host may have pinned are left alone");
    call.answer(200, &before);
    assert_eq!(step.await.unwrap(), Next::Done);
}

/// A host pod as the webhook leaves one that was made for `plain`.
fn as_the_webhook_leaves_it(nested: &Value, status: &Value) -> Value {
    let mut host = host_pod(status);
    host["metadata"]["annotations"]["k3k.io/applied-spec"] =
        json!([{"containers": nested["spec"]["containers"]}, {"containers": []}]).to_string().into();
    let names = nested["spec"]["containers"].as_array().unwrap().iter();
    host["spec"]["containers"] = names
        .map(|container| {
            json!({"name": container["name"], "image": format!("{}@sha256:aa", container["image"].as_str().unwrap()),
                "imagePullPolicy": "Always", "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "64Mi"}}})
        })
        .collect();
    for (field, value) in [
        ("nodeSelector", json!({"pool": "acme"})),
        ("tolerations", json!([{"key": "tenant", "operator": "Exists"}])),
        ("hostUsers", json!(false)),
        ("runtimeClassName", json!("gvisor")),
        ("priorityClassName", json!("tenants")),
        ("priority", json!(5)),
    ] {
        host["spec"][field] = value;
    }
    host
}

#[tokio::test]
async fn what_the_hosts_webhook_set_is_not_put_right() {
    let mut nested = nested_pod(&plain());
    let running = json!({
        "phase": "Running", "podIP": "10.244.0.7", "hostIP": "10.0.0.1",
        "containerStatuses": [{"name": "c", "image": "docker.io/library/busybox@sha256:aa", "imageID": "docker.io/library/busybox@sha256:aa"}],
    });
    let host_pod = as_the_webhook_leaves_it(&nested, &running);
    nested["status"] = k3k_translate::status::of_pod(&nested, &host_pod, "10.96.3.3");
    assert_eq!(nested["status"]["containerStatuses"][0]["image"], "busybox");
    assert_eq!(nested["status"]["containerStatuses"][0]["imageID"], "docker.io/library/busybox@sha256:aa");
    let Stage { pods, mut host, nested: mut inside, name } = stage(Some(nested), Some(host_pod));
    assert_eq!(pods.step(&name).await, Next::Done);
    drop(pods);
    assert!(
        host.next().await.is_none() && inside.next().await.is_none(),
        "nothing is written on either side"
    );
}

#[tokio::test]
async fn a_second_container_for_debugging_leaves_the_first_alone() {
    let ephemeral =
        |name: &str, image: &str| json!({"name": name, "image": image, "imagePullPolicy": "IfNotPresent"});
    let mut nested = nested_pod(&plain());
    nested["spec"]["ephemeralContainers"] = json!([ephemeral("one", "busybox"), ephemeral("two", "busybox")]);
    let running = json!({"phase": "Running", "podIP": "10.244.0.7", "hostIP": "10.0.0.1"});
    let mut host_pod = as_the_webhook_leaves_it(&nested, &running);
    let mut pinned = ephemeral("one", "busybox@sha256:aa");
    pinned["imagePullPolicy"] = "Always".into();
    host_pod["spec"]["ephemeralContainers"] = json!([pinned]);
    nested["status"] = k3k_translate::status::of_pod(&nested, &host_pod, "10.96.3.3");
    let Stage { pods, mut host, name, .. } = stage(Some(nested), Some(host_pod.clone()));
    let step = tokio::spawn(async move { pods.step(&name).await });
    let path = format!("/api/v1/namespaces/k3k-dev/pods/{}/ephemeralcontainers", host_name());
    let call = host.expect("PATCH", &path).await;
    let added = call.body["spec"]["ephemeralContainers"].as_array().unwrap();
    assert_eq!((added.len(), &added[0]["name"]), (1, &json!("two")));
    call.answer(200, &host_pod);
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn of_images_only_those_are_written_that_the_tenant_changed() {
    let container = |name: &str, image: &str| json!({"name": name, "image": image});
    let before =
        nested_pod(&json!({"containers": [container("a", "nginx:1.27"), container("b", "redis:7")]}));
    let running = json!({"phase": "Running", "podIP": "10.244.0.7", "hostIP": "10.0.0.1"});
    let host_pod = as_the_webhook_leaves_it(&before, &running);
    let mut after = before;
    after["spec"]["containers"][0]["image"] = "nginx:1.28".into();
    after["status"] = k3k_translate::status::of_pod(&after, &host_pod, "10.96.3.3");
    let Stage { pods, mut host, name, .. } = stage(Some(after), Some(host_pod.clone()));
    let step = tokio::spawn(async move { pods.step(&name).await });
    let call = host.expect("PATCH", &format!("/api/v1/namespaces/k3k-dev/pods/{}", host_name())).await;
    assert_eq!(call.body["spec"], json!({"containers": [container("a", "nginx:1.28")]}));
    call.answer(200, &host_pod);
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn an_annotation_shown_in_a_volume_is_written_and_then_the_host_pod_is_touched() {
    let mut spec = plain();
    let item = json!({"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}});
    spec["volumes"] = json!([{"name": "info", "downwardAPI": {"items": [item]}}]);
    let mut nested_object = nested_pod(&spec);
    nested_object["metadata"]["annotations"] = json!({"note": "new"});
    let running = json!({"phase": "Running", "podIP": "10.244.0.7", "hostIP": "10.0.0.1"});
    nested_object["status"] = k3k_translate::status::of_pod(&nested_object, &host_pod(&running), "10.96.3.3");
    let images = json!({"containers": [{"name": "c", "image": "busybox"}]});
    let mut before = host_pod(&running);
    before["metadata"]["annotations"]["k3k.io/applied-spec"] =
        json!([images, {"containers": []}, "of what it was before"]).to_string().into();
    let Stage { pods, mut host, name, .. } = stage(Some(nested_object), Some(before.clone()));
    let step = tokio::spawn(async move { pods.step(&name).await });
    let call = host.expect("PATCH", "/api/v1/namespaces/k3k-dev/secrets/k3k-pod-n-uid").await;
    let data = call.body["stringData"].as_object().unwrap();
    assert!(data.values().any(|content| content == "new"), "{data:?}");
    call.accept();
    let call = host.expect("PATCH", &format!("/api/v1/namespaces/k3k-dev/pods/{}", host_name())).await;
    let applied = call.body["metadata"]["annotations"]["k3k.io/applied-spec"].as_str().unwrap();
    let applied: Value = serde_json::from_str(applied).unwrap();
    assert_eq!(
        applied[2].as_str().map(str::len),
        Some(32),
        "a digest, so that the next change is one too: {applied}"
    );
    assert_eq!(call.body["spec"], json!({}), "nothing else is touched");
    call.answer(200, &before);
    step.await.unwrap();
}

#[tokio::test]
async fn before_both_sides_are_known_nothing_is_done() {
    let Stage { pods, name, .. } = stage(None, Some(host_pod(&Value::Null)));
    let unlisted = Pods::new(pods.world);
    let (requests, _) = crate::converge::queue();
    unlisted.ask(&requests, false, &Change::Relisted);
    assert_eq!(unlisted.step(&name).await, Next::Done, "the host pod is not taken for an orphan");
}

#[tokio::test]
async fn a_status_written_in_between_is_not_overwritten() {
    let running = json!({"phase": "Running", "podIP": "10.244.0.7", "hostIP": "10.0.0.1"});
    let Stage { pods, mut nested, name, .. } = stage(Some(nested_pod(&plain())), Some(host_pod(&running)));
    let step = tokio::spawn(async move { pods.step(&name).await });
    let call = nested.expect("PATCH", "/api/v1/namespaces/default/pods/web/status").await;
    assert_eq!(call.body[0]["path"], "/metadata/resourceVersion");
    call.answer(
        422,
        &json!({"kind": "Status", "status": "Failure", "reason": "Invalid", "details": {}, "code": 422, "message": "the server rejected our request due to an error in our request"}),
    );
    assert_eq!(step.await.unwrap(), Next::Done, "the newer version is on its way to us");
}

#[tokio::test]
async fn a_pod_has_the_priority_that_the_host_knows() {
    let mut spec = plain();
    spec["priorityClassName"] = "high".into();
    let sync: k3k_api::v1beta1::SyncConfig =
        serde_json::from_value(json!({"priorityClasses": {"enabled": true}})).unwrap();
    for (sync, found, expected) in [
        (sync.clone(), true, Some(k3k_api::names::translated("dev", "k3k-dev", "high"))),
        (sync, false, None),
        (k3k_api::v1beta1::SyncConfig::default(), false, None),
    ] {
        let asks = sync != k3k_api::v1beta1::SyncConfig::default();
        let (world, mut host, mut nested) =
            world(Seen { nested_pod: Some(nested_pod(&spec)), sync, ..Seen::default() });
        let pods = Pods::new(Arc::new(world));
        let (requests, _) = crate::converge::queue();
        pods.ask(&requests, true, &Change::Relisted);
        pods.ask(&requests, false, &Change::Relisted);
        let name = Name { namespace: "default".into(), name: "web".into() };
        let step = tokio::spawn(async move { pods.step(&name).await });
        if asks {
            let call = nested.expect("GET", "/apis/scheduling.k8s.io/v1/priorityclasses/high").await;
            let class = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "high"}});
            if found { call.answer(200, &class) } else { call.refuse(404, "NotFound", "") }
        }
        let call = host.expect("POST", "/api/v1/namespaces/k3k-dev/pods").await;
        assert_eq!(call.body["spec"]["priorityClassName"].as_str(), expected.as_deref());
        call.refuse(409, "AlreadyExists", "");
        host.expect("GET", "/api/v1/namespaces/k3k-dev/pods/").await.refuse(404, "NotFound", "gone again");
        step.await.unwrap();
    }
}

#[tokio::test]
async fn a_runtime_that_is_not_offered_is_refused_with_the_reason() {
    let mut spec = plain();
    spec["runtimeClassName"] = "gvisor".into();
    let Stage { pods, mut nested, name, host } = stage(Some(nested_pod(&spec)), None);
    let step = tokio::spawn(async move { pods.step(&name).await });
    let call = nested.expect("PATCH", "/api/v1/namespaces/default/pods/web/status").await;
    let waiting = &call.body[1]["value"]["containerStatuses"][0]["state"]["waiting"];
    assert!(waiting["message"].as_str().unwrap().contains("spec.runtimeClassName"), "{waiting}");
    call.accept();
    nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/default/events").await.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
    drop(host);
}

fn metadata_of(pod: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": pod["metadata"]})
}

fn stray() -> Value {
    let mut stray = host_pod(&Value::Null);
    stray["metadata"]["labels"] = json!({"app": "web"});
    metadata_of(&stray)
}

#[tokio::test]
async fn a_pod_that_only_lost_its_labels_in_the_host_goes_on() {
    let mut running = nested_pod(&plain());
    running["status"] = json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z"});
    let Stage { pods, mut host, name, .. } = stage(Some(running), None);
    let step = tokio::spawn(async move { pods.step(&name).await });
    let path = format!("/api/v1/namespaces/k3k-dev/pods/{}", host_name());
    host.expect("GET", &path).await.answer(200, &stray());
    let call = host.expect("PATCH", &path).await;
    assert_eq!(
        call.body["metadata"]["labels"],
        json!({"k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "default"})
    );
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done, "the nested pod is not ended");
}

#[tokio::test]
async fn a_pod_whose_host_pod_has_gone_ends() {
    let mut running = nested_pod(&plain());
    running["status"] = json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z"});
    let Stage { pods, mut host, mut nested, name } = stage(Some(running), None);
    let step = tokio::spawn(async move { pods.step(&name).await });
    host.expect("GET", "/api/v1/namespaces/k3k-dev/pods/").await.refuse(404, "NotFound", "gone");
    let call = nested.expect("DELETE", "/api/v1/namespaces/default/pods/web").await;
    assert_eq!(call.body["preconditions"]["uid"], "n-uid");
    call.answer(200, &json!({"kind": "Status", "status": "Success"}));
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn a_name_that_another_pod_has_in_the_host_is_told() {
    let Stage { pods, mut host, mut nested, name } = stage(Some(nested_pod(&plain())), None);
    let step = tokio::spawn(async move { pods.step(&name).await });
    host.expect("POST", "/api/v1/namespaces/k3k-dev/pods").await.refuse(409, "AlreadyExists", "there");
    let mut foreign = host_pod(&Value::Null);
    foreign["metadata"]["annotations"] = json!({});
    foreign["metadata"]["labels"] = json!({});
    host.expect("GET", "/api/v1/namespaces/k3k-dev/pods/").await.answer(200, &metadata_of(&foreign));
    let call = nested.expect("PATCH", "/api/v1/namespaces/default/pods/web/status").await;
    assert_eq!(call.body[1]["value"]["containerStatuses"][0]["state"]["waiting"]["reason"], "HostNameTaken");
    call.accept();
    nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/default/events").await.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
}
