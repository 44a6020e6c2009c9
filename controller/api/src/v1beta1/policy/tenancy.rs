//! Whose the clusters are, and how many share a namespace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose the clusters are.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Tenancy {
    /// Name of the tenant. Namespaces of one tenant share resources.perTenant, and an Exclusive placement.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub tenant: Option<String>,

    /// How many clusters a namespace may hold. Clusters of one namespace are not protected from one another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters_per_namespace: Option<ClustersPerNamespace>,
}

/// How many clusters a namespace may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClustersPerNamespace {
    /// One.
    Single,
    /// Any number.
    #[default]
    Multiple,
}
