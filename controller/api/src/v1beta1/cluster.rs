//! The `Cluster`: what a user asks for.

use super::{ClusterStatus, CustomCas, Expose, Pause, Persistence, SecretMount, Storage, SyncConfig};
use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, PodSecurityContext, ResourceRequirements, SecretReference, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How tenants' pods run: shared (as pods of the host), virtual (inside agent pods) or hcp (on nodes that join
/// from outside).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As pods of the host.
    #[default]
    Shared,
    /// Inside agent pods of the cluster.
    Virtual,
    /// On nodes that join from outside; only the control plane is nested.
    Hcp,
}

impl Mode {
    /// The value as it is written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Virtual => "virtual",
            Self::Hcp => "hcp",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The desired state of a nested K3s cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k3k.io",
    version = "v1beta1",
    kind = "Cluster",
    plural = "clusters",
    namespaced,
    status = "ClusterStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A K3s cluster that runs inside this one.",
    annotation("helm.sh/resource-policy", "keep"),
    validation = Rule::new(
        "oldSelf.hasValue() || (size(self.metadata.name) <= 41 && !self.metadata.name.contains('.'))"
    )
    .message("metadata.name: must be at most 41 characters without a dot; names of objects in the host are made of it")
    .optional_old_self(true),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".status.policyName"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = "1"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[allow(clippy::duplicated_attributes)] // the columns' priorities
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Image tag of K3s, for example v1.33.1-k3s1. The default follows the version of the host cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// How tenants' pods run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "shared"))]
    #[x_kube(validation = ("self == oldSelf", "mode is immutable"))]
    pub mode: Option<Mode>,

    /// Number of K3s servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 1))]
    #[x_kube(validation = ("self >= 1", "cluster must have at least one server"))]
    pub servers: Option<i32>,

    /// Number of K3s agents. Only in mode virtual.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0))]
    #[x_kube(validation = ("self >= 0", "invalid value for agents"))]
    pub agents: Option<i32>,

    /// Address range of pods. Default: 10.42.0.0/16 in mode shared, else 10.52.0.0/16.
    #[serde(rename = "clusterCIDR", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "clusterCIDR is immutable"))]
    pub cluster_cidr: Option<String>,

    /// Address range of Services. Default: the range of the host in mode shared, else 10.53.0.0/16.
    #[serde(rename = "serviceCIDR", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "serviceCIDR is immutable"))]
    pub service_cidr: Option<String>,

    /// Address of the DNS service inside the cluster.
    #[serde(rename = "clusterDNS", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "clusterDNS is immutable"))]
    pub cluster_dns: Option<String>,

    /// Where the servers keep their data. Default: a volume of 2G from the default StorageClass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,

    /// The cluster does not run while this is there: it has no servers and no nodes, and keeps all of its state. Absent: it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,

    /// How the API is reached from outside the host. Default: inside the host only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,

    /// Labels of the nodes that server and agent pods may run on; in mode shared also tenants' pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,

    /// PriorityClass of the server pods; in mode shared also of tenants' pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class: Option<String>,

    /// Secret with the cluster token under the key token. Default: a token is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretReference>,

    /// More names and addresses for the certificate of the API server.
    #[serde(rename = "tlsSANs", default, skip_serializing_if = "Vec::is_empty")]
    pub tls_sans: Vec<String>,

    /// More arguments for the K3s servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_args: Vec<String>,

    /// More arguments for the K3s agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent_args: Vec<String>,

    /// More environment variables for the K3s servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_envs: Vec<EnvVar>,

    /// More environment variables for the K3s agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent_envs: Vec<EnvVar>,

    /// Secrets with manifests that K3s applies inside the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addons: Vec<Addon>,

    /// Resource limits of the server containers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub server_limit: BTreeMap<String, Quantity>,

    /// Resource limits of the agent containers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub worker_limit: BTreeMap<String, Quantity>,

    /// Resources of the whole server pod. Overrides serverLimit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_resources: Option<ResourceRequirements>,

    /// Resources of the whole agent pod. Overrides workerLimit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_resources: Option<ResourceRequirements>,

    /// Affinity of the server pods. A value in the policy wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_affinity: Option<Affinity>,

    /// Affinity of the agent pods. A value in the policy wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_affinity: Option<Affinity>,

    /// Show one node per node of the host instead of a single one. Only in mode shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub mirror_host_nodes: Option<bool>,

    /// Certificate authorities of your own.
    #[serde(rename = "customCAs", skip_serializing_if = "Option::is_none")]
    pub custom_cas: Option<CustomCas>,

    /// Secrets mounted into server or agent pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_mounts: Vec<SecretMount>,

    /// Which kinds of objects are copied between the cluster and the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {}))]
    pub sync: Option<SyncConfig>,

    /// Security context of the server and agent pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_security_context: Option<PodSecurityContext>,

    /// Security context of the server and agent containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,

    /// RuntimeClass of the server and agent pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,

    /// Whether server and agent pods run in the host's user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_users: Option<bool>,
}

/// A Secret with manifests.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Addon {
    /// Namespace of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_namespace: Option<String>,
    /// Name of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<String>,
}

impl ClusterSpec {
    /// The mode; shared if the object does not say.
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or_default()
    }

    /// The number of servers; 1 if the object does not say.
    pub fn servers(&self) -> i32 {
        self.servers.unwrap_or(1)
    }

    /// The number of agents; 0 if the object does not say.
    pub fn agents(&self) -> i32 {
        self.agents.unwrap_or(0)
    }

    /// Where the servers keep their data. An object without `persistence` gets what `persistence: {}` means.
    pub fn persistence(&self) -> Storage {
        self.persistence.clone().unwrap_or_default().effective()
    }

    /// Whether the cluster shows one node per host node.
    pub fn mirror_host_nodes(&self) -> bool {
        self.mirror_host_nodes.unwrap_or(false)
    }

    /// What is copied between the cluster and the host.
    pub fn sync(&self) -> SyncConfig {
        self.sync.clone().unwrap_or_default()
    }
}
