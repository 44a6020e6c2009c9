//! The configuration file of the k3s server.

use super::arguments::ServerArguments;
use super::{Manifest, Site, yaml};
use k3k_api::labels::component;
use serde::Serialize;
use std::collections::BTreeMap;

/// Key of the file in its Secret.
pub const KEY: &str = "config.yaml";

/// What shared clusters do without: load balancers, an ingress controller, metrics of nodes and node-local volumes
/// are the host's. `CoreDNS` stays and runs as a tenant's pod.
const DISABLED: [&str; 4] = ["servicelb", "traefik", "metrics-server", "local-storage"];

/// k3s' configuration file. The fields are in upstream K3k's order.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub struct ServerConfig {
    cluster_cidr: String,
    cluster_dns: String,
    disable_agent: bool,
    disable: Vec<String>,
    egress_selector_mode: &'static str,
    service_cidr: String,
    tls_san: Vec<String>,
    token: String,
}

/// What the configuration is made of.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// Range of pod addresses.
    pub cluster_cidr: &'a str,
    /// Range of Service addresses: the host's.
    pub service_cidr: &'a str,
    /// Address of nested DNS.
    pub cluster_dns: &'a str,
    /// Names and addresses in the API server's certificate.
    pub tls_sans: &'a [String],
    /// The cluster token.
    pub token: &'a str,
    /// The user's arguments.
    pub arguments: &'a ServerArguments,
}

/// The configuration of the one server of a shared cluster.
pub fn shared(inputs: &Inputs<'_>) -> ServerConfig {
    let mut disable: Vec<String> = DISABLED.map(str::to_owned).to_vec();
    disable
        .extend(inputs.arguments.disable.iter().filter(|name| !DISABLED.contains(&name.as_str())).cloned());
    ServerConfig {
        cluster_cidr: inputs.cluster_cidr.to_owned(),
        cluster_dns: inputs.cluster_dns.to_owned(),
        disable_agent: true,
        disable,
        egress_selector_mode: "disabled",
        service_cidr: inputs.service_cidr.to_owned(),
        tls_san: inputs.tls_sans.to_vec(),
        token: inputs.token.to_owned(),
    }
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
