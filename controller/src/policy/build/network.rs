//! NetworkPolicies: whom pods of a namespace reach, and who reaches them.
//!
//! They add up, so the one for all pods says only what holds for all – pods of the namespace reach one another – and that
//! nothing else does. The others give more to some: tenants' pods and servers reach the internet, and virtual kubelets
//! the host's API, which no other pod of the namespace reaches.

use super::{Kind, Manifest, Owner};
use crate::cluster::build::service::SERVER_PORT;
use crate::policy::cidr::{Cidr, fewest};
use k3k_api::labels::{self, component};
use k3k_api::v1beta1::policy::{Egress, IngressFrom, Isolation};
use k3k_api::v1beta1::{Mode, VirtualClusterPolicySpec};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Part of the policy of tenants' pods.
pub const TENANTS: &str = "tenants";
/// Part of the policy of the nested API servers.
pub const SERVERS: &str = "servers";
/// Part of the policy of agents: tenants' pods are inside them.
pub const AGENTS: &str = "agents";
/// Part of the policy of the virtual kubelets.
pub const KUBELETS: &str = "kubelets";

/// Label that every Namespace has of its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Namespace of the host's DNS, and in K3s of what passes on requests to load balancers.
const SYSTEM: &str = "kube-system";
/// Where nodes keep what only they should reach: metadata services. A resolver may be there too.
const LINK_LOCAL_V4: &str = "169.254.0.0/16";
/// The same of IPv6, a well-known metadata service outside of it, and the way there by translation of addresses.
const LINK_LOCAL_V6: [&str; 3] = ["fe80::/10", "fd00:ec2::254/128", "64:ff9b::a9fe:0/112"];
/// Ports at which an API server may listen whose endpoints are not known.
const API_PORTS: [u16; 2] = [443, 6443];

/// Where the etcd of several servers serves clients.
const ETCD_PORT: u16 = 2379;

/// What is known of the host's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Ranges of pod addresses, of each node.
    pub pod_ranges: BTreeSet<Cidr>,
    /// Addresses of the nodes.
    pub nodes: BTreeSet<IpAddr>,
    /// Ranges of Service addresses.
    pub service_ranges: Vec<Cidr>,
    /// Where the host's API listens.
    pub api: BTreeSet<(IpAddr, u16)>,
    /// Namespace of the controller, which asks nested APIs whether they are ready.
    pub controller: String,
}

/// The ranges in `isolation.egressExcept`, or which of its texts are none.
pub fn excepted(spec: &VirtualClusterPolicySpec) -> Result<Vec<Cidr>, String> {
    let texts = isolation(spec).map(|isolation| isolation.egress_except.as_slice()).unwrap_or_default();
    let read = |(index, text): (usize, &String)| {
        text.parse().map_err(|error| format!("spec.network.isolation.egressExcept[{index}]: {error}"))
    };
    texts.iter().enumerate().map(read).collect()
}

/// Whether what the policy wants needs the ranges of pod addresses.
pub fn needs_pod_ranges(spec: &VirtualClusterPolicySpec) -> bool {
    let isolation = isolation(spec).cloned().unwrap_or_default();
    isolation.egress.unwrap_or_default() != Egress::Deny
        || isolation.ingress.unwrap_or_default() != IngressFrom::SameNamespace
}

fn isolation(spec: &VirtualClusterPolicySpec) -> Option<&Isolation> {
    spec.network.as_ref()?.isolation.as_ref()
}

/// The policies. None, if the policy does without.
pub fn policies(
    owner: &Owner,
    namespace: &str,
    spec: &VirtualClusterPolicySpec,
    around: &Surroundings,
) -> Vec<Manifest> {
    if spec.disable_network_policy() {
        return Vec::new();
    }
    let policy = |part: &str, pods: &Value, ingress: &[Value], egress: &[Value]| {
        let spec = json!({
            "podSelector": pods, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress,
        });
        Manifest::new(owner, namespace, Kind::NetworkPolicy, part, &spec)
    };
    let of = |part: &str| json!({ "matchLabels": { labels::COMPONENT: part } });
    let tenants = json!({ "matchExpressions": [{ "key": labels::COMPONENT, "operator": "DoesNotExist" }] });
    let same = json!({ "podSelector": {} });
    let isolation = isolation(spec).cloned().unwrap_or_default();

    let outwards = match isolation.egress.unwrap_or_default() {
        Egress::Internet => vec![resolvers(), internet(spec, around)],
        Egress::Deny => Vec::new(),
    };
    let outside = outside(around);
    let to_tenants = match isolation.ingress.unwrap_or_default() {
        IngressFrom::Outside => vec![json!({ "from": outside })],
        IngressFrom::SameNamespace => Vec::new(),
    };
    // The nested API knows who asks it. It is reached from outside where a Cluster exposes it.
    let to_servers =
        json!({ "from": outside, "ports": [port("TCP", u16::try_from(SERVER_PORT).unwrap_or(6443))] });
    // Several servers keep an etcd, whose members the controller looks after.
    let controller = json!({ "namespaceSelector": { "matchLabels": { NAMESPACE_NAME: around.controller } } });
    let to_etcd = json!({ "from": [controller], "ports": [port("TCP", ETCD_PORT)] });
    let mut policies = vec![
        policy("", &json!({}), &[json!({ "from": [same] })], &[json!({ "to": [same] })]),
        policy(TENANTS, &tenants, &to_tenants, &outwards),
        policy(SERVERS, &of(component::SERVER), &[to_servers, to_etcd], &outwards),
        policy(KUBELETS, &of(component::KUBELET), &[], &host_api(around)),
    ];
    if spec.allowed_mode() == Mode::Virtual {
        policies.push(policy(AGENTS, &of(component::AGENT), &[], &outwards));
    }
    policies
}

fn port(protocol: &str, number: u16) -> Value {
    json!({ "protocol": protocol, "port": number })
}

fn block(range: Cidr) -> Value {
    json!({ "ipBlock": { "cidr": range.to_string() } })
}

/// All addresses of both families, each without `except`. Kubernetes wants exceptions to be less than the whole.
fn all_but(except: &[Cidr]) -> Vec<Value> {
    let families = [Cidr::ALL_V4, Cidr::ALL_V6].into_iter().filter(|all| !except.contains(all));
    families
        .map(|all| {
            let except: Vec<String> =
                except.iter().filter(|range| all.contains(**range)).map(Cidr::to_string).collect();
            if except.is_empty() {
                return block(all);
            }
            json!({ "ipBlock": { "cidr": all.to_string(), "except": except } })
        })
        .collect()
}

/// The host's DNS, whether it is pods or a resolver on each node.
fn resolvers() -> Value {
    json!({
        "to": [
            {
                "namespaceSelector": { "matchLabels": { NAMESPACE_NAME: SYSTEM } },
                "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } },
            },
            { "ipBlock": { "cidr": LINK_LOCAL_V4 } },
        ],
        "ports": [port("UDP", 53), port("TCP", 53)],
    })
}

/// Everything but the host and what the policy excepts.
fn internet(spec: &VirtualClusterPolicySpec, around: &Surroundings) -> Value {
    let known = [LINK_LOCAL_V4].into_iter().chain(LINK_LOCAL_V6).filter_map(|text| text.parse().ok());
    // A text that cannot be read is told in a condition; the others hold.
    let wanted = isolation(spec).map(|isolation| isolation.egress_except.as_slice()).unwrap_or_default();
    let wanted = wanted.iter().filter_map(|text| text.parse().ok());
    let own =
        around.nodes.iter().chain(around.api.iter().map(|(address, _)| address)).copied().map(Cidr::single);
    let all = known.chain(wanted).chain(around.pod_ranges.iter().copied());
    let except = fewest(all.chain(around.service_ranges.iter().copied()).chain(own));
    json!({ "to": all_but(&except) })
}

/// Everybody who is not a pod of the host; nodes, which also speak for those whose requests they pass on; and the pods that
/// pass on what comes from outside.
fn outside(around: &Surroundings) -> Vec<Value> {
    let mut peers = all_but(&fewest(around.pod_ranges.iter().copied()));
    let own: BTreeSet<Cidr> = around.pod_ranges.iter().map(|range| range.first_two()).collect();
    peers.extend(own.into_iter().map(block));
    let names = BTreeSet::from([SYSTEM, around.controller.as_str()]);
    peers.push(json!({ "namespaceSelector": {
        "matchExpressions": [{ "key": NAMESPACE_NAME, "operator": "In", "values": names }],
    } }));
    peers.push(json!({ "namespaceSelector": { "matchLabels": { labels::GATEWAY: "true" } } }));
    peers
}

/// The host's API: at its endpoints, and at the address of its Service for networks that judge before they translate it.
fn host_api(around: &Surroundings) -> Vec<Value> {
    if around.api.is_empty() {
        // Nobody says where it is. A virtual kubelet is no tenant's program.
        let ports: Vec<Value> = API_PORTS.into_iter().map(|number| port("TCP", number)).collect();
        return vec![json!({ "to": all_but(&[]), "ports": ports })];
    }
    let service = around.service_ranges.iter().filter_map(|range| Some((range.second()?, 443)));
    let places: BTreeSet<(IpAddr, u16)> = around.api.iter().copied().chain(service).collect();
    let rule =
        |(address, number)| json!({ "to": [block(Cidr::single(address))], "ports": [port("TCP", number)] });
    places.into_iter().map(rule).collect()
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
