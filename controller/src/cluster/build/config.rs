//! The configuration file of the k3s server.

use super::arguments::ServerArguments;
use super::mode::Nodes;
use super::{Manifest, Site, yaml};
use k3k_api::labels::component;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Key of the file in its Secret.
pub const KEY: &str = "config.yaml";

/// What shared clusters do without: load balancers, an ingress controller, metrics of nodes and node-local volumes
/// are the host's. `CoreDNS` stays and runs as a tenant's pod.
const DISABLED: [&str; 4] = ["servicelb", "traefik", "metrics-server", "local-storage"];

/// k3s' configuration file. The fields are in upstream K3k's order.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub struct ServerConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_token: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cluster_init: bool,
    cluster_cidr: String,
    cluster_dns: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_agent: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disable: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress_selector_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    service_cidr: String,
    tls_san: Vec<String>,
    token: String,
}

/// What the configuration is made of.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// Range of pod addresses.
    pub cluster_cidr: &'a str,
    /// How nodes come about.
    pub nodes: Nodes,
    /// Range of Service addresses; in mode shared the host's.
    pub service_cidr: &'a str,
    /// Address of nested DNS.
    pub cluster_dns: &'a str,
    /// Names and addresses in the API server's certificate.
    pub tls_sans: &'a [String],
    /// The cluster token.
    pub token: &'a str,
    /// The secret of workers, where it is not the cluster token.
    pub agent_token: Option<&'a str>,
    /// The user's arguments.
    pub arguments: &'a ServerArguments,
}

/// The configuration of the one server.
pub fn server(inputs: &Inputs<'_>) -> ServerConfig {
    let are_shown = inputs.nodes.are_shown();
    let mut disable: Vec<String> = DISABLED.into_iter().filter(|_| are_shown).map(str::to_owned).collect();
    let own = inputs.arguments.disable.iter().filter(|name| !disable.contains(name)).cloned();
    let own: Vec<String> = own.collect();
    disable.extend(own);
    ServerConfig {
        agent_token: inputs.agent_token.map(str::to_owned),
        cluster_init: false,
        cluster_cidr: inputs.cluster_cidr.to_owned(),
        cluster_dns: inputs.cluster_dns.to_owned(),
        disable_agent: (!inputs.nodes.are_pods()).then_some(true),
        disable,
        // Elsewhere k3s reaches nodes through the connections that they open.
        egress_selector_mode: match inputs.nodes {
            Nodes::Shown => Some("disabled"),
            Nodes::Pods => None,
            Nodes::Outside => Some("cluster"),
        },
        server: None,
        service_cidr: inputs.service_cidr.to_owned(),
        tls_san: inputs.tls_sans.to_vec(),
        token: inputs.token.to_owned(),
    }
}

impl ServerConfig {
    /// The same for a server that begins an etcd. What a single server has stored until then, k3s takes over into it.
    #[must_use]
    pub fn beginning(self) -> Self {
        Self { cluster_init: true, server: None, ..self }
    }

    /// The same for a server that joins the one at `endpoint`, unless it has been a member before. `token` says whom it may trust there.
    #[must_use]
    pub fn joining(self, endpoint: &str, token: String) -> Self {
        Self { cluster_init: false, server: Some(endpoint.to_owned()), token, ..self }
    }
}

/// The token with the hash by which a joining server knows the cluster's authority. Of a chain k3s hashes the root, in a form that is not
/// the file's; there the token is as it was, and the server trusts what it has on disk.
pub fn full_token(token: &str, server_ca: &str) -> String {
    if token.starts_with("K10") || server_ca.matches("BEGIN CERTIFICATE").count() != 1 {
        return token.to_owned();
    }
    let digest = Sha256::digest(server_ca.as_bytes()).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!("K10{digest}::server:{token}")
}

/// The Secret that holds it.
pub fn secret(site: &Site, config: &ServerConfig) -> Result<Manifest, serde_saphyr::ser::Error> {
    let data = BTreeMap::from([(KEY.to_owned(), yaml(config)?)]);
    Ok(Manifest::secret(site, site.names().init_server_config(), component::SERVER, &data))
}

/// Names and addresses of the API server: sorted, each once.
pub fn tls_sans(site: &Site, spec: &[String], arguments: &ServerArguments, service_ip: &str) -> Vec<String> {
    let service = site.names().service();
    let mut sans: Vec<String> = spec.iter().chain(&arguments.tls_sans).cloned().collect();
    sans.extend([
        service_ip.to_owned(),
        format!("{service}.{}", site.namespace),
        format!("{service}.{}.svc", site.namespace),
        service,
    ]);
    sans.sort();
    sans.dedup();
    sans
}
