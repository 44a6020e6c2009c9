//! Where images come from, and that they stay what they were.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where images come from, and that they stay what they were.
#[derive(Serialize, Deserialize, kube::KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.digest) || self.digest != 'Resolve' || (has(self.allowedRegistries) && size(self.allowedRegistries) > 0) || (has(self.pins) && size(self.pins) > 0)", "digest Resolve needs allowedRegistries, which say what may be asked, or pins"))]
pub struct Images {
    /// Whether images are named by their digest, which nobody can move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<DigestRule>,

    /// The pull policy of every container and image volume. Always has a node ask the registry whether the tenant may have an
    /// image that another tenant has pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,

    /// Where images may come from; anywhere, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["host".into()]))]
    pub allowed_registries: Vec<AllowedRegistry>,

    /// How tags are resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolve: Option<ResolveLimits>,

    /// Images whose digest is not asked for but said here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["image".into()]))]
    pub pins: Vec<Pin>,
}

/// Whether images are named by their digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DigestRule {
    /// As each pod says.
    #[default]
    Off,
    /// An image without a digest is refused.
    Require,
    /// The digest of a tag is asked of its registry and added.
    Resolve,
}

/// When nodes pull images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Every time.
    Always,
    /// When the node does not have the image.
    IfNotPresent,
}

impl PullPolicy {
    /// The value as it is written in a pod.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
        }
    }
}

/// A registry, and what of it may be used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedRegistry {
    /// Host, and port if it is not the usual one.
    #[schemars(length(min = 1, max = 255))]
    pub host: String,
    /// Repositories, as globs of path segments: * is one segment, ** any number. All, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub repositories: Vec<String>,
    /// Whether the registry may have a private address. Public, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<RegistryNetwork>,
    /// Whether the registry is asked without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Hosts besides the registry's own that issue its tokens, and so may get a pull secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub auth_realm_hosts: Vec<String>,
}

/// Where a registry may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RegistryNetwork {
    /// At public addresses.
    #[default]
    Public,
    /// Anywhere, also in the host's own networks.
    Private,
}

/// How tags are resolved.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResolveLimits {
    /// How long all images of one pod may take together, in seconds. 2, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8))]
    pub timeout_seconds: Option<u32>,
    /// How long an answer is believed, in seconds. 60, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86400))]
    pub fresh_for_seconds: Option<u32>,
    /// How long an answer serves on while the registry cannot be asked, in seconds. 600, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 604_800))]
    pub stale_for_seconds: Option<u32>,
    /// What happens to a pod whose image cannot be resolved. Deny, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnResolveFailure>,
}

/// What happens to a pod whose image cannot be resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnResolveFailure {
    /// It is refused.
    #[default]
    Deny,
    /// It keeps the tag, with a warning.
    Admit,
}

/// The digest of an image.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// The image as pods name it, with its tag.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// sha256: and 64 hexadecimal digits.
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
}
