//! What the controller counts. Labels take few values, whatever users do.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::time::Instant;

/// How a reconcile ended: `Ok` or the category of its error.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// The phase of a cluster.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InPhase {
    phase: &'static str,
}

/// The controller's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Family<Outcome, Counter>,
    durations: Histogram,
    clusters: Family<InPhase, Gauge>,
    policy_reconciles: Family<Outcome, Counter>,
    policy_durations: Histogram,
    policies: Gauge,
    bound_namespaces: Gauge,
    break_glass: Gauge,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            durations: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            clusters: Family::default(),
            policy_reconciles: Family::default(),
            policy_durations: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            policies: Gauge::default(),
            bound_namespaces: Gauge::default(),
            break_glass: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("k3k_controller");
        registry.register("reconciles", "Reconciles of Clusters by result", metrics.reconciles.clone());
        registry.register(
            "reconcile_duration_seconds",
            "Time that reconciles took",
            metrics.durations.clone(),
        );
        registry.register("clusters", "Clusters by phase", metrics.clusters.clone());
        let reconciles = metrics.policy_reconciles.clone();
        registry.register("policy_reconciles", "Reconciles of VirtualClusterPolicies by result", reconciles);
        registry.register(
            "policy_reconcile_duration_seconds",
            "Time that reconciles of VirtualClusterPolicies took",
            metrics.policy_durations.clone(),
        );
        registry.register("policies", "VirtualClusterPolicies", metrics.policies.clone());
        let bound = metrics.bound_namespaces.clone();
        registry.register("bound_namespaces", "Namespaces that a VirtualClusterPolicy governs", bound);
        let help = "Unix time until which the glass is broken, so that the webhook need not be asked; 0 while it is whole";
        registry.register("break_glass_until_seconds", help, metrics.break_glass.clone());
        metrics
    }

    /// Begins to measure a reconcile of a Cluster.
    pub fn begin(&self) -> Measurement<'_> {
        Measurement { results: &self.reconciles, durations: &self.durations, begun: Instant::now() }
    }

    /// Begins to measure a reconcile of a policy.
    pub fn begin_policy(&self) -> Measurement<'_> {
        Measurement {
            results: &self.policy_reconciles,
            durations: &self.policy_durations,
            begun: Instant::now(),
        }
    }

    /// Sets how many policies there are, and how many namespaces they govern.
    pub fn set_policies(&self, policies: usize, namespaces: usize) {
        self.policies.set(i64::try_from(policies).unwrap_or(i64::MAX));
        self.bound_namespaces.set(i64::try_from(namespaces).unwrap_or(i64::MAX));
    }

    /// Sets until when the glass is broken, in Unix time; nothing if it is whole.
    pub fn set_break_glass(&self, until: Option<i64>) {
        self.break_glass.set(until.unwrap_or_default());
    }

    /// Sets how many clusters are in each of the phases.
    pub fn set_clusters(&self, phases: impl Iterator<Item = (&'static str, i64)>) {
        for (phase, count) in phases {
            self.clusters.get_or_create(&InPhase { phase }).set(count);
        }
    }
}

/// A reconcile that is being measured.
pub struct Measurement<'a> {
    results: &'a Family<Outcome, Counter>,
    durations: &'a Histogram,
    begun: Instant,
}

impl Measurement<'_> {
    /// It ended.
    pub fn end(self, result: &'static str) {
        self.durations.observe(self.begun.elapsed().as_secs_f64());
        self.results.get_or_create(&Outcome { result }).inc();
    }
}
