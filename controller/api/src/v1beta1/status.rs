//! What the controller reports about a cluster.

use super::SyncConfig;
use k8s_openapi::api::core::v1::{Affinity, PodSecurityContext, SecurityContext};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The life of a cluster in one word. Conditions say more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not accepted as it stands, or paused; see the Ready condition.
    Pending,
    /// Being made.
    Provisioning,
    /// The API answers, the nodes are ready, the kubeconfig works.
    Ready,
    /// Something is wrong that the controller cannot mend by waiting.
    Failed,
    /// Being deleted.
    Terminating,
    /// Not seen by the controller yet.
    #[default]
    Unknown,
}

impl Phase {
    /// The value as it is written in an object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Ready => "Ready",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The observed state of a cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Version of the host cluster, without build metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_version: Option<String>,

    /// Address range of pods in use.
    #[serde(rename = "clusterCIDR", skip_serializing_if = "Option::is_none")]
    pub cluster_cidr: Option<String>,

    /// Address range of Services in use.
    #[serde(rename = "serviceCIDR", skip_serializing_if = "Option::is_none")]
    pub service_cidr: Option<String>,

    /// Address of the DNS service inside the cluster.
    #[serde(rename = "clusterDNS", skip_serializing_if = "Option::is_none")]
    pub cluster_dns: Option<String>,

    /// Names and addresses in the certificate of the API server.
    #[serde(rename = "tlsSANs", default, skip_serializing_if = "Vec::is_empty")]
    pub tls_sans: Vec<String>,

    /// The VirtualClusterPolicy that the namespace is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_name: Option<String>,

    /// What that policy imposes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<AppliedPolicy>,

    /// Port of the virtual kubelets on the host's nodes. Only with mirrorHostNodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubelet_port: Option<i32>,

    /// What is known about the cluster. Ready is the summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The life of the cluster in one word.
    #[serde(default)]
    pub phase: Phase,

    /// The generation of the object that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The etcd that several servers keep together. From when it was begun, no server ever begins another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdStatus>,

    /// When the last pause ended that stopped tenants' pods; while one lasts, when it began to. The virtual kubelet runs those
    /// again that started before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods_stopped_until: Option<Time>,

    /// URL of the API that the kubeconfig uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// Version of K3s that the servers run: the last one that all of them were given. None before the first of them ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// The change of that version that is under way, or that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
}

/// A change of the version of K3s.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeStatus {
    /// The version that the servers are given.
    pub to: String,

    /// The newest version that a server has run since it began. From then on there is no way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<String>,

    /// Why it was taken back. It is not tried again until spec.version changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The etcd of several servers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EtcdStatus {
    /// Its ID, in hexadecimal digits.
    #[serde(rename = "clusterID")]
    pub cluster_id: String,

    /// Its members, as a majority saw them last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<EtcdMember>,
}

/// A member of the etcd of several servers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EtcdMember {
    /// Name of its pod. Empty before it was started for the first time.
    #[serde(default)]
    pub server: String,

    /// Its ID, in hexadecimal digits.
    #[serde(rename = "id")]
    pub id: String,

    /// UID of what holds its data: of the claim, or of the pod where the data go with that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,

    /// It has no vote yet: it learns what the others know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learner: bool,
}

/// What a policy imposes on a cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AppliedPolicy {
    /// Name of the VirtualClusterPolicy.
    #[schemars(length(min = 1))]
    pub name: String,

    /// PriorityClass of server pods and tenants' pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class: Option<String>,

    /// Node labels for server pods and tenants' pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,

    /// Affinity of the server pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_affinity: Option<Affinity>,

    /// Affinity of the agent pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_affinity: Option<Affinity>,

    /// Which kinds of objects are copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncConfig>,

    /// RuntimeClass of the server and agent pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,

    /// Security context of the server and agent pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_security_context: Option<PodSecurityContext>,

    /// Security context of the server and agent containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,

    /// Whether server and agent pods run in the host's user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_users: Option<bool>,
}
