//! Storage classes of the host, offered to a nested cluster.

use super::{HOST_CLASS, PROVISIONER};
use k3k_api::labels::{SYNC_ENABLED, SYNC_FROM_HOST, SYNC_SOURCE};
use serde_json::{Value, json};

/// The annotation by which Kubernetes knows the class of claims that name none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// Whether the host's administrator lets a class be offered: one may be withheld by a label.
pub fn is_offered(host: &Value) -> bool {
    let label = host.pointer("/metadata/labels").and_then(|labels| labels.get(SYNC_ENABLED));
    label.is_none_or(|value| value == "true")
}

/// The nested class of a host's class. The host's parameters may name its secrets and its topology its zones; both are used
/// in the host only, by the class of that name. How volumes are bound and what becomes of them is the same on both sides.
pub fn class(host: &Value) -> Value {
    let name = &host["metadata"]["name"];
    let mut class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": name, "labels": {SYNC_SOURCE: SYNC_FROM_HOST}},
        "provisioner": PROVISIONER,
        "parameters": {HOST_CLASS: name},
    });
    if let Some(default) =
        host.pointer("/metadata/annotations").and_then(|annotations| annotations.get(DEFAULT))
    {
        class["metadata"]["annotations"] = json!({DEFAULT: default});
    }
    for field in ["allowVolumeExpansion", "reclaimPolicy", "volumeBindingMode"] {
        if let Some(value) = host.get(field).filter(|value| !value.is_null()) {
            class[field] = value.clone();
        }
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_keeps_its_ways_and_the_host_its_secrets() {
        let host = json!({
            "metadata": {"name": "fast", "labels": {"team": "x"}, "annotations": {DEFAULT: "true", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "provisioner": "ebs.csi.aws.com", "parameters": {"csi.storage.k8s.io/provisioner-secret-name": "s"}, "mountOptions": ["debug"],
            "allowedTopologies": [{"matchLabelExpressions": []}],
            "allowVolumeExpansion": true, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
        });
        assert_eq!(
            class(&host),
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": {"name": "fast", "labels": {"k3k.io/sync-source": "host"}, "annotations": {DEFAULT: "true"}},
                "provisioner": "k3k.io/host", "parameters": {"class": "fast"},
                "allowVolumeExpansion": true, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
            })
        );
    }

    #[test]
    fn the_administrator_may_withhold_a_class() {
        let labelled = |value: &str| json!({"metadata": {"labels": {SYNC_ENABLED: value}}});
        assert!(is_offered(&json!({"metadata": {"name": "a"}})));
        assert!(is_offered(&labelled("true")));
        assert!(!is_offered(&labelled("false")));
        assert!(!is_offered(&labelled("")));
    }
}
