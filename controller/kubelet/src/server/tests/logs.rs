use super::fixture::{Fixture, LIMIT};
use rstest::rstest;

#[tokio::test]
async fn logs_arrive_whole() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    caller.send("GET", "/containerLogs/shop/web/app?tailLines=10&stream=All&timestamps=true", &[]).await;
    let head = caller.head().await;
    assert_eq!((head.code, head.get("content-type")), (200, Some("text/plain")));
    assert_eq!(head.get("audit-id"), None);
    let mut text = String::new();
    while let Some(chunk) = caller.chunk().await.unwrap() {
        text += &chunk;
    }
    assert_eq!(text, "hello\nworld\n");
    let (method, uri, headers) = at.host.last();
    assert_eq!(method, "GET");
    assert!(uri.ends_with("/log?container=app&tailLines=10&timestamps=true"), "{uri}");
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "host"]);
    at.idle(16).await;
    // The connection can be used again.
    let (head, _) = caller.ask("GET", "/pods", &[]).await;
    assert_eq!(head.code, 200);
}

#[tokio::test]
async fn each_chunk_arrives_when_it_is_written() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    caller.send("GET", "/containerLogs/shop/log-steps/app?follow=true", &[]).await;
    at.host.step.notify_one();
    assert_eq!(caller.head().await.code, 200);
    assert_eq!(caller.chunk().await.unwrap().unwrap(), "line 1\n");
    at.host.step.notify_one();
    assert_eq!(caller.chunk().await.unwrap().unwrap(), "line 2\n");
}

#[rstest]
#[case::while_it_flows("log-forever", true)]
#[case::before_the_first_byte("slow", false)]
#[tokio::test]
async fn a_caller_that_leaves_ends_the_hosts_work(#[case] pod: &str, #[case] answered: bool) {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    caller.send("GET", &format!("/containerLogs/shop/{pod}/app?follow=true"), &[]).await;
    if answered {
        assert_eq!(caller.head().await.code, 200);
        caller.chunk().await.unwrap();
    } else {
        tokio::time::timeout(LIMIT, at.host.reached.notified()).await.unwrap();
    }
    drop(caller);
    tokio::time::timeout(LIMIT, at.host.left.notified()).await.unwrap();
    at.idle(16).await;
}

#[tokio::test]
async fn a_log_that_breaks_off_does_not_look_complete() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    caller.send("GET", "/containerLogs/shop/log-broken/app", &[]).await;
    let head = caller.head().await;
    assert_eq!(head.code, 200);
    assert_eq!(caller.chunk().await.unwrap().unwrap(), "first\n");
    at.host.step.notify_one();
    caller.chunk().await.unwrap_err();
}

#[tokio::test]
async fn shutdown_ends_a_log_that_is_followed() {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    caller.send("GET", "/containerLogs/shop/log-forever/app?follow=true", &[]).await;
    assert_eq!(caller.head().await.code, 200);
    at.shutdown.cancel();
    while let Ok(chunk) = caller.chunk().await {
        assert!(chunk.is_some(), "it must not look complete");
    }
    tokio::time::timeout(LIMIT, at.served).await.unwrap().unwrap();
}

/// An API server puts these texts into its own `Status`.
#[rstest]
#[case::of_the_host("/containerLogs/shop/refuse/app", "pods \"refuse\" not found")]
#[case::no_such_pod(
    "/containerLogs/shop/missing/app",
    "pod shop/missing does not run; kubectl describe pod --namespace shop missing tells why"
)]
#[case::not_supported(
    "/containerLogs/shop/web/app?insecureSkipTLSVerifyBackend=true",
    "parameter \"insecureSkipTLSVerifyBackend\" of log is not supported by the virtual kubelet"
)]
#[tokio::test]
async fn refusals_are_texts_in_the_tenants_words(#[case] path: &str, #[case] text: &str) {
    let at = Fixture::start().await;
    let mut caller = at.apiserver().await;
    caller.send("GET", path, &[]).await;
    assert_eq!(caller.head().await.code, 400);
    caller.expect(text.as_bytes()).await;
}
