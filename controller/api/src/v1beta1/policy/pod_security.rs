//! What tenants' pods and control planes may be to the node they run on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What pods may be to the node they run on, beyond podSecurityAdmissionLevel.
#[derive(Serialize, Deserialize, kube::KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurity {
    /// Which tenants' pods may exceed the level, and how far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub privileged: Vec<Privilege>,

    /// Whether the servers and agents of clusters in virtual mode may be privileged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlanePrivilege>,

    /// RuntimeClasses that separate a privileged pod from its node by a kernel of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub sandbox_runtime_classes: Vec<String>,

    /// Whether tenants' pods have users of their own (hostUsers: false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_namespaces: Option<UserNamespaces>,

    /// The types of volumes that tenants' pods may use; if none is named, every type that this version knows to be harmless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub volume_types: Vec<VolumeType>,

    /// Drivers of csi volumes that tenants' pods may name themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub csi_drivers: Vec<String>,
}

/// Which pods may exceed the level, and how far.
#[derive(Serialize, Deserialize, kube::KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Privilege {
    /// Only in these clusters; all, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub clusters: Vec<String>,
    /// Only pods from these namespaces inside the clusters.
    #[schemars(length(min = 1, max = 64))]
    pub virtual_namespaces: Vec<String>,
    /// What they may ask for.
    #[schemars(length(min = 1, max = 8))]
    pub allow: Vec<Power>,
    /// With HostPath: which paths of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub host_paths: Vec<AllowedHostPath>,
    /// With HostPort: which ports of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub host_ports: Vec<PortRange>,
    /// With Capabilities: which may be added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub capabilities: Vec<String>,
}

/// Something that a pod can do to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Power {
    /// Anything: privileged containers.
    Privileged,
    /// Use the node's network.
    HostNetwork,
    /// See the node's processes.
    HostPID,
    /// Use the node's shared memory.
    HostIPC,
    /// Mount the paths in hostPaths.
    HostPath,
    /// Take the ports in hostPorts.
    HostPort,
    /// Add the capabilities in capabilities.
    Capabilities,
}

/// A directory of the node, with what is below it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedHostPath {
    /// Absolute, without dots between its slashes.
    #[schemars(regex(pattern = r"^/"))]
    pub path: String,
    /// Whether every mount must be read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// Ports from min to max.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PortRange {
    /// The first.
    #[schemars(range(min = 1, max = 65535))]
    pub min: i32,
    /// The last.
    #[schemars(range(min = 1, max = 65535))]
    pub max: i32,
}

/// Whether servers and agents may be privileged. A privileged pod is root on its node, and so are the cluster's tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ControlPlanePrivilege {
    /// No.
    Deny,
    /// Under one of sandboxRuntimeClasses.
    RequireSandbox,
    /// On nodes that only this tenant has: nodes.placement Dedicated or Exclusive.
    RequireDedicatedNodes,
    /// Anywhere.
    Allow,
}

/// Whether pods have users of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UserNamespaces {
    /// As each pod says.
    Allow,
    /// Always: hostUsers is set to false.
    Require,
    /// Never: for nodes that cannot.
    Forbid,
}

/// Where a volume comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumeType {
    /// configMap.
    ConfigMap,
    /// secret.
    Secret,
    /// emptyDir.
    EmptyDir,
    /// projected.
    Projected,
    /// downwardAPI.
    DownwardAPI,
    /// persistentVolumeClaim.
    PersistentVolumeClaim,
    /// ephemeral.
    Ephemeral,
    /// csi, with a driver in csiDrivers.
    Csi,
    /// image.
    Image,
    /// hostPath, as far as podSecurity.privileged allows it.
    HostPath,
}
