//! What the host shall hold for a cluster. Pure, but for the keys of new certificates.
//!
//! Two steps, because the host gives Services their addresses and certificates and configurations contain them.

use super::apply::Live;
use super::build::{
    Kind, Manifest, Site, config, disruption, hash, kubeconfig, kubelet, nodes, policy, server, service,
};
use super::credentials::Credentials;
use super::error::Error;
use super::observe::Observed;
use super::validate::Accepted;
use crate::args::Images;
use jiff::Timestamp;
use k3k_api::v1beta1::ClusterSpec;
use std::net::IpAddr;

/// The servers of a cluster, as they shall be now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Servers {
    /// How many.
    pub replicas: u32,
    /// They keep an etcd, not a file of one server's.
    pub etcd: bool,
    /// The etcd that was begun. From then on no server begins another, whatever is on its disk.
    pub cluster_id: Option<String>,
}

impl Servers {
    /// One, which stores in a file of its own.
    pub fn single() -> Self {
        Self { replicas: 1, etcd: false, cluster_id: None }
    }

    /// Whether the first of them may begin an etcd.
    pub fn may_begin(&self) -> bool {
        self.etcd && self.cluster_id.is_none() && self.replicas <= 1
    }
}

/// What does not depend on addresses.
pub fn foundation(site: &Site, spec: &ClusterSpec, servers: &Servers) -> Vec<Manifest> {
    let budget = servers.etcd.then(|| disruption::budget(site, servers.replicas));
    let others = [
        service::api(site, spec.expose.as_ref(), servers),
        service::kubelet(site),
        service::dns(site),
        service::headless(site),
        kubelet::service_account(site),
        kubelet::role_binding(site),
    ];
    others.into_iter().chain(budget).collect()
}

/// Addresses that the host gave the cluster's Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The nested API.
    pub api: IpAddr,
    /// Its port there.
    pub api_port: u16,
    /// The virtual kubelet.
    pub kubelet: IpAddr,
    /// Nested DNS.
    pub dns: IpAddr,
}

impl Addresses {
    /// Reads them from the Services as the host returned them.
    pub fn read(site: &Site, live: &Live) -> Result<Self, Error> {
        let names = site.names();
        let address = |name: String| {
            let service = live.get(Kind::Service, &name);
            let address =
                service.and_then(|service| service.data["spec"]["clusterIP"].as_str()?.parse().ok());
            address.ok_or(Error::NoAddress(name))
        };
        let port = live.get(Kind::Service, &names.service()).and_then(|service| {
            let ports = service.data["spec"]["ports"].as_array()?;
            let api = ports.iter().find(|port| port["name"] == service::API_PORT_NAME)?;
            u16::try_from(api["port"].as_u64()?).ok()
        });
        Ok(Self {
            api: address(names.service())?,
            api_port: port.unwrap_or(443),
            kubelet: address(names.kubelet())?,
            dns: address(names.dns_service())?,
        })
    }

    /// URL of the nested API inside the host.
    pub fn endpoint(&self) -> String {
        let host = match self.api {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        match self.api_port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        }
    }
}

/// What [`workload`] decided.
#[derive(Debug)]
pub struct Workload {
    /// What pods mount: to be there before them.
    pub configuration: Vec<Manifest>,
    /// What runs pods.
    pub runners: Vec<Manifest>,
    /// Address of nested DNS.
    pub cluster_dns: String,
    /// Names and addresses in the API server's certificate.
    pub tls_sans: Vec<String>,
    /// Where the nested API server asks about pods.
    pub admission: String,
}

/// Everything a workload is made of.
pub struct Inputs<'a> {
    /// Where objects belong.
    pub site: &'a Site,
    /// The Cluster's spec.
    pub spec: &'a ClusterSpec,
    /// What follows from it.
    pub accepted: &'a Accepted,
    /// What is there.
    pub observed: &'a Observed,
    /// Addresses of the Services.
    pub addresses: &'a Addresses,
    /// The cluster's authorities and token.
    pub credentials: &'a Credentials,
    /// Where images come from.
    pub images: &'a Images,
    /// Pods of the virtual kubelet.
    pub kubelet_replicas: u16,
    /// The servers.
    pub servers: &'a Servers,
    /// Now, for certificates that are about to expire.
    pub now: Timestamp,
}

/// Configurations and what runs with them.
pub fn workload(inputs: &Inputs<'_>) -> Result<Workload, Error> {
    let Inputs { site, spec, accepted, observed, addresses, credentials, .. } = *inputs;
    let authorities = &credentials.authorities;
    let names = site.names();
    let cluster_dns = spec.cluster_dns.clone().unwrap_or_else(|| addresses.dns.to_string());
    let mut tls_sans =
        config::tls_sans(site, &spec.tls_sans, &accepted.arguments, &addresses.api.to_string());
    if inputs.servers.etcd {
        // etcd's members show these names to one another.
        tls_sans.insert(0, format!("*.{}", service::headless_domain(site)));
    }
    let endpoint = addresses.endpoint();

    let server_config = config::shared(&config::Inputs {
        cluster_cidr: &accepted.cluster_cidr,
        service_cidr: &accepted.service_cidr,
        cluster_dns: &cluster_dns,
        tls_sans: &tls_sans,
        token: &credentials.token,
        arguments: &accepted.arguments,
    });
    let secret = |config: &config::ServerConfig| {
        config::secret(site, config).map_err(|error| build(Kind::Secret, &names.init_server_config(), &error))
    };
    let (config_secret, config_hash) = if inputs.servers.etcd {
        let token = config::full_token(&credentials.token, authorities.server.certificate_pem());
        let joining = secret(&server_config.clone().joining(&endpoint, token))?;
        // To have begun is no reason to start anew.
        let config_hash = hash(joining.object["data"].to_string().as_bytes());
        let begins = inputs.servers.may_begin();
        (if begins { secret(&server_config.beginning())? } else { joining }, config_hash)
    } else {
        let config_secret = secret(&server_config)?;
        let config_hash = hash(config_secret.object["data"].to_string().as_bytes());
        (config_secret, config_hash)
    };

    let kubeconfig =
        kubeconfig::Inputs { endpoint: &endpoint, server_ca: authorities.server.certificate_pem() };
    let present = observed.live.get(Kind::Secret, &names.kubeconfig());
    let kubeconfig = kubeconfig::secret(site, &kubeconfig, &authorities.client, present, inputs.now)
        .map_err(|error| build(Kind::Secret, &names.kubeconfig(), &error))?;

    let agent_config = kubelet::Config {
        cluster_name: site.name.clone(),
        cluster_namespace: site.namespace.clone(),
        cluster_uid: site.uid.clone(),
        node_name: names.node(),
        node_ip: addresses.kubelet,
        kubelet_port: service::KUBELET_PORT,
        server_ip: addresses.api,
        dns_ip: cluster_dns.clone(),
        cluster_domain: kubelet::CLUSTER_DOMAIN.to_owned(),
        version: accepted.version.clone(),
        capacity: observed.capacity.clone(),
        mirror_host_nodes: spec.mirror_host_nodes(),
        node_selector: kubelet::node_selector(spec, observed.policy.as_ref()),
        sync: observed.sync(spec),
        offered: observed.offered.clone(),
    };
    let present = observed.live.get(Kind::Secret, &names.agent_config());
    let agent_secret = |error: &dyn std::error::Error| build(Kind::Secret, &names.agent_config(), error);
    let key = kubelet::admission_key(present).map_err(|error| agent_secret(&error))?;
    let agent_secret = kubelet::secret(site, &agent_config, authorities, &key, present, inputs.now)
        .map_err(|error| agent_secret(&error))?;

    let policy = observed.policy.as_ref();
    let server = server::stateful_set(
        site,
        &server::Inputs {
            spec,
            policy,
            images: inputs.images,
            version: &accepted.version,
            arguments: &accepted.arguments.command_line,
            config_hash: &config_hash,
            servers: inputs.servers,
        },
    );
    let kubelet = kubelet::deployment(
        site,
        &kubelet::Inputs {
            spec,
            policy,
            images: inputs.images,
            replicas: inputs.kubelet_replicas,
            config_hash: &agent_config.hash(),
        },
    );
    let told = policy::config_map(site, &observed.told_policy(&site.name));
    let mut configuration = vec![config_secret, agent_secret, kubeconfig, told];
    if spec.mirror_host_nodes() {
        configuration.push(nodes::config_map(site, &observed.nodes));
    }
    let admission = kubelet::admission_url(addresses.kubelet, &key);
    Ok(Workload { configuration, runners: vec![server, kubelet], cluster_dns, tls_sans, admission })
}

fn build(kind: Kind, name: &str, error: &dyn std::error::Error) -> Error {
    Error::Build { what: format!("{kind} {name:?}"), message: error.to_string() }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
