//! What the webhook counts. No label takes a value from a tenant.

use crate::decision::{Decision, Phase};
use crate::review::Request;
use k3k_api::v1beta1::policy::EnforcementMode;
use kube::core::admission::Operation;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    phase: &'static str,
    operation: &'static str,
    resource: &'static str,
    decision: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Broken {
    rule: &'static str,
    mode: &'static str,
}

/// The counters. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Asked, Counter>,
    violations: Family<Broken, Counter>,
    duration: Histogram,
    rejected: Counter,
    certificate_expiry: Gauge,
}

impl Metrics {
    /// Registers the counters under the prefix `k3k`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            violations: Family::default(),
            duration: Histogram::new([
                0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
            ]),
            rejected: Counter::default(),
            certificate_expiry: Gauge::default(),
        };
        let k3k = registry.sub_registry_with_prefix("k3k");
        k3k.register("admission_requests", "Admission requests that were answered", metrics.requests.clone());
        k3k.register(
            "admission_violations",
            "Violations that were found, by rule",
            metrics.violations.clone(),
        );
        k3k.register_with_unit(
            "admission_duration",
            "Time from the first byte of a request to its answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        k3k.register(
            "admission_rejected",
            "Requests refused unread: too large, too slow, too many, or not admission reviews",
            metrics.rejected.clone(),
        );
        k3k.register(
            "webhook_certificate_expiry_timestamp",
            "When the serving certificate expires, in seconds since 1970",
            metrics.certificate_expiry.clone(),
        );
        metrics
    }

    pub(crate) fn answered(&self, request: &Request<'_>, phase: Phase, decision: &Decision, took: Duration) {
        let phase = match phase {
            Phase::Mutate => "mutate",
            Phase::Validate => "validate",
        };
        let operation = match request.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        };
        let resource = match (request.resource.resource.as_str(), request.sub_resource.as_str()) {
            ("pods", "") => "pods",
            ("pods", "ephemeralcontainers") => "pods/ephemeralcontainers",
            ("pods", "resize") => "pods/resize",
            ("pods", "exec" | "attach" | "portforward" | "proxy") => "pods/connect",
            ("services", "") => "services",
            ("persistentvolumeclaims", "") => "persistentvolumeclaims",
            ("ingresses", "") => "ingresses",
            ("clusters", "") => "clusters",
            ("namespaces", "") => "namespaces",
            ("virtualclusterpolicies", "") => "virtualclusterpolicies",
            _ => "other",
        };
        self.requests.get_or_create(&Asked { phase, operation, resource, decision: decision.word() }).inc();
        for violation in decision.violations() {
            let mode = match violation.mode {
                EnforcementMode::Enforce => "enforce",
                EnforcementMode::Warn => "warn",
                EnforcementMode::Audit => "audit",
            };
            self.violations.get_or_create(&Broken { rule: violation.rule, mode }).inc();
        }
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn rejected(&self) {
        self.rejected.inc();
    }

    pub(crate) fn certificate_expires(&self, at: jiff::Timestamp) {
        self.certificate_expiry.set(at.as_second());
    }
}
