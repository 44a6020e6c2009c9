//! How much clusters may use.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much clusters may use.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What all clusters of tenancy.tenant may use together, as in a ResourceQuota: the sum of what their namespaces are given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub per_tenant: BTreeMap<String, Quantity>,

    /// What one cluster may use, as in a ResourceQuota.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub per_cluster: BTreeMap<String, Quantity>,

    /// What one pod may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_pod: Option<PerPod>,

    /// What containers get that do not say, and what they must say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<ContainerResources>,

    /// Resources besides cpu, memory and ephemeral-storage that pods may ask for, such as nvidia.com/gpu; any, if this list is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub extended: Option<Vec<String>>,
}

/// What one pod may use.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PerPod {
    /// The most that a pod's containers may request or be limited to, together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max: BTreeMap<String, Quantity>,
    /// The most containers a pod may have, of all kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_containers: Option<u32>,
}

/// What containers get that do not say, and what they must say.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResources {
    /// What containers get that do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<ContainerDefaults>,
    /// What containers must say, after the defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub require: Vec<RequiredResource>,
}

/// What containers get that do not say.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ContainerDefaults {
    /// Requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// Limits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Something that containers must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequiredResource {
    /// Requests for cpu and memory.
    Requests,
    /// A limit for cpu.
    CPULimit,
    /// A limit for memory.
    MemoryLimit,
}
