//! Which nodes the clusters' pods run on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which nodes the clusters' pods, and the clusters themselves, run on.
#[derive(Serialize, Deserialize, kube::KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.placement) || self.placement == 'Shared' || (has(self.requiredSelector) && self.requiredSelector.exists(k, k.contains('node-restriction.kubernetes.io/')))", "placement Dedicated and Exclusive need a requiredSelector with a label under node-restriction.kubernetes.io/, which a node cannot give itself"))]
pub struct Nodes {
    /// Who else runs on these nodes. Shared, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,

    /// Labels of the nodes that every pod runs on. Nothing overrides it, unlike defaultNodeSelector.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub required_selector: BTreeMap<String, String>,

    /// Tolerations of taints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Tolerations>,

    /// Schedulers that pods may name. default-scheduler, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub schedulers: Vec<String>,

    /// Labels of nodes that pods may spread over or keep together by; any, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub topology_keys: Vec<String>,
}

/// Who else runs on a tenant's nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Placement {
    /// Anybody.
    #[default]
    Shared,
    /// The clusters of this policy, on nodes of requiredSelector; the administrator's taints keep others away.
    Dedicated,
    /// As Dedicated; and no pod of another tenant is placed beside one of this tenant.
    Exclusive,
}

/// Tolerations of taints.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Tolerations {
    /// What every pod tolerates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub required: Vec<RequiredToleration>,
    /// What pods may tolerate as well. Of the taints that Kubernetes sets itself, not-ready and unreachable are always allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub allowed: Vec<AllowedToleration>,
}

/// A taint that every pod tolerates.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RequiredToleration {
    /// Key of the taint.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// Value of the taint; any, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Effect of the taint; any, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// A taint that pods may tolerate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedToleration {
    /// Key of the taint.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// Value of the taint; any, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// Pods are not placed.
    NoSchedule,
    /// Pods are placed elsewhere if possible.
    PreferNoSchedule,
    /// Pods are not placed, and leave.
    NoExecute,
}

impl TaintEffect {
    /// The value as it is written in a taint.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}
