//! How a registry is asked, and what is believed of its answers.

use super::*;
use rstest::rstest;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MANIFEST: &str = r#"{"schemaVersion":2}"#;

/// The digest of [`MANIFEST`], as another implementation than ours would say it.
fn manifest_digest() -> String {
    let digest = <sha2::Sha256 as sha2::Digest>::digest(MANIFEST);
    digest.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn head_or(get: impl Fn() -> Reply + Send + Sync + 'static, head: fn() -> Reply) -> impl Fn(&Call) -> Reply {
    move |call| if call.method == Method::HEAD { head() } else { get() }
}

fn manifest() -> Reply {
    reply(200, &[("content-type", INDEX)], MANIFEST)
}

#[tokio::test]
async fn one_head_is_enough() {
    let fake = Fake::plain(|_| found(&sha('a'))).await;
    assert_eq!(plainly(&fake.image()).ask(&resolver()).await, Ok(sha('a')));
    let calls = fake.calls();
    assert_eq!(fake.heard(), ["HEAD /v2/team/app/manifests/1"]);
    assert_eq!(calls[0].header(HOST), Some(format!("reg.example:{}", fake.port).as_str()));
    assert_eq!(calls[0].authorization(), None);
    let accept = calls[0].header(ACCEPT).unwrap();
    for kind in [
        INDEX,
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ] {
        assert!(accept.contains(kind), "{accept}");
    }
}

/// A registry that would choose a platform for whoever does not take indexes.
#[tokio::test]
async fn the_digest_is_that_of_the_index() {
    let fake = Fake::plain(|call| {
        let takes_indexes = call.header(ACCEPT).is_some_and(|accept| accept.contains(INDEX));
        found(&sha(if takes_indexes { 'a' } else { 'b' }))
    })
    .await;
    assert_eq!(plainly(&fake.image()).ask(&resolver()).await, Ok(sha('a')));
}

#[tokio::test]
async fn an_image_without_a_tag_is_the_latest_and_one_with_a_digest_is_not_asked_for() {
    let fake = Fake::plain(|_| found(&sha('a'))).await;
    let resolver = resolver();
    let image = format!("reg.example:{}/app", fake.port);
    assert_eq!(plainly(&format!("{image}@{}", sha('c'))).ask(&resolver).await, Ok(sha('c')));
    assert_eq!(plainly(&format!("{image}:1@{}", sha('c'))).ask(&resolver).await, Ok(sha('c')));
    assert_eq!(plainly(&image).ask(&resolver).await, Ok(sha('a')));
    assert_eq!(fake.heard(), ["HEAD /v2/app/manifests/latest"]);
}

#[rstest]
#[case::no_digest(|| reply(200, &[("content-type", INDEX)], ""))]
#[case::no_head(|| reply(405, &[], ""))]
#[case::not_implemented(|| reply(501, &[], ""))]
#[case::no_head_and_no_word_for_it(|| reply(404, &[], ""))]
#[tokio::test]
async fn who_does_not_name_the_digest_is_asked_for_the_manifest(#[case] head: fn() -> Reply) {
    let fake = Fake::plain(head_or(manifest, head)).await;
    assert_eq!(plainly(&fake.image()).ask(&resolver()).await, Ok(manifest_digest()));
    assert_eq!(fake.heard(), ["HEAD /v2/team/app/manifests/1", "GET /v2/team/app/manifests/1"]);
    assert_eq!(fake.calls()[0].header(ACCEPT), fake.calls()[1].header(ACCEPT));
}

/// Asking for the manifest counts against quotas.
#[rstest]
#[case::gone(|| reply(404, &[("docker-distribution-api-version", "registry/2.0")], ""), "not-found")]
#[case::forbidden(|| reply(403, &[], ""), "unauthorized")]
#[case::unauthorized(|| reply(401, &[], ""), "unauthorized")]
#[case::too_many(|| reply(429, &[], ""), "too-many-requests")]
#[case::broken(|| reply(500, &[], ""), "unreachable")]
#[case::malformed(|| reply(200, &[("docker-content-digest", "sha256:12")], ""), "lying")]
#[case::upper_case(|| found(&sha('A')), "lying")]
#[case::another_kind(|| found(&format!("sha512:{}", "a".repeat(128))), "lying")]
#[case::two(|| reply(200, &[("docker-content-digest", &sha('a')), ("docker-content-digest", &sha('b'))], ""), "lying")]
#[tokio::test]
async fn other_answers_are_final(#[case] head: fn() -> Reply, #[case] category: &str) {
    let fake = Fake::plain(head_or(manifest, head)).await;
    let error = plainly(&fake.image()).ask_in_full(&resolver()).await.unwrap_err();
    assert_eq!(error.problem.category(), category);
    assert_eq!(fake.heard(), ["HEAD /v2/team/app/manifests/1"]);
    let text = error.to_string();
    assert!(
        text.contains(&fake.image()) && text.contains(&format!("registry reg.example:{} ", fake.port)),
        "{text}"
    );
}

#[rstest]
#[case::another_digest(|| reply(200, &[("content-type", INDEX), ("docker-content-digest", &sha('b'))], MANIFEST))]
#[case::a_web_page(|| reply(200, &[("content-type", "text/html")], "<html>"))]
#[case::no_kind(|| reply(200, &[], MANIFEST))]
#[case::too_long(|| reply(200, &[("content-type", INDEX)], &" ".repeat((4 << 20) + 1)))]
#[tokio::test]
async fn a_manifest_is_believed_only_if_it_is_one(#[case] get: fn() -> Reply) {
    let fake = Fake::plain(head_or(get, || reply(405, &[], ""))).await;
    let problem = plainly(&fake.image()).ask(&resolver()).await.unwrap_err();
    assert_eq!(problem.category(), "lying", "{problem}");
}

#[tokio::test]
async fn the_largest_manifest_is_read() {
    let get = || reply(200, &[("content-type", &format!("{INDEX}; charset=utf-8"))], &" ".repeat(4 << 20));
    let fake = Fake::plain(head_or(get, || reply(405, &[], ""))).await;
    assert!(plainly(&fake.image()).ask(&resolver()).await.is_ok());
}

#[rstest]
#[case("7", 7)]
#[case("100000", 60)]
#[case("Wed, 21 Oct 2026 07:28:00 GMT", 10)]
#[tokio::test]
async fn a_pause_that_is_asked_for_is_kept(#[case] header: &'static str, #[case] seconds: u64) {
    let fake = Fake::plain(move |_| reply(429, &[("retry-after", header)], "")).await;
    let resolver = resolver();
    let retry_after = Duration::from_secs(seconds);
    for _ in 0..3 {
        let answer = plainly(&fake.image()).ask(&resolver).await;
        assert_eq!(answer, Err(Problem::TooManyRequests { retry_after }));
    }
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn a_registry_may_send_us_to_itself() {
    let fake = Fake::plain(|call| match call.path.as_str() {
        "/v2/team/app/manifests/1" => reply(307, &[("location", "/v2/moved/manifests/1")], ""),
        _ => found(&sha('a')),
    })
    .await;
    assert_eq!(plainly(&fake.image()).ask(&resolver()).await, Ok(sha('a')));
    assert_eq!(fake.heard(), ["HEAD /v2/team/app/manifests/1", "HEAD /v2/moved/manifests/1"]);
}

#[tokio::test]
async fn a_registry_may_not_send_us_to_others_or_around() {
    let other = Fake::plain(|_| found(&sha('b'))).await;
    let port = other.port;
    let fake = Fake::plain(move |call| match call.path.as_str() {
        "/v2/team/app/manifests/1" => {
            reply(302, &[("location", &format!("http://other.example:{port}/v2/x"))], "")
        }
        "/v2/team/app/manifests/2" => {
            reply(302, &[("location", &format!("http://reg.example:{port}/v2/x"))], "")
        }
        path => reply(302, &[("location", path)], ""),
    })
    .await;
    let (resolver, asker) = (resolver(), plainly(&fake.image()));
    for tag in ["1", "2", "3"] {
        assert_eq!(asker.tag(tag).ask(&resolver).await, Err(Problem::Redirect), "{tag}");
    }
    assert_eq!((other.calls().len(), fake.calls().len()), (0, 2 + 4));
}

/// A registry of raw bytes: each connection gets its answer, and is closed. Counts connections.
async fn raw(answers: &'static [&'static str]) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answers[number.min(answers.len() - 1)].as_bytes()).await;
        }
    });
    (port, count)
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ndocker-content-digest: \
                    sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";

#[rstest]
#[case::once(&["", GOOD], 2, None)]
#[case::half_an_answer(&["HTTP/1.1 200 OK\r\nconte", GOOD], 2, None)]
#[case::again(&[""], 2, Some("unreachable"))]
#[case::no_http(&["SSH-2.0-OpenSSH_9.6\r\n\r\n"], 1, Some("lying"))]
#[tokio::test]
async fn a_lost_connection_is_made_once_more(
    #[case] answers: &'static [&'static str],
    #[case] connections: usize,
    #[case] category: Option<&str>,
) {
    let (port, count) = raw(answers).await;
    let answer = plainly(&format!("reg.example:{port}/app:1")).ask(&resolver()).await;
    assert_eq!(answer.as_ref().err().map(Problem::category), category, "{answer:?}");
    assert_eq!(count.load(Ordering::SeqCst), connections);
}

#[tokio::test]
async fn a_head_without_end_is_not_read() {
    let line: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)).into());
    let (port, _) = raw(Box::leak(Box::new([line]))).await;
    let answer = plainly(&format!("reg.example:{port}/app:1")).ask(&resolver()).await;
    assert!(answer.is_err());
}

const SECOND: Duration = Duration::from_secs(1);

/// What becomes of a question when, after `started`, nothing happens any more: the answer comes within two seconds of a
/// clock that stands still meanwhile.
async fn outcome(asker: Asker, resolver: Resolver, started: impl Fn() -> bool) -> Result<String, Problem> {
    let _clock = Clock::stop();
    let asking = tokio::spawn(async move { asker.ask(&resolver).await });
    while !started() {
        tokio::task::yield_now().await;
    }
    let begin = Instant::now();
    while !asking.is_finished() && begin.elapsed() < 2 * SECOND {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(SECOND / 10).await;
    }
    assert!(asking.is_finished(), "it waits on");
    asking.await.unwrap()
}

#[tokio::test]
async fn a_registry_that_hangs_holds_nobody_up() {
    let fake = Fake::plain(|_| None).await;
    let hasty = Asker { patience: SECOND, ..plainly(&fake.image()) };
    let started = || fake.calls().len() == 1;
    assert_eq!(outcome(hasty, resolver(), started).await, Err(Problem::Slow));
}

#[tokio::test]
async fn the_first_byte_has_a_limit() {
    let fake = Fake::plain(|_| None).await;
    let impatient = resolver_with(&Table::loopback(), Limits { first_byte: SECOND, ..patient() }, None);
    let started = || fake.calls().len() == 1;
    assert_eq!(outcome(plainly(&fake.image()), impatient, started).await, Err(Problem::Slow));
}

#[tokio::test]
async fn a_whole_lookup_has_a_limit() {
    let fake = Fake::plain(|_| None).await;
    let impatient = resolver_with(&Table::loopback(), Limits { lookup: SECOND, ..patient() }, None);
    let started = || fake.calls().len() == 1;
    assert_eq!(outcome(plainly(&fake.image()), impatient, started).await, Err(Problem::Slow));
}

#[tokio::test]
async fn the_handshake_has_a_limit() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let image = format!("reg.example:{}/app:1", listener.local_addr().unwrap().port());
    let connected = Arc::new(AtomicUsize::new(0));
    let count = connected.clone();
    tokio::spawn(async move {
        let _connection = listener.accept().await.unwrap();
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    });
    let impatient = resolver_with(&Table::loopback(), Limits { tls: SECOND, ..patient() }, None);
    let started = || connected.load(Ordering::SeqCst) == 1;
    assert_eq!(outcome(securely(&image), impatient, started).await, Err(Problem::Slow));
}

/// Knows no name, and does not say so.
#[derive(Default)]
struct Silent {
    asked: AtomicUsize,
}

impl Names for Silent {
    fn addresses(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn looking_up_a_name_has_a_limit() {
    let names = Arc::new(Silent::default());
    let limits = Limits { names: SECOND, ..patient() };
    let impatient = Resolver::new(Options { names: names.clone(), limits, ..Options::default() }).unwrap();
    let started = || names.asked.load(Ordering::SeqCst) == 1;
    assert_eq!(outcome(securely("reg.example/app:1"), impatient, started).await, Err(Problem::Slow));
}

#[tokio::test]
async fn a_registry_that_fails_is_left_alone_and_others_are_not() {
    let fake = Fake::plain(|_| reply(503, &[], "")).await;
    let good = Fake::plain(|_| found(&sha('a'))).await;
    let (resolver, asker) = (resolver(), plainly(&fake.image()));
    for tag in 0..9 {
        let problem = asker.tag(&tag.to_string()).ask(&resolver).await.unwrap_err();
        assert_eq!(problem.category(), "unreachable");
    }
    assert_eq!(fake.calls().len(), 5);
    assert_eq!(plainly(&good.image()).ask(&resolver).await, Ok(sha('a')));
}

#[tokio::test]
async fn answers_are_counted_without_names() {
    let fake = Fake::plain(|_| found(&sha('a'))).await;
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut registry);
    let options =
        Options { names: Arc::new(Table::loopback()), limits: patient(), metrics, ..Options::default() };
    let resolver = Resolver::new(options).unwrap();
    for _ in 0..3 {
        assert!(plainly(&fake.image()).ask(&resolver).await.is_ok());
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("k3k_registry_lookups_total{outcome=\"hit\"} 2"), "{text}");
    assert!(text.contains("k3k_registry_lookups_total{outcome=\"miss\"} 1"), "{text}");
    assert!(text.contains("k3k_registry_requests_total{what=\"manifest\",answer=\"2xx\"} 1"), "{text}");
    assert!(!text.contains("reg.example"), "{text}");
}
