//! Where connections go.

use super::*;
use rstest::rstest;

#[tokio::test]
async fn a_name_that_leads_inside_is_refused() {
    let fake = Fake::plain(|_| found(&sha('a'))).await;
    let asker = Asker { private_network: false, ..plainly(&fake.image()) };
    let error = asker.ask_in_full(&resolver()).await.unwrap_err();
    assert_eq!(error.problem, Problem::Forbidden);
    assert!(!error.to_string().contains("127.0.0.1"), "{error}"); // whom a name stands for is not told
    assert!(fake.calls().is_empty());
}

/// The name is judged at every connection, by the address of that connection.
#[tokio::test]
async fn a_name_that_changes_its_mind_is_refused() {
    let fake = Fake::plain(|_| {
        let digest = sha('a');
        reply(200, &[("docker-content-digest", &digest), ("connection", "close")], "")
    })
    .await;
    let names = Table::default();
    names.set("reg.example", &["127.0.0.1", "169.254.169.254", "fd00:ec2::254", "0.0.0.0"]);
    let (resolver, asker) = (resolver_with(&names, patient(), None), plainly(&fake.image()));
    assert_eq!(asker.tag("1").ask(&resolver).await, Ok(sha('a')));
    for tag in ["2", "3", "4"] {
        assert_eq!(asker.tag(tag).ask(&resolver).await, Err(Problem::Forbidden), "{tag}");
    }
    assert_eq!((names.asked().len(), fake.calls().len()), (4, 1)); // asked once per connection, not to judge and to connect
}

/// A connection to an address that only one policy allows is not there for the others, and neither is what it told.
#[tokio::test]
async fn policies_do_not_share_connections_or_answers() {
    let fake = Fake::plain(|_| found(&sha('a'))).await;
    let resolver = resolver();
    let private = plainly(&fake.image());
    let public = Asker { private_network: false, ..private.clone() };
    assert_eq!(private.ask(&resolver).await, Ok(sha('a')));
    for tag in ["1", "2"] {
        assert_eq!(public.tag(tag).ask(&resolver).await, Err(Problem::Forbidden));
    }
    assert_eq!(private.tag("2").ask(&resolver).await, Ok(sha('a')));
}

#[rstest]
#[case("127.0.0.1")]
#[case("localhost")]
#[case("LOCALHOST")]
#[tokio::test]
async fn what_is_no_full_name_must_be_listed_as_it_is(#[case] host: &str) {
    let fake = Fake::plain(|_| found(&sha('a'))).await;
    let names = Table::loopback();
    names.set("localhost", &["127.0.0.1"]);
    let resolver = resolver_with(&names, patient(), None);
    let image = format!("{host}:{}/app:1", fake.port);
    let listed = plainly(&image);
    let unlisted = Asker { host: "*".into(), ..listed.clone() };
    assert_eq!(unlisted.ask(&resolver).await, Err(Problem::Unlisted));
    assert!(names.asked().is_empty());
    let public = Asker { private_network: false, ..listed.clone() };
    assert_eq!(public.ask(&resolver).await, Err(Problem::Forbidden));
    assert!(fake.calls().is_empty());
    assert_eq!(listed.ask(&resolver).await, Ok(sha('a')));
}

#[tokio::test]
async fn a_token_service_is_no_way_around_the_guard() {
    let fake = Fake::plain(|call| {
        if call.is_for_token() {
            return reply(200, &[], r#"{"token":"t"}"#);
        }
        reply(401, &[("www-authenticate", r#"Bearer realm="http://login.example/token""#)], "")
    })
    .await;
    let names = Table::loopback();
    names.set("login.example", &["169.254.169.254"]);
    let resolver = resolver_with(&names, patient(), None);
    let asker = Asker { realm_hosts: vec!["login.example:80".into()], ..plainly(&fake.image()) };
    assert_eq!(asker.ask(&resolver).await.unwrap_err().category(), "bad-realm");
    let asker = Asker { realm_hosts: vec!["login.example".into()], ..asker };
    assert_eq!(asker.ask(&resolver).await, Err(Problem::Forbidden));
}

#[tokio::test]
async fn another_way_to_write_a_registry_is_the_same_registry() {
    let fake = Fake::plain(|_| found(&sha('a'))).await;
    let resolver = resolver();
    for host in ["reg.example", "REG.Example"] {
        assert_eq!(plainly(&format!("{host}:{}/app:1", fake.port)).ask(&resolver).await, Ok(sha('a')));
    }
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn docker_io_is_asked_where_its_api_is() {
    let names = Table::default();
    let resolver = resolver_with(&names, patient(), None);
    let problem = securely("busybox:1").ask(&resolver).await.unwrap_err();
    assert_eq!(problem, Problem::unreachable("its name is not found"));
    assert_eq!(names.asked(), ["registry-1.docker.io"]);
}

#[tokio::test]
async fn a_certificate_must_be_of_a_known_authority_and_for_the_registry() {
    let authority = Authority::generate("test").unwrap();
    let fake = Fake::tls(&authority, |_| found(&sha('a'))).await;
    let asker = securely(&fake.image());
    let knowing = resolver_with(&Table::loopback(), patient(), Some(&authority));
    assert_eq!(asker.ask(&knowing).await, Ok(sha('a')));
    let problem = asker.ask(&resolver()).await.unwrap_err().to_string();
    assert!(problem.contains("no TLS with it") && problem.contains("UnknownIssuer"), "{problem}");
    let other = securely(&format!("other.example:{}/app:1", fake.port));
    let problem = other.ask(&knowing).await.unwrap_err().to_string();
    assert!(problem.contains("no TLS with it"), "{problem}");
    // And a registry without TLS is not asked without it.
    let plain = Fake::plain(|_| found(&sha('a'))).await;
    assert!(securely(&plain.image()).ask(&knowing).await.is_err());
    assert!(plain.calls().is_empty());
}

#[tokio::test]
async fn authorities_must_be_certificates() {
    let mut options = Options::default();
    assert!(options.trust("").is_err());
    assert!(options.trust("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
}
