//! Classes of the host, as they are offered inside nested clusters. Pure.

mod ingress;
mod priority;
mod runtime;
mod storage;

use k3k_api::labels::{CLUSTER_NAME, SYNC_ENABLED, SYNC_FROM_HOST, SYNC_SOURCE};
use k3k_api::v1beta1::{SyncConfig, SyncedKind};
use kube::api::ObjectMeta;
use kube::core::ClusterResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// A kind of class that the host has and nested clusters may be offered.
pub trait Class:
    Resource<DynamicType = (), Scope = ClusterResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The kind, as clusters ask for it.
    const SYNCED: SyncedKind;

    /// The nested class of a host's class.
    #[must_use]
    fn nested(&self) -> Self;

    /// Whether a nested class still says all of `wanted`. What a tenant adds is the tenant's.
    fn is_current(&self, wanted: &Self) -> bool;

    /// Whether every Kubernetes has it by itself.
    fn is_built_in(&self) -> bool {
        false
    }
}

/// Whether a class of the host is offered: the cluster selects it, and the host's administrator does not withhold it by a label. Copies
/// of tenants' own are no class of the host.
pub fn is_offered<K: Class>(host: &K, sync: &SyncConfig) -> bool {
    host.labels().get(SYNC_ENABLED).is_none_or(|value| value == "true")
        && !host.labels().contains_key(CLUSTER_NAME)
        && !host.is_built_in()
        && sync.selects(K::SYNCED, host.labels())
}

/// Metadata of the nested class. One annotation is of any meaning inside: which class is the default.
fn metadata<K: Resource>(host: &K, default: Option<&str>) -> ObjectMeta {
    let default = default.and_then(|key| host.annotations().get_key_value(key));
    let default = default.map(|(key, value)| BTreeMap::from([(key.clone(), value.clone())]));
    ObjectMeta {
        name: host.meta().name.clone(),
        labels: Some(BTreeMap::from([(SYNC_SOURCE.to_owned(), SYNC_FROM_HOST.to_owned())])),
        annotations: default,
        ..ObjectMeta::default()
    }
}

fn annotation<K: Resource>(class: &K, key: &str) -> Option<String> {
    class.annotations().get(key).cloned()
}
