use super::fixture::{BURST, Fixture, LIMIT};
use rstest::rstest;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn spdy_is_passed_through_byte_for_byte() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    let head = caller.spdy("/exec/shop/web/app?command=sh&input=1&output=1&tty=1").await;
    assert_eq!(head.code, 101);
    assert_eq!(head.get("upgrade"), Some("SPDY/3.1"));
    assert_eq!(head.get("connection"), Some("Upgrade"));
    assert_eq!(head.get("x-stream-protocol-version"), Some("v4.channel.k8s.io"));
    assert_eq!(head.get("audit-id"), None);
    let (method, uri, _) = at.host.last();
    assert_eq!(method, "POST");
    assert_eq!(
        uri,
        "/api/v1/namespaces/k3k-dev/pods/web-shop-dev-c0ffee/exec?container=app&command=sh&stdin=true&stdout=true&tty=true"
    );
    let bytes: Vec<u8> = (0..=255).collect();
    for _ in 0..3 {
        caller.io.write_all(&bytes).await.unwrap();
        caller.expect(&bytes).await;
    }
    caller.io.shutdown().await.unwrap();
    assert_eq!(caller.rest().await, b"");
    at.idle(16).await;
}

#[tokio::test]
async fn websocket_is_passed_through_with_its_handshake() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    let headers = [
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0, v5.channel.k8s.io"),
    ];
    caller.send("GET", "/attach/shop/web/u1/app?output=1", &headers).await;
    let head = caller.head().await;
    assert_eq!((head.code, head.get("upgrade")), (101, Some("websocket")));
    assert_eq!(head.get("sec-websocket-accept"), Some("accepted"));
    assert_eq!(head.get("sec-websocket-protocol"), Some("v5.channel.k8s.io"));
    let (method, uri, headers) = at.host.last();
    assert_eq!(method, "GET");
    assert!(uri.ends_with("/attach?container=app&stdout=true"), "{uri}");
    assert_eq!(headers["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(headers["sec-websocket-version"], "13");
    caller.io.write_all(b"\x82\x02hi").await.unwrap();
    caller.expect(b"\x82\x02hi").await;
}

#[tokio::test]
async fn the_callers_identity_does_not_travel() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("Authorization", "Bearer tenants-token"),
        ("Impersonate-User", "system:admin"),
        ("Impersonate-Group", "system:masters"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Remote-User", "admin"),
        ("Cookie", "session=1"),
        ("Accept-Encoding", "gzip"),
    ];
    caller.send("POST", "/portForward/shop/web?port=80", &headers).await;
    assert_eq!(caller.head().await.code, 101);
    let (_, uri, headers) = at.host.last();
    assert!(uri.ends_with("/portforward?ports=80"), "{uri}");
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "connection", "host", "upgrade"]);
    assert_eq!(headers["authorization"], "Bearer host-token", "ours, not the tenant's");
}

#[tokio::test]
async fn bytes_sent_before_the_answer_are_not_lost() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    let eager = "POST /exec/shop/web/app?output=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nearly";
    caller.io.write_all(eager.as_bytes()).await.unwrap();
    assert_eq!(caller.head().await.code, 101);
    caller.expect(b"early").await;
}

#[tokio::test]
async fn everything_the_host_said_arrives_before_the_end() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    assert_eq!(caller.spdy("/exec/shop/burst/app?output=1").await.code, 101);
    // The host has long closed when the caller begins to read.
    let rest = caller.rest().await;
    assert_eq!(rest.len(), BURST);
    assert!(rest.iter().all(|byte| *byte == b'x'));
    drop(caller);
    at.idle(16).await;
}

#[tokio::test]
async fn a_half_closed_caller_hears_the_answer() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    assert_eq!(caller.spdy("/exec/shop/half/app?input=1&output=1").await.code, 101);
    caller.io.write_all(&vec![b'y'; BURST]).await.unwrap();
    caller.io.shutdown().await.unwrap();
    assert_eq!(String::from_utf8(caller.rest().await).unwrap(), format!("heard {BURST}"));
    at.idle(16).await;
}

#[tokio::test]
async fn a_host_that_hangs_up_ends_the_callers_stream() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    assert_eq!(caller.spdy("/exec/shop/abort/app?output=1").await.code, 101);
    assert_eq!(caller.rest().await, b"");
    drop(caller);
    at.idle(16).await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_the_hosts_stream() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    assert_eq!(caller.spdy("/exec/shop/watch/app?output=1").await.code, 101);
    drop(caller);
    tokio::time::timeout(LIMIT, at.host.left.notified()).await.unwrap();
    at.idle(16).await;
}

#[tokio::test]
async fn a_caller_that_does_not_wait_is_not_waited_for() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    caller
        .send("POST", "/exec/shop/slow/app?output=1", &[("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")])
        .await;
    tokio::time::timeout(LIMIT, at.host.reached.notified()).await.unwrap();
    drop(caller);
    tokio::time::timeout(LIMIT, at.host.left.notified()).await.unwrap();
    at.idle(16).await;
}

#[tokio::test]
async fn a_slow_host_delays_no_one_else() {
    let at = Fixture::start().await;
    let mut slow = at.apiserver().await;
    slow.send("POST", "/exec/shop/slow/app?output=1", &[("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")])
        .await;
    tokio::time::timeout(LIMIT, at.host.reached.notified()).await.unwrap();
    let mut caller = at.apiserver().await;
    assert_eq!(caller.spdy("/exec/shop/web/app?output=1").await.code, 101);
}

#[rstest]
#[case::no_such_host_pod("refuse", 404, "NotFound", "pods \"refuse\" not found")]
#[case::no_right(
    "forbid",
    500,
    "InternalError",
    "the host cluster does not let the virtual kubelet do this; see its log"
)]
#[case::plain_text("text", 404, "NotFound", "container not found (\"app\")")]
#[case::too_long("huge", 400, "BadRequest", "the host cluster refused")]
#[case::no_upgrade(
    "ok",
    502,
    "InternalError",
    "the host cluster answered with another protocol; see the virtual kubelet's log"
)]
#[case::another_protocol(
    "other",
    502,
    "InternalError",
    "the host cluster answered with another protocol; see the virtual kubelet's log"
)]
#[case::not_ours(
    "missing",
    404,
    "NotFound",
    "pod shop/missing does not run; kubectl describe pod --namespace shop missing tells why"
)]
#[tokio::test]
async fn refusals_are_statuses_in_the_tenants_words(
    #[case] pod: &str,
    #[case] code: u16,
    #[case] reason: &str,
    #[case] message: &str,
) {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    let head = caller.spdy(&format!("/exec/shop/{pod}/app?output=1")).await;
    let body = caller.body(&head).await;
    assert_eq!(head.code, code, "{body}");
    assert_eq!((body["kind"].as_str(), body["code"].as_u64()), (Some("Status"), Some(code.into())));
    assert_eq!((body["reason"].as_str(), body["message"].as_str()), (Some(reason), Some(message)));
    let text = body.to_string();
    assert!(!text.contains("c0ffee") && !text.contains("k3k-dev"), "{text}");
    at.idle(16).await;
}

#[rstest]
#[case::another_pod_of_that_name("/exec/shop/web/u2/app?output=1", 404)]
#[case::another_namespace("/exec/kube-system/web/app?output=1", 404)]
#[case::an_unknown_parameter("/exec/shop/web/app?output=1&container=other", 400)]
#[case::a_bad_port("/portForward/shop/web?port=http", 400)]
#[case::nothing_is_run_without_a_stream("/run/shop/web/app?cmd=id", 404)]
#[case::no_such_path("/debug/pprof", 404)]
#[case::too_deep("/exec/shop/web/u1/app/more", 404)]
#[tokio::test]
async fn what_is_not_offered_reaches_no_one(#[case] path: &str, #[case] code: u16) {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    let head = caller.spdy(path).await;
    let body = caller.body(&head).await;
    assert_eq!((head.code, body["kind"].as_str()), (code, Some("Status")), "{body}");
    assert!(at.host.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_without_upgrade_is_told_so() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    for headers in [&[][..], &[("Connection", "Upgrade"), ("Upgrade", "h2c")][..]] {
        let (head, body) = caller.ask("POST", "/exec/shop/web/app?output=1", headers).await;
        assert_eq!((head.code, body["reason"].as_str()), (400, Some("BadRequest")));
    }
    assert!(at.host.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn streams_are_counted_and_given_back() {
    let at = Fixture::with_limit(2).await;
    let mut first = at.apiserver().await;
    let mut second = at.apiserver().await;
    let mut third = at.apiserver().await;
    assert_eq!(first.spdy("/exec/shop/web/app?output=1").await.code, 101);
    assert_eq!(second.spdy("/portForward/shop/web").await.code, 101);
    let head = third.spdy("/exec/shop/web/app?output=1").await;
    assert_eq!((head.code, head.get("retry-after")), (429, Some("5")));
    let body = third.body(&head).await;
    assert_eq!(body["reason"], "TooManyRequests");
    let (head, _) = third.ask("GET", "/containerLogs/shop/web/app", &[]).await;
    assert_eq!(head.code, 429, "logs count, too");
    drop((first, second));
    at.idle(2).await;
    assert_eq!(third.spdy("/exec/shop/web/app?output=1").await.code, 101);
}

#[tokio::test]
async fn shutdown_lets_streams_finish_and_then_cuts_them() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    assert_eq!(caller.spdy("/exec/shop/web/app?output=1").await.code, 101);
    at.shutdown.cancel();
    caller.io.write_all(b"last words").await.unwrap();
    caller.expect(b"last words").await;
    assert_eq!(caller.rest().await, b"");
    tokio::time::timeout(LIMIT, at.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_without_streams_is_immediate() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    let (head, _) = caller.ask("GET", "/pods", &[]).await;
    assert_eq!(head.code, 200);
    at.shutdown.cancel();
    tokio::time::timeout(LIMIT, at.served).await.unwrap().unwrap();
}
