//! Storage classes of the host, as they are offered inside a nested cluster.

use k3k_api::labels::{SYNC_ENABLED, SYNC_FROM_HOST, SYNC_SOURCE};
use k3k_api::storage::{HOST_CLASS, PROVISIONER};
use k3k_api::v1beta1::{SyncConfig, SyncedKind};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;

/// The annotation by which Kubernetes knows the class of claims that name none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// Whether a class of the host is offered: the cluster selects it, and the host's administrator does not withhold it by a label.
pub fn is_offered(host: &StorageClass, sync: &SyncConfig) -> bool {
    host.labels().get(SYNC_ENABLED).is_none_or(|value| value == "true")
        && sync.selects(SyncedKind::StorageClass, host.labels())
}

/// The nested class of a host's class. The host's parameters may name its secrets and its topology its zones; both are used
/// in the host only, by the class of that name. How volumes are bound and what becomes of them is the same on both sides.
pub fn nested(host: &StorageClass) -> StorageClass {
    let default = host.annotations().get_key_value(DEFAULT).map(|(key, value)| (key.clone(), value.clone()));
    StorageClass {
        metadata: ObjectMeta {
            name: host.metadata.name.clone(),
            labels: Some(BTreeMap::from([(SYNC_SOURCE.to_owned(), SYNC_FROM_HOST.to_owned())])),
            annotations: default.map(|default| BTreeMap::from([default])),
            ..ObjectMeta::default()
        },
        provisioner: PROVISIONER.to_owned(),
        parameters: Some(BTreeMap::from([(HOST_CLASS.to_owned(), host.name_any())])),
        allow_volume_expansion: host.allow_volume_expansion,
        reclaim_policy: host.reclaim_policy.clone(),
        volume_binding_mode: host.volume_binding_mode.clone(),
        ..StorageClass::default()
    }
}

/// Whether a nested class still says all of `wanted`. What a tenant adds is the tenant's.
pub fn is_current(present: &StorageClass, wanted: &StorageClass) -> bool {
    let says = |class: &StorageClass| {
        (
            class.annotations().get(DEFAULT).cloned(),
            class.provisioner.clone(),
            class.parameters.clone(),
            class.allow_volume_expansion,
            class.reclaim_policy.clone(),
            class.volume_binding_mode.clone(),
        )
    };
    says(present) == says(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k3k_api::v1beta1::ResourceSync;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn class(value: Value) -> StorageClass {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_class_keeps_its_ways_and_the_host_its_secrets() {
        let host = class(json!({
            "metadata": {"name": "fast", "uid": "u", "labels": {"team": "x"}, "annotations": {DEFAULT: "true", "note": "n"}},
            "provisioner": "ebs.csi.aws.com", "parameters": {"csi.storage.k8s.io/provisioner-secret-name": "s"}, "mountOptions": ["debug"],
            "allowedTopologies": [{"matchLabelExpressions": []}],
            "allowVolumeExpansion": true, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
        }));
        let made = nested(&host);
        assert_eq!(
            serde_json::to_value(&made).unwrap(),
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": {"name": "fast", "labels": {"k3k.io/sync-source": "host"}, "annotations": {DEFAULT: "true"}},
                "provisioner": "host.k3k.io", "parameters": {"class": "fast"},
                "allowVolumeExpansion": true, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
            })
        );
        let mut stored = made.clone();
        stored.annotations_mut().insert("note".into(), "of the tenant".into());
        assert!(is_current(&stored, &made));
        stored.annotations_mut().insert(DEFAULT.into(), "false".into());
        assert!(!is_current(&stored, &made));
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({SYNC_ENABLED: "true"}), true)]
    #[case(json!({SYNC_ENABLED: "false"}), false)]
    #[case(json!({SYNC_ENABLED: ""}), false)]
    fn the_administrator_may_withhold_a_class(#[case] labels: Value, #[case] offered: bool) {
        let host = class(json!({"metadata": {"name": "a", "labels": labels}, "provisioner": "p"}));
        let wanted = ResourceSync { enabled: Some(true), ..ResourceSync::default() };
        let sync = SyncConfig { storage_classes: Some(wanted), ..SyncConfig::default() };
        assert_eq!(is_offered(&host, &sync), offered);
        assert!(!is_offered(&host, &SyncConfig::default()), "not unless the cluster asks for it");
    }
}
