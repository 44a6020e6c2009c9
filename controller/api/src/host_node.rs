//! What a virtual kubelet is told of the host's nodes. The controller writes it: the virtual kubelet has no right to read nodes, and
//! what nested Nodes say, their tenants can change.

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Key of the list in the ConfigMap [`crate::names::ClusterNames::nodes`].
pub const KEY: &str = "nodes.json";

/// A node of the host, as far as a nested cluster may know it: nothing of its annotations, images and volumes.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HostNode {
    /// Its name, which is the nested node's, too.
    pub name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its taints, but for those that say what conditions and [`Self::unschedulable`] say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Whether it is cordoned.
    #[serde(default)]
    pub unschedulable: bool,
    /// What it has, cut to the quota of the cluster's namespace.
    #[serde(default)]
    pub capacity: BTreeMap<String, Quantity>,
    /// What pods may use of it, cut likewise.
    #[serde(default)]
    pub allocatable: BTreeMap<String, Quantity>,
    /// Ready and what speaks against it.
    #[serde(default)]
    pub conditions: Vec<HostCondition>,
    /// Its internal address, where node ports are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its architecture, as in images.
    #[serde(default)]
    pub architecture: String,
}

/// A condition of a node, without the heartbeat.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct HostCondition {
    /// Ready, `MemoryPressure`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// Why, in one word.
    #[serde(default)]
    pub reason: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// Since when; RFC 3339.
    #[serde(default)]
    pub last_transition_time: String,
}
