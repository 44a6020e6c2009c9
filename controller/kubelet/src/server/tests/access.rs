use super::fixture::{Fixture, leaf};
use k3k_runtime::certificates::{Authority, Usage};
use rstest::rstest;
use serde_json::json;
use std::sync::atomic::Ordering;

const PATHS: [&str; 11] = [
    "/exec/shop/web/app?command=id&output=1",
    "/exec/shop/web/u1/app?command=id&output=1",
    "/attach/shop/web/app?output=1",
    "/portForward/shop/web",
    "/containerLogs/shop/web/app",
    "/run/shop/web/app",
    "/pods",
    "/metrics",
    "/metrics/resource",
    "/stats/summary",
    "/no/such/path",
];

#[tokio::test]
async fn without_credentials_everything_is_401() {
    let at = Fixture::start().await;
    for path in PATHS {
        let mut caller = at.connect(None).await;
        let head = caller.spdy(path).await;
        let body = caller.body(&head).await;
        assert_eq!((head.code, body["reason"].as_str()), (401, Some("Unauthorized")), "{path}");
        assert_eq!(body["kind"], "Status");
    }
    assert!(at.host.requests.lock().unwrap().is_empty());
    assert!(at.nested.accesses.lock().unwrap().is_empty());
}

#[tokio::test]
async fn health_is_open_and_nothing_else() {
    let at = Fixture::start().await;
    let mut caller = at.connect(None).await;
    caller.send("GET", "/healthz", &[]).await;
    assert_eq!(caller.head().await.code, 200);
    caller.expect(b"ok").await;
    for path in ["/healthz/", "/healthz/../pods", "//healthz", "/healthz/log"] {
        let (head, _) = at.connect(None).await.ask("GET", path, &[]).await;
        assert_eq!(head.code, 401, "{path}");
    }
}

#[tokio::test]
async fn a_user_without_the_right_is_403_everywhere() {
    let at = Fixture::start().await;
    let identity = at.identity("alice", Some("developers"));
    for path in PATHS {
        let mut caller = at.connect(Some(&identity)).await;
        let head = caller.spdy(path).await;
        let body = caller.body(&head).await;
        assert_eq!((head.code, body["reason"].as_str()), (403, Some("Forbidden")), "{path}");
        assert!(
            body["message"].as_str().unwrap().starts_with("user \"alice\" may not create nodes/"),
            "{body}"
        );
    }
    assert!(at.host.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_question_is_the_kubelets() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    let (head, body) = caller.ask("GET", "/pods", &[]).await;
    assert_eq!((head.code, body["kind"].as_str()), (200, Some("PodList")));
    assert_eq!(body["items"][0]["metadata"]["name"], "web");
    assert_eq!(
        *at.nested.accesses.lock().unwrap(),
        [json!({
            "user": "system:apiserver",
            "groups": ["system:masters", "system:authenticated"],
            "resourceAttributes": {
                "verb": "get", "version": "v1", "resource": "nodes", "subresource": "pods", "name": "k3k-dev",
            },
        })]
    );
}

#[tokio::test]
async fn decisions_are_remembered_for_each_user_and_verb() {
    let at = Fixture::start().await;
    let asked = || at.nested.accesses.lock().unwrap().len();
    for _ in 0..5 {
        assert_eq!(at.apiserver().await.spdy("/exec/shop/web/app?output=1").await.code, 101);
    }
    assert_eq!(asked(), 1);
    at.apiserver().await.send("GET", "/containerLogs/shop/web/app", &[]).await;
    let (head, _) = at.apiserver().await.ask("GET", "/no/such/path", &[]).await;
    assert_eq!((head.code, asked()), (404, 2), "get is another verb");
    // The same name in another group is another user.
    let imposter = at.identity("system:apiserver", None);
    let head = at.connect(Some(&imposter)).await.spdy("/exec/shop/web/app?output=1").await;
    assert_eq!((head.code, asked()), (403, 3));
}

#[tokio::test]
async fn a_token_is_reviewed_by_the_nested_cluster() {
    let at = Fixture::start().await;
    let token = [("Authorization", "Bearer metrics-token")];
    for _ in 0..3 {
        let (head, _) = at.connect(None).await.ask("GET", "/pods", &token).await;
        assert_eq!(head.code, 200);
    }
    assert_eq!(at.nested.tokens.load(Ordering::Relaxed), 1, "remembered");
    let asked = at.nested.accesses.lock().unwrap()[0].clone();
    assert_eq!((&asked["user"], &asked["uid"]), (&json!("metrics"), &json!("7")));
    assert_eq!(asked["groups"], json!(["system:serviceaccounts", "system:authenticated"]));
    assert_eq!(asked["extra"], json!({"authentication.kubernetes.io/pod-name": ["metrics-0"]}));
    let (head, _) = at.connect(None).await.ask("GET", "/containerLogs/shop/web/app", &token).await;
    assert_eq!(head.code, 403, "a metrics server reads no logs");
}

#[rstest]
#[case::unknown("Bearer mallory")]
#[case::without_a_name("Bearer nameless")]
#[case::empty("Bearer ")]
#[case::another_scheme("Basic metrics-token")]
#[case::no_scheme("metrics-token")]
#[tokio::test]
async fn bad_tokens_are_401(#[case] authorization: &str) {
    let at = Fixture::start().await;
    let headers = [("Authorization", authorization)];
    let (head, body) = at.connect(None).await.ask("GET", "/pods", &headers).await;
    assert_eq!((head.code, body["reason"].as_str()), (401, Some("Unauthorized")));
    assert!(at.nested.accesses.lock().unwrap().is_empty());
}

#[tokio::test]
async fn two_tokens_are_none() {
    let at = Fixture::start().await;
    let headers = [("Authorization", "Bearer metrics-token"), ("Authorization", "Bearer mallory")];
    let (head, _) = at.connect(None).await.ask("GET", "/pods", &headers).await;
    assert_eq!(head.code, 401);
}

#[tokio::test]
async fn what_cannot_be_reviewed_is_not_allowed() {
    let at = Fixture::start().await;
    let (head, body) =
        at.connect(None).await.ask("GET", "/pods", &[("Authorization", "Bearer broken")]).await;
    assert_eq!((head.code, body["reason"].as_str()), (500, Some("InternalError")));
    let identity = at.identity("broken", Some("system:masters"));
    let mut caller = at.connect(Some(&identity)).await;
    let (head, body) = caller.ask("GET", "/pods", &[]).await;
    assert_eq!(head.code, 500);
    assert!(!body.to_string().contains("etcd"), "{body}");
    assert!(at.host.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_certificate_that_names_nobody_is_no_credential() {
    let at = Fixture::start().await;
    let nobody = at.identity("", Some("system:masters"));
    let (head, _) = at.connect(Some(&nobody)).await.ask("GET", "/pods", &[]).await;
    assert_eq!(head.code, 401);
}

#[tokio::test]
async fn only_the_nested_client_authority_vouches() {
    let at = Fixture::start().await;
    let masters = Some("system:masters");
    let stranger = Authority::generate("client-ca").unwrap();
    let stranger = stranger.issue(&leaf("system:apiserver", masters, Usage::Client)).unwrap();
    let server = at.server_ca.issue(&leaf("system:apiserver", masters, Usage::Client)).unwrap();
    for pair in [stranger, server] {
        let mut caller = at.connect(Some(&pair)).await;
        // In TLS 1.3 the refusal comes with the first read.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut caller.io, b"GET /pods HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        assert_eq!(caller.rest().await, b"");
    }
    assert!(at.nested.accesses.lock().unwrap().is_empty());
}

#[rstest]
#[case("HEAD")]
#[case("PUT")]
#[case("DELETE")]
#[case("OPTIONS")]
#[tokio::test]
async fn other_methods_are_405(#[case] method: &str) {
    let at = Fixture::start().await;
    for path in ["/containerLogs/shop/web/app", "/exec/shop/web/app", "/pods"] {
        let mut caller = at.apiserver().await;
        caller.send(method, path, &[]).await;
        assert_eq!(caller.head().await.code, 405, "{path}");
    }
    assert!(at.host.requests.lock().unwrap().is_empty());
}
