//! What workers need that join from outside: a token of their own, and addresses at which they find the API. Pure.

use super::certificates::Authorities;
use super::exposure::Exposure;
use super::{Manifest, Site, secret_data, token};
use crate::cluster::plan::Addresses;
use k3k_api::conditions::exposed_reason;
use k3k_api::labels::component;
use kube::api::DynamicObject;
use std::collections::BTreeMap;

/// The API server writes no endpoints of its own: they would name a pod of the host, which workers elsewhere cannot reach.
pub const NO_OWN_ENDPOINTS: &str = "--kube-apiserver-arg=endpoint-reconciler-type=none";
/// How many of the host's nodes are told, and named in the certificate. More are no safer.
const MOST_NODES: usize = 16;

/// The workers' secret: what is there, or a new one. It is not the servers', with which whoever is root on a worker could become one.
pub fn password(present: Option<&DynamicObject>) -> Result<String, getrandom::Error> {
    let token = present.and_then(|present| secret_data(present).remove(token::KEY));
    let password =
        token.as_deref().and_then(|token| token.trim().rsplit_once(':')).map(|(_, password)| password);
    match password {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => token::generate(),
    }
}

/// The Secret with the token as a worker gives it to k3s: it names the cluster's authority, so that no other server is trusted.
pub fn secret(site: &Site, authorities: &Authorities, password: &str) -> Manifest {
    let token = token::joining(authorities.server.certificate_pem(), password);
    let data = BTreeMap::from([(token::KEY.to_owned(), token)]);
    Manifest::secret(site, site.names().agent_config(), component::AGENT, &data)
}

/// Where workers are told that the API is: what the Service `kubernetes` inside leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Addresses, or a name.
    pub hosts: Vec<String>,
    /// Port at each.
    pub port: u16,
}

/// Where the API is for workers. `nodes` are the addresses of the host's nodes that can be used. What is not exposed is reached in the
/// host alone.
pub fn advertised(exposure: &Exposure, nodes: &[String], addresses: &Addresses) -> Advertised {
    match exposure {
        Exposure::At { reason, host, port } => {
            let mut hosts = vec![host.clone()];
            // A node port is open on every node, and any of them may go away.
            if *reason == exposed_reason::NODE_PORT {
                hosts.extend(nodes.iter().filter(|node| *node != host).take(MOST_NODES - 1).cloned());
            }
            Advertised { hosts, port: *port }
        }
        Exposure::Inside | Exposure::Pending { .. } => {
            Advertised { hosts: vec![addresses.api.to_string()], port: addresses.api_port }
        }
    }
}

/// Names for the API server's certificate: workers verify the address that they were told, and cannot be told another name. `nodes`
/// are the addresses of all nodes of the host, so that one that is away for a while changes nothing.
pub fn names(exposure: &Exposure, nodes: &[String]) -> Vec<String> {
    let Exposure::At { reason, host, .. } = exposure else { return Vec::new() };
    let mut names = vec![host.clone()];
    if *reason == exposed_reason::NODE_PORT {
        names.extend(nodes.iter().take(MOST_NODES).cloned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::certificates::generate;
    use super::*;
    use serde_json::json;
    use std::net::{IpAddr, Ipv4Addr};

    const ADDRESSES: Addresses =
        Addresses { api: IpAddr::V4(Ipv4Addr::new(10, 43, 0, 5)), api_port: 443, shown: None };

    fn site() -> Site {
        Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() }
    }

    fn at(reason: &'static str, host: &str, port: u16) -> Exposure {
        Exposure::At { reason, host: host.into(), port }
    }

    fn owned(hosts: &[&str]) -> Vec<String> {
        hosts.iter().map(|host| (*host).to_owned()).collect()
    }

    #[test]
    fn a_node_port_is_told_at_every_node_and_that_of_the_url_first() {
        let nodes = owned(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        let exposure = at(exposed_reason::NODE_PORT, "192.0.2.2", 31234);
        let told = advertised(&exposure, &nodes, &ADDRESSES);
        assert_eq!(told, Advertised { hosts: owned(&["192.0.2.2", "192.0.2.1", "192.0.2.3"]), port: 31234 });
        assert_eq!(names(&exposure, &nodes), ["192.0.2.2", "192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    }

    #[test]
    fn what_else_is_exposed_has_one_address_and_what_is_not_has_the_hosts() {
        let nodes = owned(&["192.0.2.1"]);
        let exposure = at(exposed_reason::INGRESS, "api.example.com", 443);
        let told = advertised(&exposure, &nodes, &ADDRESSES);
        assert_eq!(told, Advertised { hosts: owned(&["api.example.com"]), port: 443 });
        assert_eq!(names(&exposure, &nodes), ["api.example.com"]);
        let told = advertised(&Exposure::Inside, &nodes, &ADDRESSES);
        assert_eq!(told, Advertised { hosts: owned(&["10.43.0.5"]), port: 443 });
        assert!(names(&Exposure::Inside, &nodes).is_empty());
    }

    #[test]
    fn the_workers_secret_stays_while_its_token_is_there() {
        let authorities = Authorities::read(&generate("dev").unwrap()).unwrap();
        let made = password(None).unwrap();
        let secret = secret(&site(), &authorities, &made).object;
        let present: DynamicObject = serde_json::from_value(secret).unwrap();
        let token = secret_data(&present).remove(token::KEY).unwrap();
        assert!(token.starts_with("K10") && token.ends_with(&format!("::node:{made}")), "{token}");
        assert_eq!(password(Some(&present)).unwrap(), made);
        let empty: DynamicObject =
            serde_json::from_value(json!({ "metadata": {}, "data": { "token": "" } })).unwrap();
        assert_eq!(password(Some(&empty)).unwrap().len(), 32);
    }
}
