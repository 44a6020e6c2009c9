//! Secrets mounted into server and agent pods.

use k8s_openapi::api::core::v1::KeyToPath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Secret mounted into server or agent pods; also the way to give K3s a registries.yaml.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretMount {
    /// Name of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: Option<String>,

    /// Name of the Secret in the cluster's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,

    /// Which keys are mounted at which paths. Default: all, each under its own name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<KeyToPath>,

    /// Mode bits of the files, between 0 and 511.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_mode: Option<i32>,

    /// Whether the pod may start without the Secret or its keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,

    /// Where it is mounted in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,

    /// A path within the Secret to mount instead of its root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,

    /// Which pods get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<MountRole>,
}

/// Which pods get a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MountRole {
    /// Servers.
    Server,
    /// Agents.
    Agent,
    /// Both.
    #[default]
    All,
}
