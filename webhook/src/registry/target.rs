//! What is asked of which registry, in whose name and under which rules: all that an answer depends on.

use super::credentials::Credentials;
use super::error::Problem;
use super::{Question, Rules};
use http::Uri;
use http::uri::{Authority, Scheme};
use k3k_api::image::{DEFAULT_REGISTRY, normalized_host};
use std::net::Ipv4Addr;

/// Where the API of Docker's registry is.
const DEFAULT_REGISTRY_API: &str = "registry-1.docker.io";

/// All that an answer depends on. Names who asks, but holds no password: it is kept as long as the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Normalized.
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) tag: String,
    pub(super) private_network: bool,
    pub(super) insecure_http: bool,
    pub(super) realm_hosts: Vec<String>,
    /// Who asks.
    pub(super) identity: Option<[u8; 32]>,
}

/// A question that outlives its asker.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) key: Key,
    pub(super) credentials: Option<Credentials>,
}

impl Target {
    /// What `question` is about, with `tag` for the tag.
    pub(super) fn new(question: &Question<'_>, tag: &str) -> Result<Self, Problem> {
        let Question { image, rules, credentials, .. } = question;
        let Rules { host, private_network, insecure_http, realm_hosts } = *rules;
        let registry = image.registry_host();
        if is_ambiguous(&registry) && normalized_host(host) != registry {
            return Err(Problem::Unlisted);
        }
        let credentials = credentials.filter(|credentials| credentials.are_for(image)).cloned();
        let key = Key {
            registry,
            repository: image.repository.clone(),
            tag: tag.to_owned(),
            private_network,
            insecure_http,
            realm_hosts: realm_hosts.to_vec(),
            identity: credentials.as_ref().map(Credentials::identity),
        };
        Ok(Self { key, credentials })
    }
}

impl Key {
    /// The machine that is asked: what makes it fail under one policy need not do so under another.
    pub(super) fn machine(&self) -> Machine {
        Machine {
            registry: self.registry.clone(),
            private_network: self.private_network,
            insecure_http: self.insecure_http,
        }
    }

    /// Where the manifest is.
    pub(super) fn uri(&self) -> Result<Uri, Problem> {
        let host = if self.registry == DEFAULT_REGISTRY { DEFAULT_REGISTRY_API } else { &self.registry };
        let incomplete = || Problem::unreachable("its address is incomplete");
        let authority: Authority = host.parse().map_err(|_| incomplete())?;
        Uri::builder()
            .scheme(if self.insecure_http { Scheme::HTTP } else { Scheme::HTTPS })
            .authority(authority)
            .path_and_query(format!("/v2/{}/manifests/{}", self.repository, self.tag))
            .build()
            .map_err(|_| incomplete())
    }
}

/// A registry, as it is reached under one policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Machine {
    registry: String,
    private_network: bool,
    insecure_http: bool,
}

/// Whether the name means another machine to each who reads it, or is no name.
fn is_ambiguous(registry: &str) -> bool {
    let name = registry.rsplit_once(':').map_or(registry, |(name, _)| name);
    let last = name.rsplit('.').next().unwrap_or(name);
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            || text.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    registry.starts_with('[')
        || !name.contains('.')
        || name.parse::<Ipv4Addr>().is_ok()
        || number(last) // 127.1 and 0x7f.0.0.0x1 are addresses to some resolvers
        || last == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("reg.example", false)]
    #[case("reg.example:5000", false)]
    #[case("docker.io", false)]
    #[case("1.example", false)]
    #[case("localhost", true)]
    #[case("localhost:5000", true)]
    #[case("my.localhost", true)]
    #[case("registry", true)]
    #[case("registry:5000", true)]
    #[case("10.0.0.1", true)]
    #[case("10.0.0.1:5000", true)]
    #[case("127.1", true)]
    #[case("0x7f.0.0.0x1", true)]
    #[case("2130706433:80", true)]
    #[case("[::1]", true)]
    #[case("[2001:db8::1]:5000", true)]
    fn names_that_mean_something_else_to_each_are_told(#[case] registry: &str, #[case] ambiguous: bool) {
        assert_eq!(is_ambiguous(registry), ambiguous);
    }
}
