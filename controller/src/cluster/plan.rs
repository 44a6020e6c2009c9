//! What the host shall hold for a cluster. Pure, but for the keys of new certificates.
//!
//! Two steps, because the host gives Services their addresses and certificates and configurations contain them.

use super::apply::Live;
use super::build::exposure::{self, Exposure, Wanted};
use super::build::mode::Nodes;
use super::build::outside::{self, Advertised};
use super::build::{
    Kind, Manifest, Site, agent, config, disruption, hash, ingress, kubeconfig, kubelet, nodes, policy,
    server, service,
};
use super::credentials::Credentials;
use super::error::Error;
use super::observe::Observed;
use super::pause::{Running, Step};
use super::upgrade::Course;
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
    let wanted = Wanted::of(spec);
    let expose = spec.expose.clone().unwrap_or_default();
    let mut foundation =
        vec![service::api(site, &wanted, &expose.annotations, servers), service::headless(site)];
    if Nodes::of(spec.mode()).are_shown() {
        foundation.extend([
            service::kubelet(site),
            service::dns(site),
            kubelet::service_account(site),
            kubelet::role_binding(site),
        ]);
    }
    if let (Wanted::Ingress(names), Some(ingress)) = (&wanted, &expose.ingress) {
        foundation.push(ingress::api(site, ingress, names));
    }
    foundation.extend(servers.etcd.then(|| disruption::budget(site, servers.replicas)));
    foundation
}

/// What the cluster does not want any more, if it is there.
pub fn unwanted(site: &Site, spec: &ClusterSpec) -> Option<(Kind, String)> {
    let has_ingress = matches!(Wanted::of(spec), Wanted::Ingress(_));
    (!has_ingress).then(|| (Kind::Ingress, site.names().ingress()))
}

/// Addresses that the host gave the cluster's Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The nested API.
    pub api: IpAddr,
    /// Its port there.
    pub api_port: u16,
    /// What only a cluster with a virtual kubelet has.
    pub shown: Option<Shown>,
}

/// Addresses in the host of what elsewhere is inside the nested cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The virtual kubelet.
    pub kubelet: IpAddr,
    /// Nested DNS.
    pub dns: IpAddr,
}

impl Addresses {
    /// Reads them from the Services as the host returned them.
    pub fn read(site: &Site, nodes: Nodes, live: &Live) -> Result<Self, Error> {
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
        let shown = || Ok(Shown { kubelet: address(names.kubelet())?, dns: address(names.dns_service())? });
        Ok(Self {
            api: address(names.service())?,
            api_port: port.unwrap_or(443),
            shown: nodes.are_shown().then(shown).transpose()?,
        })
    }

    /// URL of the nested API inside the host.
    pub fn endpoint(&self) -> String {
        exposure::url(&self.api.to_string(), self.api_port)
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
    /// Where the nested API server asks about pods: a virtual kubelet.
    pub admission: Option<String>,
    /// Where workers outside are told that the API is, if there are such.
    pub advertised: Option<Advertised>,
    /// URL of the API in the kubeconfig.
    pub endpoint: String,
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
    /// Where the API is reached from outside.
    pub exposure: &'a Exposure,
    /// The cluster's authorities and token.
    pub credentials: &'a Credentials,
    /// Where images come from.
    pub images: &'a Images,
    /// Pods of the virtual kubelet.
    pub kubelet_replicas: u16,
    /// The servers.
    pub servers: &'a Servers,
    /// What they and all others run.
    pub course: &'a Course,
    /// Which parts run, and what the virtual kubelet is told of the last pause.
    pub pause: &'a Step,
    /// Now, for certificates that are about to expire.
    pub now: Timestamp,
}

/// Configurations and what runs with them.
pub fn workload(inputs: &Inputs<'_>) -> Result<Workload, Error> {
    let Inputs { site, spec, accepted, observed, addresses, credentials, .. } = *inputs;
    let authorities = &credentials.authorities;
    let names = site.names();
    let dns_in_host = addresses.shown.map(|shown| shown.dns.to_string());
    let cluster_dns = spec.cluster_dns.clone().or(dns_in_host).or_else(|| accepted.cluster_dns.clone());
    let cluster_dns = cluster_dns.unwrap_or_default();
    let mut tls_sans =
        config::tls_sans(site, &spec.tls_sans, &accepted.server_arguments, &addresses.api.to_string());
    if inputs.servers.etcd {
        // etcd's members show these names to one another.
        tls_sans.insert(0, format!("*.{}", service::headless_domain(site)));
    }

    let outside = Nodes::of(spec.mode()).are_outside().then(|| outside_workers(inputs)).transpose()?;
    if outside.is_some() {
        tls_sans.extend(outside::names(inputs.exposure, &observed.all_node_addresses));
        tls_sans.sort();
        tls_sans.dedup();
    }

    let server_config = config::server(&config::Inputs {
        agent_token: outside.as_ref().map(|(password, _)| password.as_str()),
        nodes: Nodes::of(spec.mode()),
        cluster_cidr: &accepted.cluster_cidr,
        service_cidr: &accepted.service_cidr,
        cluster_dns: &cluster_dns,
        tls_sans: &tls_sans,
        token: &credentials.token,
        arguments: &accepted.server_arguments,
    });
    let secret = |config: &config::ServerConfig| {
        config::secret(site, config).map_err(|error| build(Kind::Secret, &names.init_server_config(), &error))
    };
    let (config_secret, config_hash) = if inputs.servers.etcd {
        let token = config::full_token(&credentials.token, authorities.server.certificate_pem());
        let joining = secret(&server_config.clone().joining(&addresses.endpoint(), token))?;
        // To have begun is no reason to start anew.
        let config_hash = hash(joining.object["data"].to_string().as_bytes());
        let begins = inputs.servers.may_begin();
        (if begins { secret(&server_config.beginning())? } else { joining }, config_hash)
    } else {
        let config_secret = secret(&server_config)?;
        let config_hash = hash(config_secret.object["data"].to_string().as_bytes());
        (config_secret, config_hash)
    };

    let (endpoint, tls_server_name) = match inputs.exposure {
        Exposure::At { host, port, .. } => {
            // An address that comes and goes is not put into the certificate: for that the server would have to start anew.
            let is_in_certificate = tls_sans.iter().any(|name| names_host(name, host));
            (exposure::url(host, *port), (!is_in_certificate).then(|| names.service()))
        }
        Exposure::Inside | Exposure::Pending { .. } => (addresses.endpoint(), None),
    };
    let kubeconfig = kubeconfig::Inputs {
        endpoint: &endpoint,
        tls_server_name: tls_server_name.as_deref(),
        server_ca: authorities.server.certificate_pem(),
    };
    let present = observed.live.get(Kind::Secret, &names.kubeconfig());
    let kubeconfig = kubeconfig::secret(site, &kubeconfig, &authorities.client, present, inputs.now)
        .map_err(|error| build(Kind::Secret, &names.kubeconfig(), &error))?;

    let server = server::stateful_set(
        site,
        &server::Inputs {
            spec,
            policy: observed.policy.as_ref(),
            images: inputs.images,
            version: &inputs.course.servers,
            partition: inputs.course.partition,
            arguments: &accepted.server_arguments.command_line,
            config_hash: &config_hash,
            servers: inputs.servers,
            paused: inputs.pause.running == Running::Nothing,
        },
    );
    let mut workload = Workload {
        configuration: vec![config_secret, kubeconfig],
        runners: vec![server],
        cluster_dns,
        tls_sans,
        admission: None,
        advertised: None,
        endpoint,
    };
    if let Some((_, secret)) = outside {
        workload.advertised = Some(outside::advertised(inputs.exposure, &observed.node_addresses, addresses));
        workload.configuration.push(secret);
    }
    if let Some(shown) = addresses.shown {
        add_virtual_kubelet(inputs, shown, &mut workload)?;
    }
    if Nodes::of(spec.mode()).are_pods() {
        add_agents(inputs, &mut workload)?;
    }
    Ok(workload)
}

fn add_virtual_kubelet(inputs: &Inputs<'_>, shown: Shown, workload: &mut Workload) -> Result<(), Error> {
    let Inputs { site, spec, observed, addresses, credentials, .. } = *inputs;
    let names = site.names();
    let policy = observed.policy.as_ref();
    let config = kubelet::Config {
        cluster_name: site.name.clone(),
        cluster_namespace: site.namespace.clone(),
        cluster_uid: site.uid.clone(),
        node_name: names.node(),
        node_ip: shown.kubelet,
        kubelet_port: service::KUBELET_PORT,
        server_ip: addresses.api,
        dns_ip: workload.cluster_dns.clone(),
        cluster_domain: kubelet::CLUSTER_DOMAIN.to_owned(),
        version: inputs.course.agents.clone(),
        capacity: observed.capacity.clone(),
        mirror_host_nodes: spec.mirror_host_nodes(),
        node_selector: kubelet::node_selector(spec, policy),
        sync: observed.sync(spec),
        offered: observed.offered.clone(),
        stopped_until: inputs.pause.stopped_until.clone(),
    };
    let present = observed.live.get(Kind::Secret, &names.agent_config());
    let failed = |error: &dyn std::error::Error| build(Kind::Secret, &names.agent_config(), error);
    let key = kubelet::admission_key(present).map_err(|error| failed(&error))?;
    let authorities = &credentials.authorities;
    let secret = kubelet::secret(site, &config, authorities, &key, present, inputs.now)
        .map_err(|error| failed(&error))?;
    let told = policy::config_map(site, &observed.told_policy(&site.name));
    workload.configuration.extend([secret, told]);
    if spec.mirror_host_nodes() {
        workload.configuration.push(nodes::config_map(site, &observed.nodes));
    }
    workload.runners.push(kubelet::deployment(
        site,
        &kubelet::Inputs {
            spec,
            policy,
            images: inputs.images,
            replicas: if inputs.pause.running == Running::All { inputs.kubelet_replicas } else { 0 },
            config_hash: &config.hash(),
        },
    ));
    workload.admission = Some(kubelet::admission_url(shown.kubelet, &key));
    Ok(())
}

/// The secret of workers outside, and the Secret with their token.
fn outside_workers(inputs: &Inputs<'_>) -> Result<(String, Manifest), Error> {
    let name = inputs.site.names().agent_config();
    let present = inputs.observed.live.get(Kind::Secret, &name);
    let password = outside::password(present).map_err(|error| build(Kind::Secret, &name, &error))?;
    let secret = outside::secret(inputs.site, &inputs.credentials.authorities, &password);
    Ok((password, secret))
}

fn add_agents(inputs: &Inputs<'_>, workload: &mut Workload) -> Result<(), Error> {
    let Inputs { site, spec, accepted, observed, addresses, credentials, .. } = *inputs;
    let name = site.names().agent_config();
    let present = observed.live.get(Kind::Secret, &name);
    let password = agent::password(present).map_err(|error| build(Kind::Secret, &name, &error))?;
    let config = agent::config(&addresses.endpoint(), &credentials.authorities, &credentials.token);
    let secret = agent::secret(site, &config, &password);
    let secret = secret.map_err(|error| build(Kind::Secret, &name, &error))?;
    let config_hash = hash(secret.object["data"].to_string().as_bytes());
    workload.configuration.push(secret);
    workload.runners.push(agent::stateful_set(
        site,
        &agent::Inputs {
            spec,
            policy: observed.policy.as_ref(),
            images: inputs.images,
            version: &inputs.course.agents,
            arguments: &accepted.agent_arguments,
            config_hash: &config_hash,
            paused: inputs.pause.running == Running::Nothing,
        },
    ));
    Ok(())
}

/// Whether a name of a certificate, which may have a wildcard for its first label, is that of `host`.
fn names_host(name: &str, host: &str) -> bool {
    let wild = name.strip_prefix("*.").zip(host.split_once('.'));
    name.eq_ignore_ascii_case(host)
        || wild.is_some_and(|(parent, (_, rest))| parent.eq_ignore_ascii_case(rest))
}

fn build(kind: Kind, name: &str, error: &dyn std::error::Error) -> Error {
    Error::Build { what: format!("{kind} {name:?}"), message: error.to_string() }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
