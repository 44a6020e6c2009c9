//! What pods and claims may name of the host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What pods and claims may name of the host.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Workloads {
    /// PriorityClasses of the host that pods may have, besides defaultPriorityClass; any but Kubernetes' own, if this list is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub priority_classes: Option<Vec<String>>,

    /// RuntimeClasses of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_classes: Option<RuntimeClasses>,

    /// StorageClasses of the host, and where the contents of claims may come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_classes: Option<StorageClasses>,

    /// Annotations that tenants' objects may have in the host, as globs such as prometheus.io/*; any but those that give
    /// orders to nodes and networks, if this list is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub allowed_annotations: Option<Vec<String>>,

    /// Labels that tenants' objects may have in the host, as globs; any, if this list is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub allowed_labels: Option<Vec<String>>,

    /// The longest that a pod may take to end, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 604_800))]
    pub max_termination_grace_period_seconds: Option<i64>,
}

/// RuntimeClasses of the host.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeClasses {
    /// What every tenant's pod has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<String>,
    /// What pods may have as well; any, if nothing is required and this list is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub allowed: Option<Vec<String>>,
}

/// StorageClasses of the host.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageClasses {
    /// What claims may name; any, if this list is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub allowed: Option<Vec<String>>,
    /// Where the contents of a new claim may come from. SameCluster, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_sources: Option<DataSources>,
}

/// Where the contents of a new claim may come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DataSources {
    /// Claims of the same cluster.
    #[default]
    SameCluster,
    /// Nowhere.
    Deny,
}
