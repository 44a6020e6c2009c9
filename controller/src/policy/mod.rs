//! The reconciler of VirtualClusterPolicies: observe → plan → apply → status.
//!
//! It gives the namespaces of a policy what Kubernetes itself enforces, and holds without us: quotas, limits, NetworkPolicies
//! and Pod Security labels. What is finer than these is the webhook's.

pub mod apply;
pub mod audit;
pub mod budget;
pub mod build;
pub mod caches;
pub mod cidr;
pub mod error;
pub mod glass;
pub mod mode;
pub mod observe;
pub mod plan;
pub mod reconcile;
pub mod replicas;
pub mod settled;
pub mod status;
pub mod sweep;
pub mod watch;

use crate::cluster::events::Events;
use crate::cluster::host::Host;
use crate::cluster::retry::Retries;
use crate::metrics::Metrics;
use k3k_api::v1beta1::VirtualClusterPolicy;
use kube::Client;
use kube::core::DeserializeGuard;
use std::sync::Arc;
use tokio::sync::Mutex;

/// A policy as it is watched: one that does not fit the schema is reported, not a broken watch.
pub type Guarded = DeserializeGuard<VirtualClusterPolicy>;

/// What reconciles share.
pub struct Context {
    /// The host.
    pub client: Client,
    /// Namespace of the controller.
    pub namespace: String,
    /// Facts about the host.
    pub host: Host,
    /// What is remembered of the host.
    pub caches: caches::Caches,
    /// Held by who deals out a budget: nobody else gives from it meanwhile.
    pub budgets: Mutex<()>,
    /// Rung when it is time to look for violations.
    pub audit: Arc<audit::Bell>,
    /// Events on policies.
    pub events: Events,
    /// How soon a failed reconcile is tried again.
    pub retries: Retries,
    /// Counters.
    pub metrics: Metrics,
}
