//! What lookups are counted by. No label takes a value from a tenant or from a registry.

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// How a question met the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A fresh answer was there.
    Hit,
    /// A lookup was started.
    Miss,
    /// An equal lookup was under way.
    Joined,
    /// A known problem was the answer.
    Negative,
    /// An old answer was given for want of a new one.
    Stale,
    /// A lookup was started beside a fresh answer that is about to expire.
    Refresh,
    /// Too many lookups were under way.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Looked {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    what: &'static str,
    answer: &'static str,
}

/// The counters. Clones share them; without [`Metrics::register`] nobody reads them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    lookups: Family<Looked, Counter>,
    requests: Family<Asked, Counter>,
}

impl Metrics {
    /// Registers the counters under the prefix `k3k`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let k3k = registry.sub_registry_with_prefix("k3k");
        k3k.register(
            "registry_lookups",
            "Tags whose digest was asked for, by where the answer came from",
            metrics.lookups.clone(),
        );
        k3k.register(
            "registry_requests",
            "Requests to registries and their token services, by the class of the answer",
            metrics.requests.clone(),
        );
        metrics
    }

    pub(super) fn looked_up(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Hit => "hit",
            Outcome::Miss => "miss",
            Outcome::Joined => "joined",
            Outcome::Negative => "negative",
            Outcome::Stale => "stale",
            Outcome::Refresh => "refresh",
            Outcome::Refused => "refused",
        };
        self.lookups.get_or_create(&Looked { outcome }).inc();
    }

    /// One request for a `what`, and its answer, if any came.
    pub(super) fn asked(&self, what: &'static str, status: Option<StatusCode>) {
        let answer = match status.map(|status| status.as_u16()) {
            None => "none",
            Some(401 | 403) => "refused",
            Some(404) => "not-found",
            Some(429) => "too-many",
            Some(100..=299) => "2xx",
            Some(300..=399) => "3xx",
            Some(400..=499) => "4xx",
            Some(_) => "5xx",
        };
        self.requests.get_or_create(&Asked { what, answer }).inc();
    }
}
