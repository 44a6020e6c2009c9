//! The `VirtualClusterPolicy`: what an administrator allows the clusters of a namespace.

mod enforcement;
mod images;
mod network;
mod nodes;
mod pod_security;
mod resources;
mod status;
mod tenancy;
mod workloads;

pub use enforcement::{Enforcement, EnforcementMode, Exemption, RuleMode};
pub use images::{
    AllowedRegistry, DigestRule, Images, OnResolveFailure, Pin, PullPolicy, RegistryNetwork, ResolveLimits,
};
pub use network::{Egress, IngressFrom, IngressRules, Isolation, Network, ServiceRules, ServiceType};
pub use nodes::{AllowedToleration, Nodes, Placement, RequiredToleration, TaintEffect, Tolerations};
pub use pod_security::{
    AllowedHostPath, ControlPlanePrivilege, PodSecurity, PortRange, Power, Privilege, UserNamespaces,
    VolumeType,
};
pub use resources::{ContainerDefaults, ContainerResources, PerPod, RequiredResource, Resources};
pub use status::{BoundNamespace, Violations, VirtualClusterPolicyStatus};
pub use tenancy::{ClustersPerNamespace, Tenancy};
pub use workloads::{DataSources, RuntimeClasses, StorageClasses, Workloads};

use super::{Mode, SyncConfig};
use k8s_openapi::api::core::v1::{Affinity, LimitRangeSpec, ResourceQuotaSpec, SecurityContext};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A level of the Pod Security Standards: privileged, baseline or restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurityLevel {
    /// No restriction.
    Privileged,
    /// Known privilege escalations are refused.
    Baseline,
    /// Hardened pods only.
    Restricted,
}

impl PodSecurityLevel {
    /// The value as it is written in a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// What the clusters of the namespaces bound to this policy may do and are given.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k3k.io",
    version = "v1beta1",
    kind = "VirtualClusterPolicy",
    plural = "virtualclusterpolicies",
    shortname = "vcp",
    status = "VirtualClusterPolicyStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Rules for the clusters of the namespaces that carry the label policy.k3k.io/policy-name.",
    annotation("helm.sh/resource-policy", "keep"),
    validation = Rule::new("oldSelf.hasValue() || size(self.metadata.name) <= 63")
        .message("metadata.name: must be at most 63 characters; it is the value of a label on namespaces")
        .optional_old_self(true),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.allowedMode"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualClusterPolicySpec {
    /// A ResourceQuota in each bound namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<ResourceQuotaSpec>,

    /// A LimitRange in each bound namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitRangeSpec>,

    /// Labels of the nodes that the clusters' pods run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub default_node_selector: BTreeMap<String, String>,

    /// PriorityClass of the clusters' pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_priority_class: Option<String>,

    /// Affinity of the server pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_server_affinity: Option<Affinity>,

    /// Affinity of the agent pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_agent_affinity: Option<Affinity>,

    /// The one mode that clusters may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "shared"))]
    #[x_kube(validation = ("self == oldSelf", "mode is immutable"))]
    pub allowed_mode: Option<Mode>,

    /// Do not isolate the bound namespaces by a NetworkPolicy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub disable_network_policy: Option<bool>,

    /// The Pod Security Standard that pods in the bound namespaces must meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_security_admission_level: Option<PodSecurityLevel>,

    /// Which kinds of objects are copied between clusters and the host. Overrides the clusters'.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub sync: Option<SyncConfig>,

    /// RuntimeClass of the server and agent pods. Overrides the clusters'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,

    /// Security context of the server and agent containers. Overrides the clusters'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,

    /// Whether server and agent pods run in the host's user namespace. Overrides the clusters'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_users: Option<bool>,

    /// Whose the clusters are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenancy: Option<Tenancy>,

    /// What happens when a rule is broken, and who is excused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,

    /// What pods may be to the node they run on, beyond podSecurityAdmissionLevel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurity>,

    /// Where images come from, and that they stay what they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,

    /// Which nodes the clusters' pods, and the clusters themselves, run on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Nodes>,

    /// How much clusters may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// What pods and claims may name of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workloads: Option<Workloads>,

    /// What clusters may open to others, and whom they may reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

impl VirtualClusterPolicySpec {
    /// The one mode that clusters may have; shared if the object does not say.
    pub fn allowed_mode(&self) -> Mode {
        self.allowed_mode.unwrap_or_default()
    }

    /// Whether bound namespaces are left without a NetworkPolicy.
    pub fn disable_network_policy(&self) -> bool {
        self.disable_network_policy.unwrap_or(false)
    }
}
