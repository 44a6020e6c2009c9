//! The way of a question about a pod, from the wire to the answer.

use super::fixture::{Fixture, KEY};
use k3k_api::told_policy;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

fn review(privileged: bool) -> String {
    let container = json!({"name": "c", "image": "busybox", "securityContext": {"privileged": privileged}});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "shop", "name": "web", "operation": "CREATE", "userInfo": {"username": "tenant"},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [container]}},
        "oldObject": null, "dryRun": false,
    }})
    .to_string()
}

async fn ask(at: &Fixture, key: &str, body: &str) -> (u16, Value) {
    let mut caller = at.connect(None).await;
    let length = body.len().to_string();
    caller.send("POST", &format!("/admission/{key}?timeout=2s"), &[("Content-Length", &length)]).await;
    caller.io.write_all(body.as_bytes()).await.unwrap();
    let head = caller.head().await;
    let body = caller.body(&head).await;
    (head.code, body)
}

fn tell(at: &Fixture, version: &str, policy: &Value) {
    let told = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k3k-dev-policy", "resourceVersion": version},
        "data": {told_policy::KEY: policy.to_string()},
    });
    at.told.take(&Event::Apply(serde_json::from_value(told).unwrap()));
}

#[tokio::test]
async fn the_host_decides_alone_until_its_policy_is_known_and_then_it_is_followed() {
    let at = Fixture::start().await;
    let (code, answer) = ask(&at, KEY, &review(true)).await;
    assert_eq!((code, &answer["response"]["allowed"]), (200, &json!(true)), "{answer}");

    tell(&at, "1", &json!({"governing": "Default"}));
    let (code, answer) = ask(&at, KEY, &review(true)).await;
    let response = &answer["response"];
    assert_eq!((code, &response["allowed"], &response["uid"]), (200, &json!(false), &json!("u-1")));
    assert!(response["status"]["message"].as_str().unwrap().contains("privileged"), "{answer}");
    let (_, answer) = ask(&at, KEY, &review(false)).await;
    assert_eq!(answer["response"]["allowed"], true, "{answer}");

    let lax = json!({"governing": "Named", "name": "lax", "generation": 1, "spec": {"podSecurityAdmissionLevel": "privileged"}});
    tell(&at, "2", &lax);
    let (_, answer) = ask(&at, KEY, &review(true)).await;
    assert_eq!(answer["response"]["allowed"], true, "without a restart: {answer}");
}

#[tokio::test]
async fn who_does_not_know_the_key_learns_nothing() {
    let at = Fixture::start().await;
    tell(&at, "1", &json!({"governing": "Default"}));
    for key in ["wrong", "", &KEY[1..], &format!("{KEY}/x"), "0123456789ABCDEF"] {
        let (code, answer) = ask(&at, key, &review(true)).await;
        assert_eq!(code, 401, "{key:?} {answer}");
        assert_eq!(answer["message"], "Unauthorized");
    }
    let (head, _) = at.connect(None).await.ask("GET", &format!("/admission/{KEY}"), &[]).await;
    assert_eq!(head.code, 405);
}

#[tokio::test]
async fn what_is_no_question_gets_no_decision() {
    let at = Fixture::start().await;
    for body in ["", "{", "[]", r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#] {
        let (code, answer) = ask(&at, KEY, body).await;
        assert_eq!(code, 400, "{body:?} {answer}");
    }
    // More than is read is refused before it is sent.
    let mut caller = at.connect(None).await;
    let length = (9 << 20).to_string();
    caller.send("POST", &format!("/admission/{KEY}"), &[("Content-Length", &length)]).await;
    assert_eq!(caller.head().await.code, 400);
    // Also what comes without saying how much it is.
    let mut caller = at.connect(None).await;
    caller.send("POST", &format!("/admission/{KEY}"), &[("Transfer-Encoding", "chunked")]).await;
    assert_eq!(caller.head().await.code, 400);
}

#[tokio::test]
async fn who_promises_and_does_not_send_is_not_waited_for() {
    let at = Fixture::start().await;
    tell(&at, "1", &json!({"governing": "Default"}));
    let mut silent = at.connect(None).await;
    let length = (8 << 20).to_string();
    silent.send("POST", &format!("/admission/{KEY}"), &[("Content-Length", &length)]).await;
    assert_eq!(silent.head().await.code, 500);
    let (code, _) = ask(&at, KEY, &review(false)).await;
    assert_eq!(code, 200, "its room was given back");
}
