//! Endpoints that tenants name themselves, for Services without a selector.
//!
//! Only addresses of the cluster's own pods are taken over. A host Service forwards whatever reaches it, also from outside and
//! from the nodes themselves, where no network policy of the cluster's pods applies. With an address of the tenant's choice it
//! would lead to what the tenant cannot reach otherwise: other tenants' pods, the nodes, a cloud's metadata (CVE-2021-25740).

use crate::{Origin, Owner, Refusal};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::IpAddr;

/// Label of an `EndpointSlice` that names its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of an `EndpointSlice` that names who keeps it.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who keeps the slices of Services that have a selector: Kubernetes' own controller.
pub const BY_SELECTOR: &str = "endpointslice-controller.k8s.io";

/// The addresses of a cluster's pods in the host, each with the host node that the pod runs on.
pub type PodAddresses = HashMap<IpAddr, Option<String>>;

/// The addresses of a host pod of the cluster. None once the pod has ended, when they may be another's, and none for a pod in
/// the network of its node, whose addresses are the node's.
pub fn addresses(host_pod: &Value) -> Vec<IpAddr> {
    let has_ended =
        matches!(host_pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
    if has_ended || host_pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return Vec::new();
    }
    let several = host_pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten();
    let several = several.filter_map(|entry| entry["ip"].as_str());
    let one = host_pod.pointer("/status/podIP").and_then(Value::as_str);
    several.chain(one).filter_map(|ip| ip.parse().ok()).collect()
}

/// The host slice for a nested one of a Service whose host copy is `service`, and what was left out of it. `None` for the slice
/// if nothing remains.
pub fn translate(
    owner: &Owner,
    nested: &Value,
    service: &str,
    pods: &PodAddresses,
) -> (Option<Value>, Vec<Refusal>) {
    let Some(origin) = Origin::of_nested(nested) else { return (None, Vec::new()) };
    let kind = nested["addressType"].as_str().unwrap_or_default();
    if !matches!(kind, "IPv4" | "IPv6") {
        let why = "only addresses of this cluster's pods are taken to the host, and these are names";
        return (None, vec![Refusal::new("addressType", why)]);
    }
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    for endpoint in nested["endpoints"].as_array().into_iter().flatten() {
        for address in endpoint["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            match address.parse::<IpAddr>().ok().and_then(|ip| pods.get(&ip)) {
                Some(node) => kept.push(one(address, endpoint, node.as_deref())),
                None => refused.push(Refusal::new(
                    address,
                    "this is not the address of a pod of this cluster, and only those are taken to the host; \
                     for a server outside use a Service of type ExternalName or one with clusterIP None",
                )),
            }
        }
    }
    if kept.is_empty() {
        return (None, refused);
    }
    let mut metadata = owner.metadata(&origin, None);
    let mut labels = owner.scope(&origin.namespace);
    labels.insert(SERVICE_NAME.into(), service.into());
    labels.insert(MANAGED_BY.into(), k3k_api::managers::KUBELET.into());
    metadata["labels"] = labels.into();
    let ports = nested["ports"].as_array().into_iter().flatten();
    let ports = ports.map(|port| only(port, &["name", "protocol", "port", "appProtocol"]));
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
        "addressType": kind, "endpoints": kept, "ports": ports.collect::<Vec<_>>(),
    });
    (Some(slice), refused)
}

/// Nodes, zones and hints of the nested cluster mean nothing in the host; the node that the pod really runs on is what traffic
/// policies go by.
fn one(address: &str, endpoint: &Value, node: Option<&str>) -> Value {
    let mut host = json!({"addresses": [address]});
    let conditions = only(&endpoint["conditions"], &["ready", "serving", "terminating"]);
    if conditions.as_object().is_some_and(|conditions| !conditions.is_empty()) {
        host["conditions"] = conditions;
    }
    if let Some(node) = node {
        host["nodeName"] = node.into();
    }
    host
}

fn only(object: &Value, fields: &[&str]) -> Value {
    let kept = fields.iter().filter(|field| !object[**field].is_null());
    kept.map(|field| ((*field).to_owned(), object[*field].clone())).collect::<Map<_, _>>().into()
}

/// Whether the host's slice says what `desired` says.
pub fn is_current(host: &Value, desired: &Value) -> bool {
    let labels = |slice: &Value| slice["metadata"]["labels"][SERVICE_NAME].clone();
    let ports = |slice: &Value| {
        let ports = slice["ports"].as_array().cloned().unwrap_or_default();
        ports
            .iter()
            .map(|port| {
                (
                    port["name"].as_str().unwrap_or_default().to_owned(),
                    port["protocol"].as_str().unwrap_or("TCP").to_owned(),
                    port["port"].clone(),
                    port["appProtocol"].clone(),
                )
            })
            .collect::<Vec<_>>()
    };
    host["endpoints"] == desired["endpoints"]
        && ports(host) == ports(desired)
        && labels(host) == labels(desired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn owner() -> Owner {
        Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() }
    }

    fn pods() -> PodAddresses {
        HashMap::from([("10.244.0.7".parse().unwrap(), Some("host-1".into()))])
    }

    fn slice(addresses: &[&str]) -> Value {
        let endpoints = addresses.iter().map(|ip| json!({
            "addresses": [ip], "conditions": {"ready": true}, "nodeName": "k3k-dev", "zone": "z", "hostname": "h",
            "targetRef": {"kind": "Pod", "name": "p"}, "hints": {"forZones": [{"name": "z"}]},
        }));
        json!({
            "metadata": {"name": "db-1", "namespace": "shop", "uid": "s", "labels": {SERVICE_NAME: "db", "x": "y"}},
            "addressType": "IPv4", "endpoints": endpoints.collect::<Vec<_>>(), "ports": [{"name": "", "port": 5432, "protocol": "TCP"}],
        })
    }

    #[test]
    fn addresses_of_own_pods_lead_there_from_the_hosts_service() {
        let (host, refused) = translate(&owner(), &slice(&["10.244.0.7"]), "db-in-host", &pods());
        let host = host.unwrap();
        assert_eq!(
            host["endpoints"],
            json!([{"addresses": ["10.244.0.7"], "conditions": {"ready": true}, "nodeName": "host-1"}])
        );
        assert_eq!(
            host["metadata"]["labels"],
            json!({"k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop", SERVICE_NAME: "db-in-host", MANAGED_BY: "k3k-kubelet"})
        );
        assert!(refused.is_empty() && is_current(&host, &host));
    }

    #[rstest]
    #[case("10.244.0.8")]
    #[case("169.254.169.254")]
    #[case("127.0.0.1")]
    #[case("10.96.0.1")]
    #[case("not an address")]
    fn nothing_else_does(#[case] address: &str) {
        let (host, refused) = translate(&owner(), &slice(&[address]), "db", &pods());
        assert_eq!((host, refused.len()), (None, 1));
        let (host, refused) = translate(&owner(), &slice(&["10.244.0.7", address]), "db", &pods());
        assert_eq!(host.unwrap()["endpoints"].as_array().unwrap().len(), 1, "the others go on");
        assert_eq!(refused[0].path, address);
    }

    #[test]
    fn names_are_not_addresses() {
        let mut named = slice(&["example.org"]);
        named["addressType"] = "FQDN".into();
        let (host, refused) = translate(&owner(), &named, "db", &pods());
        assert_eq!((host, refused[0].path.as_str()), (None, "addressType"));
    }

    #[rstest]
    #[case(json!({"status": {"podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}, {"ip": "fd00::7"}]}}), 3)]
    #[case(json!({"status": {"phase": "Succeeded", "podIP": "10.244.0.7"}}), 0)]
    #[case(json!({"spec": {"hostNetwork": true}, "status": {"podIP": "10.0.0.1"}}), 0)]
    #[case(json!({"status": {}}), 0)]
    fn a_pod_has_addresses_while_it_lives_in_its_own_network(#[case] pod: Value, #[case] count: usize) {
        assert_eq!(addresses(&pod).len(), count);
    }
}
