//! Who may be given a registry's credentials in exchange for a token.

use super::error::Problem;
use http::Uri;
use k3k_api::image::normalized_host;

/// Registries whose tokens come from another host that everybody knows. Others are the registry itself, or are named
/// by the policy.
const WELL_KNOWN: &[(&str, &str)] = &[("docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// What the rule looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    /// The registry that sends us to the realm, normalized.
    pub(super) registry: &'a str,
    /// Hosts that the policy names for it.
    pub(super) realm_hosts: &'a [String],
    /// Whether the policy lets the registry be asked over plain HTTP.
    pub(super) insecure_http: bool,
}

/// The realm as an address to ask, if the registry may send us there.
pub(super) fn check(realm: &str, asker: Asker<'_>) -> Result<Uri, Problem> {
    let bad = |host: &str| Problem::BadRealm { host: host.chars().take(100).collect() };
    let uri: Uri = realm.parse().map_err(|_| bad("nowhere"))?;
    let Some(authority) = uri.authority() else { return Err(bad("nowhere")) };
    if authority.as_str().contains('@') {
        return Err(bad(authority.host()));
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if asker.insecure_http => {}
        _ => return Err(bad(authority.host())),
    }
    let host = normalized_host(authority.as_str());
    let named = asker.realm_hosts.iter().any(|name| normalized_host(name) == host);
    let well_known = WELL_KNOWN.contains(&(asker.registry, host.as_str()));
    if host == asker.registry || named || well_known { Ok(uri) } else { Err(bad(&host)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::same_host("https://reg.example/token", "reg.example", true)]
    #[case::same_port("https://reg.example:5000/token", "reg.example:5000", true)]
    #[case::written_otherwise("https://REG.example.:443/token?x=y", "reg.example", true)]
    #[case::hub("https://auth.docker.io/token", "docker.io", true)]
    #[case::github("https://ghcr.io/token", "ghcr.io", true)]
    #[case::quay("https://quay.io/v2/auth", "quay.io", true)]
    #[case::named("https://login.example/token", "reg.example", true)]
    #[case::another_host("https://evil.example/token", "reg.example", false)]
    #[case::hub_for_others("https://auth.docker.io/token", "reg.example", false)]
    #[case::another_port("https://reg.example:8443/token", "reg.example", false)]
    #[case::longer_name("https://reg.example.evil.io/token", "reg.example", false)]
    #[case::subdomain("https://x.reg.example/token", "reg.example", false)]
    #[case::user("https://reg.example@evil.io/token", "reg.example", false)]
    #[case::user_before_it("https://evil.io@reg.example/token", "reg.example", false)]
    #[case::plain("http://reg.example/token", "reg.example", false)]
    #[case::file("file://reg.example/token", "reg.example", false)]
    #[case::relative("/token", "reg.example", false)]
    #[case::nothing("", "reg.example", false)]
    #[case::backslash("https://evil.io\\@reg.example/", "reg.example", false)]
    #[case::homoglyph("https://r\u{435}g.example/token", "reg.example", false)]
    fn tokens_come_from_few(#[case] realm: &str, #[case] registry: &str, #[case] good: bool) {
        let realm_hosts = ["Login.Example".to_owned()];
        let asker = Asker { registry, realm_hosts: &realm_hosts, insecure_http: false };
        assert_eq!(check(realm, asker).is_ok(), good);
    }

    #[test]
    fn plain_http_is_only_for_who_is_asked_so() {
        let asker = Asker { registry: "reg.example:80", realm_hosts: &[], insecure_http: true };
        assert!(check("http://reg.example:80/token", asker).is_ok());
        assert_eq!(check("http://evil.io/", asker), Err(Problem::BadRealm { host: "evil.io".into() }));
    }
}
