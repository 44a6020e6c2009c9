//! Certificate authorities that a user brings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Certificate authorities of your own.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CustomCas {
    /// Whether they are used.
    #[serde(default = "enabled")]
    pub enabled: bool,

    /// The Secrets they come from.
    pub sources: CredentialSources,
}

fn enabled() -> bool {
    true
}

/// One Secret per authority, each with the keys `tls.crt` and `tls.key`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSources {
    /// Signs the API server's certificate.
    #[serde(rename = "serverCA", skip_serializing_if = "Option::is_none")]
    pub server_ca: Option<CredentialSource>,
    /// Signs clients' certificates.
    #[serde(rename = "clientCA", skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<CredentialSource>,
    /// Signs the certificate by which the API server calls aggregated API servers.
    #[serde(rename = "requestHeaderCA", skip_serializing_if = "Option::is_none")]
    pub request_header_ca: Option<CredentialSource>,
    /// Signs etcd's serving certificates.
    #[serde(rename = "etcdServerCA", skip_serializing_if = "Option::is_none")]
    pub etcd_server_ca: Option<CredentialSource>,
    /// Signs the certificates by which etcd members know each other.
    #[serde(rename = "etcdPeerCA", skip_serializing_if = "Option::is_none")]
    pub etcd_peer_ca: Option<CredentialSource>,
    /// The key that signs service account tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<CredentialSource>,
}

/// A Secret in the cluster's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSource {
    /// Name of the Secret.
    pub secret_name: String,
}
