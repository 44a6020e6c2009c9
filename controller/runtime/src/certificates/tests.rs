use super::*;

fn leaf() -> Leaf {
    Leaf {
        common_name: "system:apiserver".into(),
        organizations: vec!["system:masters".into()],
        dns_names: vec!["k3k-dev".into(), "kubernetes.default.svc".into()],
        ip_addresses: vec!["10.43.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
        usages: vec![Usage::Client, Usage::Server],
        lifetime: Duration::from_secs(365 * 24 * 3600),
    }
}

#[test]
fn a_leaf_says_what_was_asked_for() {
    let authority = Authority::generate("k3k-client-ca@dev").unwrap();
    let pair = authority.issue(&leaf()).unwrap();
    assert_eq!(pair.certificate.matches("BEGIN CERTIFICATE").count(), 2, "leaf, then authority");
    assert!(pair.certificate.ends_with(authority.certificate_pem()));
    let facts = inspect(&pair.certificate).unwrap();
    assert_eq!(facts.common_name, "system:apiserver");
    assert_eq!(facts.organizations, ["system:masters"]);
    assert_eq!(facts.dns_names, leaf().dns_names);
    assert_eq!(facts.ip_addresses, leaf().ip_addresses);
    let now = Timestamp::now();
    assert!(facts.not_before < now, "usable by a peer whose clock is behind");
    let days = facts.not_after.duration_since(now).as_hours() / 24;
    assert!((364..=365).contains(&days), "{days} days");
}

#[test]
fn an_authority_survives_storage() {
    let stored = Authority::generate("k3k-server-ca@dev").unwrap().pair();
    let authority = Authority::from_pem(&stored.certificate, &stored.key).unwrap();
    assert_eq!(authority.pair(), stored);
    let facts = inspect(&stored.certificate).unwrap();
    assert_eq!(facts.common_name, "k3k-server-ca@dev");
    let years = facts.not_after.duration_since(Timestamp::now()).as_hours() / 24 / 365;
    assert!((9..=10).contains(&years), "{years} years");
    authority.issue(&leaf()).unwrap();
}

#[test]
fn what_is_no_authority_is_refused() {
    let (one, two) = (Authority::generate("one").unwrap(), Authority::generate("two").unwrap());
    let error = Authority::from_pem(one.certificate_pem(), &two.pair().key).unwrap_err();
    assert!(matches!(error, Error::KeyMismatch { common_name } if common_name == "one"));
    let pair = one.issue(&leaf()).unwrap();
    let error = Authority::from_pem(&pair.certificate, &pair.key).unwrap_err();
    assert!(matches!(error, Error::NotAnAuthority { common_name } if common_name == "system:apiserver"));
    assert!(matches!(Authority::from_pem("", &pair.key).unwrap_err(), Error::Inspect(_)));
    assert!(matches!(Authority::from_pem(&pair.certificate, "").unwrap_err(), Error::Authority { .. }));
}

#[test]
fn what_cannot_be_encoded_is_refused() {
    let authority = Authority::generate("ca").unwrap();
    let two = Leaf { organizations: vec!["a".into(), "b".into()], ..leaf() };
    assert!(matches!(authority.issue(&two).unwrap_err(), Error::Organizations { count: 2, .. }));
    let name = Leaf { dns_names: vec!["grüße.example".into()], ..leaf() };
    assert!(matches!(authority.issue(&name).unwrap_err(), Error::Issue { .. }));
}

#[test]
fn text_that_is_no_certificate_is_an_error() {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in ["", "hello", &generate_key().unwrap(), broken, "-----BEGIN CERTIFICATE-----\n"] {
        assert!(matches!(inspect(text), Err(Error::Inspect(_))), "{text}");
    }
}

#[test]
fn a_generated_key_is_sec1_and_usable() {
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
    let (one, two) = (generate_key().unwrap(), generate_key().unwrap());
    assert_ne!(one, two);
    let key = PrivateKeyDer::from_pem_slice(one.as_bytes()).unwrap();
    assert!(matches!(key, PrivateKeyDer::Sec1(_)));
    assert_eq!(key.secret_der().len(), 121);
    rustls::crypto::ring::sign::any_ecdsa_type(&key).unwrap();
}

#[test]
fn renewal_comes_with_the_last_third() {
    let at = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
    let facts = Facts {
        not_before: at(0),
        not_after: at(90),
        common_name: String::new(),
        organizations: Vec::new(),
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
    };
    let due: Vec<bool> =
        [0, 59, 60, 61, 90, 91].into_iter().map(|day| needs_renewal(&facts, at(day))).collect();
    assert_eq!(due, [false, false, false, true, true, true]);
    assert!(needs_renewal(&facts, at(-1)), "a certificate from the future does not work");
}

#[test]
fn debug_shows_no_key() {
    let authority = Authority::generate("ca").unwrap();
    let shown = format!("{authority:?} {:?}", authority.issue(&leaf()).unwrap());
    assert!(shown.contains("BEGIN CERTIFICATE") && !shown.contains("PRIVATE KEY"), "{shown}");
}
