//! How the nested API is reached: from inside the host always, from outside as `spec.expose` says. Pure.

use super::{Site, service};
use k3k_api::conditions::exposed_reason as reason;
use k3k_api::v1beta1::{ClusterSpec, Expose, LoadBalancerExposure, NodePortExposure};
use kube::api::DynamicObject;
use serde_json::Value;
use std::net::IpAddr;

/// Node ports that hosts hand out.
const NODE_PORTS: std::ops::RangeInclusive<i32> = 30_000..=32_767;
/// The port of HTTPS, which URLs leave out.
const HTTPS: u16 = 443;

/// What `spec.expose` asks for. Ports that upstream calls "not exposed" are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Reachable inside the host only.
    Inside,
    /// At each node of the host, at this port or one that the host chooses.
    NodePort(Option<i32>),
    /// At a load balancer, at this port.
    LoadBalancer(u16),
    /// By names, through an Ingress that passes TLS on. The first is the one of the URL.
    Ingress(Vec<String>),
}

impl Wanted {
    /// Reads the spec.
    pub fn of(spec: &ClusterSpec) -> Self {
        match spec.expose.as_ref() {
            Some(Expose { ingress: Some(_), .. }) => Self::Ingress(names(&spec.tls_sans)),
            Some(Expose { node_port: Some(NodePortExposure { server_port, .. }), .. }) => {
                Self::NodePort(server_port.filter(|port| NODE_PORTS.contains(port)))
            }
            Some(Expose { load_balancer: Some(LoadBalancerExposure { server_port, .. }), .. }) => {
                match server_port.map(u16::try_from) {
                    None => Self::LoadBalancer(HTTPS),
                    Some(Ok(port)) if port > 0 => Self::LoadBalancer(port),
                    Some(_) => Self::Inside,
                }
            }
            _ => Self::Inside,
        }
    }
}

/// The DNS names among the names of the API server, those without a wildcard first.
fn names(sans: &[String]) -> Vec<String> {
    let (wild, plain): (Vec<_>, Vec<_>) = sans
        .iter()
        .filter(|name| !name.is_empty() && name.parse::<IpAddr>().is_err())
        .cloned()
        .partition(|name| name.starts_with('*'));
    plain.into_iter().chain(wild).collect()
}

/// Where the API is reached from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Nowhere, as the spec wants it.
    Inside,
    /// At this host, an address or a name, and port.
    At {
        /// How: a reason of the condition `Exposed`.
        reason: &'static str,
        /// Address or name.
        host: String,
        /// Port.
        port: u16,
    },
    /// Not yet.
    Pending {
        /// A reason of the condition `Exposed`.
        reason: &'static str,
        /// What is waited for, for people.
        message: String,
    },
}

/// Reads where the API is reached from its Service as it is in the host. `addresses` are those of the host's nodes that
/// can be used, and `before` is the URL that was told last: an address that still holds is kept.
pub fn of(
    site: &Site,
    wanted: &Wanted,
    service: Option<&DynamicObject>,
    addresses: &[String],
    before: Option<&str>,
) -> Exposure {
    let pending = |reason, message| Exposure::Pending { reason, message };
    let spec = service.map_or(&Value::Null, |service| &service.data["spec"]);
    match wanted {
        Wanted::Inside => Exposure::Inside,
        Wanted::Ingress(names) => match names.first().filter(|name| !name.starts_with('*')) {
            Some(name) => Exposure::At { reason: reason::INGRESS, host: name.clone(), port: HTTPS },
            None => pending(
                reason::NAME_MISSING,
                "spec.tlsSANs has no DNS name without a wildcard: the kubeconfig leads to the address inside the host"
                    .to_owned(),
            ),
        },
        Wanted::NodePort(_) => {
            let kept = addresses.iter().find(|address| before.is_some_and(|url| leads_to(url, address)));
            match (port(spec, service::API_PORT_NAME, "nodePort"), kept.or(addresses.first())) {
                (Some(port), Some(host)) => Exposure::At { reason: reason::NODE_PORT, host: host.clone(), port },
                (None, _) => {
                    pending(reason::PORT_PENDING, "the host has not given the Service a node port yet".to_owned())
                }
                (_, None) => {
                    pending(reason::ADDRESS_PENDING, "no node of the host is ready and has an address".to_owned())
                }
            }
        }
        Wanted::LoadBalancer(port) => {
            let given = service.map_or(&Value::Null, |service| &service.data["status"]["loadBalancer"]["ingress"][0]);
            let host = given["ip"].as_str().or(given["hostname"].as_str()).filter(|host| !host.is_empty());
            if let Some(host) = host {
                Exposure::At { reason: reason::LOAD_BALANCER, host: host.to_owned(), port: *port }
            } else {
                    let name = site.names().service();
                    let message = format!(
                        "the Service {name:?} waits for the address of a load balancer, which something in the host must \
                         provide; see: kubectl -n {} describe service {name}",
                        site.namespace
                    );
                    pending(reason::ADDRESS_PENDING, message)
            }
        }
    }
}

/// A port of the Service, by its name.
fn port(spec: &Value, name: &str, field: &str) -> Option<u16> {
    let ports = spec["ports"].as_array()?;
    let port = ports.iter().find(|port| port["name"] == name)?;
    u16::try_from(port[field].as_u64()?).ok().filter(|port| *port > 0)
}

fn leads_to(url: &str, address: &str) -> bool {
    url.strip_prefix(&format!("https://{}", bracketed(address)))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// The URL of an API server.
pub fn url(host: &str, port: u16) -> String {
    match port {
        HTTPS => format!("https://{}", bracketed(host)),
        port => format!("https://{}:{port}", bracketed(host)),
    }
}

/// An address as it is written in a URL.
fn bracketed(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
#[path = "exposure_tests.rs"]
mod tests;
