//! The virtual node: what it looks like, and its sign of life.

mod heartbeat;
mod mirrored;

pub use heartbeat::{Error, Heartbeat};
pub use mirrored::Mirrored;

use crate::config::Config;
use k3k_api::version::K3sVersion;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The Node as it is created: identity only. Its status is written separately.
pub fn node(config: &Config) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": config.node_name,
            "labels": {
                "kubernetes.io/arch": architecture(),
                "kubernetes.io/hostname": config.node_name,
                "kubernetes.io/os": "linux",
                "node-role.kubernetes.io/worker": "true",
                // No load balancer can send traffic to it: it is not a machine.
                "node.kubernetes.io/exclude-from-external-load-balancers": "true",
                "type": "virtual-kubelet",
            },
        },
    })
}

/// The status of the Node. `since` is when we started, `now` when this is said; both RFC 3339.
///
/// Its internal address is where the virtual kubelet answers, which clients of kubelets expect there. Node ports are open on the nodes of
/// the host, of which one is shown as the external address.
pub fn status(config: &Config, host_ip: Option<IpAddr>, since: &str, now: &str) -> Value {
    let mut addresses = vec![
        json!({"type": "InternalIP", "address": config.node_ip.to_string()}),
        json!({"type": "Hostname", "address": config.node_name}),
    ];
    addresses.extend(host_ip.map(|ip| json!({"type": "ExternalIP", "address": ip.to_string()})));
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since, "lastHeartbeatTime": now,
        })
    };
    let resources = resources(&config.capacity);
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": config.node_name}, "status": {
        "addresses": addresses,
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "the host's nodes are watched by their own kubelets"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "the host's nodes are watched by their own kubelets"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "the host's nodes are watched by their own kubelets"),
            condition("NetworkUnavailable", "False", "HostNetwork", "pods use the network of the host cluster"),
            condition("Ready", "True", "KubeletReady", "the virtual kubelet runs pods in the host cluster"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.kubelet_port}},
        "nodeInfo": runtime(architecture(), &config.version),
    }})
}

/// Amounts as JSON.
fn resources<Q: serde::Serialize>(amounts: &BTreeMap<String, Q>) -> Value {
    json!(amounts)
}

/// What a node says of its software: ours, nothing of the host's.
fn runtime(architecture: &str, version: &str) -> Value {
    // Clients compare it as a version, by which the spelling of an image tag would be a pre-release.
    let version =
        version.parse().map_or_else(|_| version.to_owned(), |version: K3sVersion| version.to_string());
    json!({
        "architecture": architecture, "operatingSystem": "linux", "osImage": "k3k virtual node",
        "kernelVersion": "", "bootID": "", "machineID": "", "systemUUID": "", "kubeProxyVersion": "",
        "containerRuntimeVersion": format!("k3k://{}", env!("CARGO_PKG_VERSION")),
        "kubeletVersion": version,
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Node;

    pub(super) fn config() -> Config {
        Config {
            cluster_name: "dev".into(),
            cluster_namespace: "k3k-dev".into(),
            cluster_uid: "u".into(),
            node_name: "k3k-dev".into(),
            node_ip: "10.96.3.3".parse().unwrap(),
            kubelet_port: 10250,
            server_ip: "10.96.1.1".parse().unwrap(),
            dns_ip: "10.96.2.2".parse().unwrap(),
            cluster_domain: "cluster.local".into(),
            version: "v1.36.3-k3s1".into(),
            capacity: [("cpu".to_owned(), "2".to_owned())].into(),
            mirror_host_nodes: false,
            node_selector: BTreeMap::new(),
            sync: k3k_api::v1beta1::SyncConfig::default(),
            offered: k3k_api::offered::Offered::default(),
            stopped_until: None,
        }
    }

    #[test]
    fn the_node_is_one_that_kubernetes_accepts() {
        let config = config();
        let whole: Node = serde_json::from_value(status(
            &config,
            Some("10.10.0.2".parse().unwrap()),
            "2026-01-01T00:00:00Z",
            "2026-01-02T00:00:00Z",
        ))
        .unwrap();
        let status = whole.status.unwrap();
        assert_eq!(status.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port, 10250);
        let addresses: Vec<_> =
            status.addresses.iter().flatten().map(|it| (&*it.type_, &*it.address)).collect();
        assert_eq!(
            addresses,
            [("InternalIP", "10.96.3.3"), ("Hostname", "k3k-dev"), ("ExternalIP", "10.10.0.2")]
        );
        assert_eq!(status.node_info.unwrap().kubelet_version, "v1.36.3+k3s1");
        assert_eq!(status.allocatable.unwrap()["cpu"].0, "2");
        assert_eq!(
            status.conditions.unwrap().iter().filter(|condition| condition.status == "True").count(),
            1
        );
        serde_json::from_value::<Node>(node(&config)).unwrap();
    }
}
