//! Who learns what about who asks.

use super::*;
use base64::Engine;
use rstest::rstest;

/// A challenge that sends us to this address for a token, and asks for more than we want.
fn challenge(realm: &str) -> Reply {
    let value = format!(r#"Bearer realm="{realm}",service="reg",scope="repository:team/app:pull,push""#);
    reply(401, &[("www-authenticate", &value)], "")
}

/// A challenge that sends us to the registry's own `/token`, over plain HTTP.
fn challenge_here(call: &Call) -> Reply {
    challenge(&format!("http://{}/token", call.header(HOST).unwrap()))
}

fn token(token: &str) -> Reply {
    reply(200, &[], &json!({"token": token, "expires_in": 100}).to_string())
}

/// A registry whose tokens come from its own `/token`, numbered.
async fn with_tokens(authority: Option<&Authority>) -> Fake {
    let tokens = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let answer = move |call: &Call| {
        if call.is_for_token() {
            let number = tokens.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
            return token(&format!("t{number}"));
        }
        let scheme = if call.headers.contains_key("x-plain") { "http" } else { "https" };
        match call.authorization() {
            Some(text) if text.starts_with("Bearer t") => found(&sha('a')),
            _ => challenge(&format!("{scheme}://{}/token", call.header(HOST).unwrap())),
        }
    };
    match authority {
        Some(authority) => Fake::tls(authority, answer).await,
        None => {
            Fake::plain(move |call| {
                let mut call = call.clone();
                call.headers.insert("x-plain", http::HeaderValue::from_static("1"));
                answer(&call)
            })
            .await
        }
    }
}

fn basic(user: &str) -> String {
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{user}:s3cr3t")))
}

fn authority() -> Authority {
    Authority::generate("test").unwrap()
}

fn secure(authority: &Authority) -> Resolver {
    resolver_with(&Table::loopback(), patient(), Some(authority))
}

#[tokio::test]
async fn a_token_is_fetched_for_reading_one_repository_and_used_again() {
    let fake = with_tokens(None).await;
    let (resolver, asker) = (resolver(), plainly(&fake.image()));
    for tag in ["1", "2"] {
        assert_eq!(asker.tag(tag).ask(&resolver).await, Ok(sha('a')));
    }
    assert_eq!(
        fake.heard(),
        [
            "HEAD /v2/team/app/manifests/1",
            "GET /token?service=reg&scope=repository%3Ateam%2Fapp%3Apull",
            "HEAD /v2/team/app/manifests/1",
            "HEAD /v2/team/app/manifests/2",
        ]
    );
    let said: Vec<_> = fake.calls().iter().map(|call| call.authorization().map(str::to_owned)).collect();
    let bearer = Some("Bearer t1".to_owned());
    assert_eq!(said, [None, None, bearer.clone(), bearer]);
    // Another repository is another matter.
    let image = format!("reg.example:{}/team/other:1", fake.port);
    assert_eq!(plainly(&image).ask(&resolver).await, Ok(sha('a')));
    assert_eq!(fake.calls().last().unwrap().authorization(), Some("Bearer t2"));
}

#[tokio::test]
async fn a_token_is_used_for_four_fifths_of_its_time() {
    let fake = with_tokens(None).await;
    let (resolver, asker) = (resolver(), plainly(&fake.image()));
    let _clock = Clock::stop();
    for (tag, seconds) in [("1", 79), ("2", 2), ("3", 0)] {
        assert_eq!(asker.tag(tag).ask(&resolver).await, Ok(sha('a')));
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }
    let calls = fake.calls();
    let tokens: Vec<_> = calls.iter().filter_map(Call::authorization).collect();
    assert_eq!(tokens, ["Bearer t1", "Bearer t1", "Bearer t2"]);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced() {
    let fake =
        Fake::plain(|call| match (call.is_for_token(), call.path.ends_with("/2"), call.authorization()) {
            (true, ..) if call.path.contains("service=two") => token("second"),
            (true, ..) => token("first"),
            (_, false, Some("Bearer first")) | (_, true, Some("Bearer second")) => found(&sha('a')),
            (_, two, _) => {
                let service = if two { "two" } else { "one" };
                let realm = format!("http://{}/token", call.header(HOST).unwrap());
                let value = format!(r#"Bearer realm="{realm}",service="{service}""#);
                reply(401, &[("www-authenticate", &value)], "")
            }
        })
        .await;
    let (resolver, asker) = (resolver(), plainly(&fake.image()));
    assert_eq!(asker.tag("1").ask(&resolver).await, Ok(sha('a')));
    assert_eq!(asker.tag("2").ask(&resolver).await, Ok(sha('a')));
}

/// Tokens may end early, as when the service changes its key.
#[tokio::test]
async fn a_token_that_was_withdrawn_is_replaced() {
    let withdrawn = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let state = withdrawn.clone();
    let fake = Fake::plain(move |call| {
        let good = if state.load(std::sync::atomic::Ordering::SeqCst) { "new" } else { "old" };
        match call.authorization() {
            _ if call.is_for_token() => token(good),
            Some(said) if said == format!("Bearer {good}") => found(&sha('a')),
            _ => challenge_here(call),
        }
    })
    .await;
    let (resolver, asker) = (resolver(), plainly(&fake.image()));
    assert_eq!(asker.tag("1").ask(&resolver).await, Ok(sha('a')));
    withdrawn.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(asker.tag("2").ask(&resolver).await, Ok(sha('a')));
}

#[tokio::test]
async fn a_registry_that_takes_no_token_is_not_asked_for_ever() {
    let fake = Fake::plain(|call| if call.is_for_token() { token("t") } else { challenge_here(call) }).await;
    let problem = plainly(&fake.image()).ask(&resolver()).await.unwrap_err();
    assert_eq!(problem, Problem::Unauthorized { with_credentials: false });
    assert_eq!(fake.calls().len(), 3);
}

#[tokio::test]
async fn a_password_goes_to_the_token_service_and_no_further() {
    let authority = authority();
    let fake = with_tokens(Some(&authority)).await;
    let asker = securely(&fake.image()).known_as("joe");
    assert_eq!(asker.ask(&secure(&authority)).await, Ok(sha('a')));
    for call in fake.calls() {
        let said = call.authorization().map(str::to_owned);
        if call.is_for_token() {
            assert_eq!(said, Some(basic("joe")));
        } else {
            assert!(said.is_none_or(|said| said.starts_with("Bearer ")));
        }
    }
}

#[tokio::test]
async fn a_password_is_not_sent_in_the_clear() {
    let fake = with_tokens(None).await;
    assert_eq!(plainly(&fake.image()).known_as("joe").ask(&resolver()).await, Ok(sha('a')));
    let basic = Fake::plain(|_| reply(401, &[("www-authenticate", "Basic realm=x")], "")).await;
    let answer = plainly(&basic.image()).known_as("joe").ask(&resolver()).await;
    assert_eq!(answer, Err(Problem::Unauthorized { with_credentials: true }));
    for call in fake.calls().iter().chain(&basic.calls()) {
        assert!(call.authorization().is_none_or(|said| said.starts_with("Bearer ")), "{call:?}");
    }
}

#[tokio::test]
async fn a_password_goes_to_a_registry_that_asks_for_it() {
    let authority = authority();
    let fake = Fake::tls(&authority, |call| match call.authorization() {
        Some(said) if said == basic("joe") => found(&sha('a')),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"x\"")], ""),
    })
    .await;
    let resolver = secure(&authority);
    assert_eq!(securely(&fake.image()).known_as("joe").ask(&resolver).await, Ok(sha('a')));
    assert_eq!(fake.calls()[0].authorization(), None); // only when it asks
    // What joe may see is not told to others.
    let refused = |with_credentials| Err(Problem::Unauthorized { with_credentials });
    assert_eq!(securely(&fake.image()).known_as("jim").ask(&resolver).await, refused(true));
    assert_eq!(securely(&fake.image()).ask(&resolver).await, refused(false));
    assert_eq!(securely(&fake.image()).known_as("joe").ask(&resolver).await, Ok(sha('a')));
}

#[tokio::test]
async fn a_token_of_one_is_not_used_for_another() {
    let authority = authority();
    let fake = with_tokens(Some(&authority)).await;
    let resolver = secure(&authority);
    let asker = securely(&fake.image());
    for asker in [asker.clone().known_as("joe"), asker.clone().known_as("jim"), asker] {
        assert_eq!(asker.ask(&resolver).await, Ok(sha('a')));
    }
    let said: Vec<_> = fake
        .calls()
        .iter()
        .filter(|call| call.is_for_token())
        .map(|call| call.authorization().map(str::to_owned))
        .collect();
    assert_eq!(said, [Some(basic("joe")), Some(basic("jim")), None]);
}

#[tokio::test]
async fn a_password_for_another_registry_is_not_used() {
    let authority = authority();
    let fake = with_tokens(Some(&authority)).await;
    let credentials = securely("other.example/team/app:1").known_as("joe").credentials;
    let confused = Asker { credentials, ..securely(&fake.image()) };
    assert_eq!(confused.ask(&secure(&authority)).await, Ok(sha('a')));
    let calls = fake.calls();
    assert!(calls.iter().filter_map(Call::authorization).all(|said| said.starts_with("Bearer ")));
}

#[tokio::test]
async fn only_named_hosts_give_tokens() {
    let authority = authority();
    let login = Fake::tls(&authority, |_| token("t")).await;
    let realm = format!("https://login.example:{}", login.port);
    let address = format!("{realm}/token");
    let fake = Fake::tls(&authority, move |call| match call.authorization() {
        Some("Bearer t") => found(&sha('a')),
        _ => challenge(&address),
    })
    .await;
    let (resolver, asker) = (secure(&authority), securely(&fake.image()).known_as("joe"));
    let host = format!("login.example:{}", login.port);
    assert_eq!(asker.ask(&resolver).await, Err(Problem::BadRealm { host: host.clone() }));
    assert!(login.calls().is_empty());
    // Named by its policy, it gets the password. What was refused under another policy does not matter.
    let named = Asker { realm_hosts: vec![host], ..asker };
    assert_eq!(named.ask(&resolver).await, Ok(sha('a')));
    assert_eq!(login.calls()[0].authorization(), Some(basic("joe").as_str()));
}

/// The well-known token service of one registry is not that of another.
#[tokio::test]
async fn a_registry_cannot_have_us_ask_another_ones_token_service() {
    let fake = Fake::plain(|_| challenge("https://auth.docker.io/token")).await;
    let names = Table::loopback();
    let resolver = resolver_with(&names, patient(), None);
    let answer = plainly(&fake.image()).known_as("joe").ask(&resolver).await;
    assert_eq!(answer, Err(Problem::BadRealm { host: "auth.docker.io".into() }));
    assert_eq!(names.asked(), ["reg.example"]);
}

#[rstest]
#[case::redirect(|| reply(302, &[("location", "/token2")], ""), "redirect")]
#[case::redirect_elsewhere(|| reply(307, &[("location", "http://other.example/")], ""), "redirect")]
#[case::refused(|| reply(401, &[("www-authenticate", "Basic realm=x")], ""), "unauthorized")]
#[case::denied(|| reply(403, &[], ""), "unauthorized")]
#[case::missing(|| reply(404, &[], ""), "unreachable")]
#[case::too_many(|| reply(429, &[], ""), "too-many-requests")]
#[case::broken(|| reply(500, &[], ""), "unreachable")]
#[case::no_json(|| reply(200, &[], "<html>"), "lying")]
#[case::no_token(|| reply(200, &[], "{}"), "lying")]
#[case::empty(|| token(""), "lying")]
#[case::a_header_of_its_own(|| token("t\r\nx: y"), "lying")]
#[case::too_long(|| token(&"t".repeat(200_000)), "lying")]
#[tokio::test]
async fn a_token_service_is_asked_once(#[case] answer: fn() -> Reply, #[case] category: &str) {
    let fake =
        Fake::plain(move |call| if call.is_for_token() { answer() } else { challenge_here(call) }).await;
    let problem = plainly(&fake.image()).ask(&resolver()).await.unwrap_err();
    assert_eq!(problem.category(), category, "{problem}");
    assert_eq!(fake.calls().len(), 2);
}

#[tokio::test]
async fn problems_tell_no_secrets() {
    let authority = authority();
    let fake = Fake::tls(&authority, |call| {
        // A registry that says everything that it hears.
        let said = call.authorization().unwrap_or_default().to_owned();
        let value = format!(r#"Bearer realm="https://s3cr3t@evil.example/{said}""#);
        reply(401, &[("www-authenticate", &value)], &said)
    })
    .await;
    let error = securely(&fake.image()).known_as("joe").ask_in_full(&secure(&authority)).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains("s3cr3t") && !text.contains("joe"), "{text}");
}
