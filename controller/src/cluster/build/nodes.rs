//! The host's nodes as a nested cluster with `mirrorHostNodes` is shown them.

use super::capacity::{self, Resources};
use super::{Kind, Manifest, Site};
use k3k_api::host_node::{HostCondition, HostNode, KEY};
use k3k_api::labels::component;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::ResourceExt;
use serde_json::json;
use std::collections::BTreeMap;

/// Conditions that every kubelet reports.
pub const CONDITIONS: [&str; 5] =
    ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];
/// Taints of this prefix repeat what conditions and `spec.unschedulable` say; the nested cluster makes its own.
const LIFECYCLE: &str = "node.kubernetes.io/";

/// Those of `nodes` that have the labels `selector`, sorted. No node offers more than `quotas` allow for all of them.
pub fn eligible<'a>(
    nodes: impl Iterator<Item = &'a Node>,
    selector: &BTreeMap<String, String>,
    quotas: &[Resources],
) -> Vec<HostNode> {
    let has_labels = |node: &&Node| selector.iter().all(|(key, value)| node.labels().get(key) == Some(value));
    let mut mirrored: Vec<_> = nodes.filter(has_labels).map(|node| mirrored(node, quotas)).collect();
    mirrored.sort_by(|one, other| one.name.cmp(&other.name));
    mirrored
}

fn mirrored(node: &Node, quotas: &[Resources]) -> HostNode {
    let (spec, status) = (node.spec.clone().unwrap_or_default(), node.status.clone().unwrap_or_default());
    let limited =
        |resources: Option<Resources>| capacity::limited(resources.unwrap_or_default(), quotas.iter());
    let address = status.addresses.iter().flatten().find(|address| address.type_ == "InternalIP");
    HostNode {
        name: node.name_any(),
        labels: node.labels().clone(),
        taints: spec.taints.into_iter().flatten().filter(|taint| !taint.key.starts_with(LIFECYCLE)).collect(),
        unschedulable: spec.unschedulable.unwrap_or(false),
        address: address.map(|address| address.address.clone()),
        conditions: status.conditions.iter().flatten().filter_map(condition).collect(),
        architecture: status.node_info.map(|info| info.architecture).unwrap_or_default(),
        capacity: limited(status.capacity),
        allocatable: limited(status.allocatable),
    }
}

/// A condition without its heartbeat, if it is one of [`CONDITIONS`].
pub fn condition(condition: &NodeCondition) -> Option<HostCondition> {
    CONDITIONS.contains(&condition.type_.as_str()).then(|| HostCondition {
        kind: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone().unwrap_or_default(),
        message: condition.message.clone().unwrap_or_default(),
        last_transition_time: condition
            .last_transition_time
            .as_ref()
            .map(|time| time.0.to_string())
            .unwrap_or_default(),
    })
}

/// The ConfigMap that tells the virtual kubelet.
pub fn config_map(site: &Site, nodes: &[HostNode]) -> Manifest {
    let data = json!({ "data": { KEY: json!(nodes).to_string() } });
    Manifest::new(site, Kind::ConfigMap, site.names().nodes(), component::KUBELET, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    fn node(name: &str, pool: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"pool": pool}, "annotations": {"secret": "of the host"}},
            "spec": {"unschedulable": true, "taints": [
                {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
                {"key": "dedicated", "value": "db", "effect": "NoSchedule"},
            ]},
            "status": {
                "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": "10.0.0.7"}],
                "capacity": {"cpu": "8", "memory": "16Gi"}, "allocatable": {"cpu": "7", "memory": "15Gi"},
                "conditions": [
                    {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:10Z", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                    {"type": "VendorSecret", "status": "True"},
                ],
                "nodeInfo": {"architecture": "arm64", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                    "kubeletVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": ""},
            },
        }))
        .unwrap()
    }

    #[test]
    fn selected_nodes_are_shown_within_the_quota_and_without_what_is_the_hosts() {
        let nodes = [node("b", "tenants"), node("c", "other"), node("a", "tenants")];
        let selector = BTreeMap::from([("pool".to_owned(), "tenants".to_owned())]);
        let quota = Resources::from([("requests.cpu".to_owned(), Quantity("2".to_owned()))]);
        let shown = eligible(nodes.iter(), &selector, &[quota]);
        assert_eq!(shown.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let first = &shown[0];
        assert_eq!(
            (first.allocatable["cpu"].0.as_str(), first.allocatable["memory"].0.as_str()),
            ("2", "15Gi")
        );
        assert_eq!(first.capacity["cpu"].0, "2");
        assert!(first.unschedulable);
        assert_eq!(first.taints.len(), 1, "the other one is the cordon's");
        assert_eq!((first.address.as_deref(), first.architecture.as_str()), (Some("10.0.0.7"), "arm64"));
        let text = serde_json::to_string(&shown).unwrap();
        assert!(!text.contains("ecret") && !text.contains("00:00:10"), "{text}");
        let site = Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() };
        let map = config_map(&site, &shown);
        let told: Vec<HostNode> = serde_json::from_str(map.object["data"][KEY].as_str().unwrap()).unwrap();
        assert_eq!(told, shown);
    }
}
