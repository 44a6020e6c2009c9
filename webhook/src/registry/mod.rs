//! What a tag stands for: the digest that a registry serves for it now.
//!
//! The way of a question: `target` (all that the answer depends on) → `cache` (known, or being asked already) →
//! `hosts` (not too much at once) → `manifest` (the registries' protocol, with `challenge`, `realm` and `token`)
//! → `client` (HTTP) → `dial` (connections, behind the guard of `address`). The caller decides which registries
//! may be asked at all; credentials go to the registry that they are for and to its token service, and nowhere else.

mod address;
mod cache;
mod challenge;
mod client;
mod credentials;
mod dial;
mod error;
mod hosts;
mod manifest;
mod metrics;
mod realm;
mod target;
mod token;

pub use credentials::Credentials;
pub use dial::{Names, SystemNames};
pub use error::{Error, Problem};
pub use metrics::Metrics;

use crate::serving::trust;
use cache::{Cache, Size, Terms};
use client::Client;
use hosts::Hosts;
use ipnet::IpNet;
use k3k_api::image::ImageReference;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use target::{Key, Machine, Target};
use token::Tokens;
use tokio::time::{Instant, timeout_at};

/// How many answers are remembered.
const ANSWERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);
/// How many lookups may be under way.
const LOOKUPS: usize = 1024;

/// Finds digests. Clones share what they know.
#[derive(Clone)]
pub struct Resolver {
    cache: Cache<Key>,
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    tokens: Tokens,
    hosts: Hosts<Machine>,
    limits: Limits,
}

/// What a process sets up.
pub struct Options {
    /// The authorities that registries' certificates come from.
    pub roots: RootCertStore,
    /// Networks where no registry is unless the policy marks it private: those of the API server, services, pods
    /// and nodes.
    pub forbidden: Vec<IpNet>,
    /// How names are looked up.
    pub names: Arc<dyn Names>,
    /// How long each step may take.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Metrics,
}

/// How long each step may take. An asker's deadline holds besides.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Looking up a name.
    pub names: Duration,
    /// Connecting to one address.
    pub connect: Duration,
    /// The handshake.
    pub tls: Duration,
    /// From a request to the head of its answer.
    pub first_byte: Duration,
    /// A whole lookup, which goes on when its asker has gone.
    pub lookup: Duration,
}

/// What the policy says about one registry.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The registry as the policy lists it.
    pub host: &'a str,
    /// Whether it may have an address that is not public.
    pub private_network: bool,
    /// Whether it is asked over plain HTTP. Passwords are never sent that way.
    pub insecure_http: bool,
    /// Hosts, each with its port if that is not 443, where its tokens may come from, besides itself.
    pub realm_hosts: &'a [String],
}

/// Who wants to know what, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What for. One with a digest is answered by it.
    pub image: &'a ImageReference,
    /// What the policy says about its registry. Whether the registry may be asked is decided before.
    pub rules: Rules<'a>,
    /// In whose name; used only if they are for this image.
    pub credentials: Option<&'a Credentials>,
    /// When an answer comes too late.
    pub deadline: Instant,
    /// How old an answer may be to be given unasked.
    pub fresh_for: Duration,
    /// For how long after that it is given when the registry cannot be asked.
    pub stale_for: Duration,
}

impl Resolver {
    /// Knows nothing yet. Fails if TLS cannot be set up at all.
    pub fn new(options: Options) -> Result<Self, rustls::Error> {
        let Options { roots, forbidden, names, limits, metrics } = options;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let client = Client::new(&names, &Arc::new(tls), &forbidden, limits, metrics.clone());
        let shared = Shared { client, tokens: Tokens::default(), hosts: Hosts::default(), limits };
        let cache = Cache::new(Size { answers: ANSWERS, lookups: LOOKUPS }, metrics);
        Ok(Self { cache, shared: Arc::new(shared) })
    }

    /// The digest of the image, as `sha256:…`: of the index if the image is for several platforms.
    pub async fn digest(&self, question: Question<'_>) -> Result<String, Error> {
        let image = question.image;
        let Some(tag) = image.effective_tag().filter(|_| image.digest.is_none()) else {
            return Ok(image.digest.clone().unwrap_or_default());
        };
        let Question { deadline, fresh_for, stale_for, .. } = question;
        let found = match Target::new(&question, tag) {
            Ok(target) => {
                let shared = self.shared.clone();
                let lookup = || shared.look_up(target.clone());
                self.cache.get(&target.key, Terms { deadline, fresh_for, stale_for }, lookup).await
            }
            Err(problem) => Err(problem),
        };
        found.map_err(|problem| Error { registry: image.registry_host(), image: image.to_string(), problem })
    }
}

impl Shared {
    async fn look_up(self: Arc<Self>, target: Target) -> Result<String, Problem> {
        let end = Instant::now() + self.limits.lookup;
        let visit =
            timeout_at(end, self.hosts.enter(target.key.machine())).await.unwrap_or(Err(Problem::Busy))?;
        let asking = manifest::digest(&self.client, &self.tokens, &target);
        let found = timeout_at(end, asking).await.unwrap_or(Err(Problem::Slow));
        visit.end(&found);
        if let Err(problem) = &found {
            let (registry, repository) = (&target.key.registry, &target.key.repository);
            tracing::info!(registry, repository, category = problem.category(), %problem, "no digest");
        }
        found
    }
}

impl Options {
    /// Believes in these authorities (PEM) too, as for registries inside a company.
    pub fn trust(&mut self, authorities: &str) -> Result<(), trust::Error> {
        let what = "the registries' authorities";
        let broken = |error: rustls::Error| trust::Error::Pem { what, cause: error.to_string() };
        let certificates = trust::certificates(authorities, what)?;
        if certificates.is_empty() {
            return Err(trust::Error::Pem { what, cause: "there is no certificate in it".to_owned() });
        }
        certificates.into_iter().try_for_each(|certificate| self.roots.add(certificate).map_err(broken))
    }
}

impl Default for Options {
    /// The authorities that browsers believe in, the system's names, and no networks of the host.
    fn default() -> Self {
        Self {
            roots: RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            forbidden: Vec::new(),
            names: Arc::new(SystemNames),
            limits: Limits::default(),
            metrics: Metrics::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: Duration::from_millis(500),
            connect: Duration::from_millis(500),
            tls: Duration::from_millis(500),
            first_byte: Duration::from_secs(1),
            lookup: Duration::from_secs(8),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Resolver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
