use super::*;
use crate::lookup::Lookup;
use crate::registry::{Options, Resolver};
use futures::FutureExt;
use http::Request;
use http_body_util::BodyExt;
use k3k_runtime::ready::Readiness;
use k3k_runtime::scenario::{self, Scenario};
use prometheus_client::registry::Registry;
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt;

const PLAIN: &str = include_str!("../../tests/data/create-plain.json");
const EVERYTHING: &str = include_str!("../../tests/data/create-everything.json");
const PORT_AND_PATH: &str = include_str!("../../tests/data/create-host-port-and-path.json");
const DEBUG: &str = include_str!("../../tests/data/debug-privileged.json");
const FINALIZER: &str = include_str!("../../tests/data/update-finalizer.json");

struct Fixture {
    router: Router,
    registry: Registry,
    scenario: Scenario,
    // What is known stays as it is after the first lists: the mock never ends the watches that follow.
    _filling: futures::future::BoxFuture<'static, ()>,
}

fn namespace(name: &str, policy: Option<&str>) -> Value {
    let mut labels = json!({"k3k.io/cluster-namespace": "true"});
    if let Some(policy) = policy {
        labels["policy.k3k.io/policy-name"] = json!(policy);
    }
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
           "metadata": {"name": name, "labels": labels, "resourceVersion": "1"}})
}

fn policy(name: &str, level: &str) -> Value {
    json!({"apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "metadata": {"name": name},
           "spec": {"podSecurityAdmissionLevel": level}})
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items})
}

/// A router whose copies hold these namespaces and policies, and nothing else.
async fn fixture(namespaces: &[Value], policies: &[Value]) -> Fixture {
    let (client, mut scenario) = scenario::client();
    let readiness = Readiness::default();
    let (lookup, filling) = Lookup::watch(client, readiness.latch("policies"));
    let mut filling = filling.boxed();
    for _ in 0..3 {
        let call = tokio::select! {
            () = &mut filling => panic!("watching ended"),
            call = scenario.next() => call.unwrap(),
        };
        let items = match call.uri.split('?').next().unwrap() {
            "/api/v1/namespaces" => namespaces,
            "/apis/k3k.io/v1beta1/virtualclusterpolicies" => policies,
            _ => &[],
        };
        call.answer(200, &list(items));
    }
    while !readiness.is_ready() {
        assert!((&mut filling).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    // The watches that follow the lists stay open.
    let mut registry = Registry::default();
    let resolver = Resolver::new(Options::default()).unwrap();
    let answering = Answering { lookup, resolver, system_namespace: "k3k-system".to_owned() };
    let router = router(answering, Metrics::register(&mut registry));
    Fixture { router, registry, scenario, _filling: filling }
}

async fn post(router: &Router, body: impl Into<Body>) -> (StatusCode, Value) {
    let request = Request::post("/validate?timeout=5s").body(body.into()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
    (status, json)
}

async fn ask(router: &Router, review: &str) -> Value {
    let (status, answer) = post(router, review.to_owned()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    let asked: Value = serde_json::from_str(review).unwrap();
    assert_eq!(answer["response"]["uid"], asked["request"]["uid"]);
    assert!(answer["response"].get("patch").is_none() && answer["response"].get("patchType").is_none());
    answer["response"].clone()
}

#[tokio::test]
async fn good_pods_pass() {
    let fixture = fixture(&[namespace("k3k-dev", None)], &[]).await;
    for review in [PLAIN, FINALIZER] {
        assert_eq!(ask(&fixture.router, review).await["allowed"], true);
    }
}

#[rstest]
#[case::everything("everything", EVERYTHING)]
#[case::port_and_path("port_and_path", PORT_AND_PATH)]
#[case::debug("debug", DEBUG)]
#[tokio::test]
async fn denials_say_all_that_is_wrong(#[case] name: &str, #[case] review: &str) {
    let fixture = fixture(&[namespace("k3k-dev", Some("gold"))], &[policy("gold", "baseline")]).await;
    let response = ask(&fixture.router, review).await;
    assert_eq!(response["allowed"], false);
    insta::assert_json_snapshot!(name, response["status"]);
}

#[tokio::test]
async fn a_policy_may_allow_it() {
    let fixture = fixture(&[namespace("k3k-dev", Some("open"))], &[policy("open", "privileged")]).await;
    assert_eq!(ask(&fixture.router, EVERYTHING).await["allowed"], true);
}

#[tokio::test]
async fn a_policy_of_a_later_version_is_not_believed() {
    let fixture = fixture(&[namespace("k3k-dev", Some("later"))], &[policy("later", "quantum")]).await;
    let response = ask(&fixture.router, PLAIN).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["details"]["causes"][0]["reason"], "policy-missing");
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("\"later\"") && message.contains("quantum"), "{message}");
}

/// What is not among the copies is asked for, once per request.
#[tokio::test]
async fn a_new_namespace_is_looked_up() {
    let Fixture { router, mut scenario, _filling, .. } = fixture(&[], &[]).await;
    let server = tokio::spawn(async move {
        let mut watches = Vec::new();
        loop {
            let call = scenario.next().await.unwrap();
            if call.uri.contains("watch=true") {
                watches.push(call);
                continue;
            }
            match call.uri.split('?').next().unwrap() {
                "/api/v1/namespaces/k3k-dev" => call.answer(200, &namespace("k3k-dev", Some("nope"))),
                "/apis/k3k.io/v1beta1/virtualclusterpolicies/nope" => {
                    call.refuse(404, "NotFound", "no such policy");
                }
                other => panic!("{other}"),
            }
        }
    });
    let response = ask(&router, PLAIN).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(
        response["status"]["message"],
        "policy-missing: the namespace is bound to VirtualClusterPolicy \"nope\", which does not exist: create it, \
         or correct the namespace's label policy.k3k.io/policy-name."
    );
    server.abort();
}

#[tokio::test]
async fn an_api_server_that_fails_is_no_permission() {
    let Fixture { router, mut scenario, _filling, .. } = fixture(&[], &[]).await;
    let server = tokio::spawn(async move {
        while let Some(call) = scenario.next().await {
            call.refuse(403, "Forbidden", "not you");
        }
    });
    let response = ask(&router, PLAIN).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 500);
    assert_eq!(response["status"]["reason"], "InternalError");
    server.abort();
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_hangs_costs_only_the_time_there_is() {
    let fixture = fixture(&[], &[]).await;
    let (status, body) = post(&fixture.router, PLAIN.to_owned()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "no decision within 4.5s\n");
}

#[rstest]
#[case::not_json("pod", StatusCode::BAD_REQUEST)]
#[case::nothing("", StatusCode::BAD_REQUEST)]
#[case::no_request(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
    StatusCode::BAD_REQUEST
)]
#[case::old_version(
    r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":7}"#,
    StatusCode::BAD_REQUEST
)]
#[case::other_kind(r#"{"apiVersion":"v1","kind":"Pod"}"#, StatusCode::BAD_REQUEST)]
#[case::twice(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null,"request":null}"#,
    StatusCode::BAD_REQUEST
)]
#[tokio::test]
async fn what_is_no_review_is_refused(#[case] body: &'static str, #[case] code: StatusCode) {
    let fixture = fixture(&[], &[]).await;
    let (status, text) = post(&fixture.router, body).await;
    assert_eq!(status, code, "{text}");
    assert!(text.is_string());
}

#[tokio::test]
async fn a_large_review_is_answered_and_a_larger_one_is_refused() {
    let fixture = fixture(&[namespace("k3k-dev", None)], &[]).await;
    let mut review: Value = serde_json::from_str(PLAIN).unwrap();
    review["request"]["object"]["metadata"]["annotations"]["big"] = json!("x".repeat(3 << 20));
    review["request"]["oldObject"] = review["request"]["object"].clone();
    assert_eq!(ask(&fixture.router, &review.to_string()).await["allowed"], true);
    let (status, text) = post(&fixture.router, vec![b' '; 9 << 20]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
}

#[tokio::test]
async fn everything_is_counted_without_names() {
    let fixture = fixture(&[namespace("k3k-dev", None)], &[]).await;
    for review in [PLAIN, EVERYTHING, DEBUG] {
        ask(&fixture.router, review).await;
    }
    post(&fixture.router, "nonsense").await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &fixture.registry).unwrap();
    for line in [
        r#"k3k_admission_requests_total{phase="validate",operation="CREATE",resource="pods",decision="allowed"} 1"#,
        r#"k3k_admission_requests_total{phase="validate",operation="CREATE",resource="pods",decision="denied"} 1"#,
        r#"k3k_admission_requests_total{phase="validate",operation="UPDATE",resource="pods/ephemeralcontainers",decision="denied"} 1"#,
        r#"k3k_admission_violations_total{rule="podSecurity.hostNamespaces",mode="enforce"} 3"#,
        r#"k3k_admission_violations_total{rule="podSecurity.privileged",mode="enforce"} 3"#,
        "k3k_admission_duration_seconds_count 3",
        "k3k_admission_rejected_total 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("k3k-dev"), "{text}");
}

#[test]
fn the_callers_patience_is_heeded_within_reason() {
    let seconds = |text| limit(text).as_secs_f64();
    for (text, want) in [
        (None, 4.0),
        (Some("5s"), 4.5),
        (Some("0s"), 0.5),
        (Some("30s"), 8.0),
        (Some("-1s"), 4.0),
        (Some("x"), 4.0),
    ] {
        assert!((seconds(text) - want).abs() < 1e-9, "{text:?}");
    }
}
