//! The observed state of a policy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The observed state of a policy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VirtualClusterPolicyStatus {
    /// The generation of the object that this status speaks of. From then on nothing is admitted that this generation refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// When the status was last written, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<String>,

    /// The state of the policy in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,

    /// What is known about the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The namespaces that the policy governs, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub namespaces: Vec<BoundNamespace>,

    /// What of the running objects the policy would not let in now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violations: Option<Violations>,
}

/// A namespace that the policy governs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BoundNamespace {
    /// Its name.
    pub name: String,
    /// How many clusters it holds.
    pub clusters: u32,
}

/// How many running objects break rules, by what happens to those that are made anew.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Violations {
    /// They would be refused.
    pub enforced: u32,
    /// Their author would be warned.
    pub warned: u32,
    /// They would be counted.
    pub audited: u32,
    /// When they were counted, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<String>,
    /// The first of them, as namespace/name: rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}
