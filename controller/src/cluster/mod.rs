//! The reconciler of Clusters: observe → plan → apply → status.

pub mod apply;
pub mod build;
pub mod caches;
pub mod credentials;
pub mod error;
pub mod etcd;
pub mod events;
pub mod finalize;
pub mod finalizer;
pub mod health;
pub mod host;
pub mod listing;
pub mod memory;
pub mod namespace;
pub mod observe;
pub mod offered;
pub mod pause;
pub mod plan;
pub mod pods;
pub mod priority_class;
pub mod reconcile;
pub mod restart;
pub mod retry;
pub mod status;
pub mod upgrade;
pub mod validate;
pub mod watch;

use crate::args::Images;
use crate::metrics::Metrics;
use k3k_api::v1beta1::Cluster;
use kube::Client;
use kube::core::DeserializeGuard;
use std::sync::Arc;

/// A Cluster as it is watched: one that does not fit the schema is reported, not a broken watch.
pub type Guarded = DeserializeGuard<Cluster>;

/// What reconciles share.
pub struct Context {
    /// The host.
    pub client: Client,
    /// Facts about the host.
    pub host: host::Host,
    /// What is remembered of the host.
    pub caches: caches::Caches,
    /// The health of the nested clusters.
    pub health: health::Registry,
    /// What needs no second look.
    pub memory: Arc<memory::Memory>,
    /// Events on Clusters.
    pub events: events::Events,
    /// How soon a failed reconcile is tried again.
    pub retries: retry::Retries,
    /// Where images come from.
    pub images: Images,
    /// Pods of each cluster's virtual kubelet.
    pub kubelet_replicas: u16,
    /// Counters.
    pub metrics: Metrics,
}
