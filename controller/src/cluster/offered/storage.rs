//! Classes of storage.

use super::{Class, annotation, metadata};
use k3k_api::storage::{HOST_CLASS, PROVISIONER};
use k3k_api::v1beta1::SyncedKind;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use std::collections::BTreeMap;

/// The annotation by which Kubernetes knows the class of claims that name none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

impl Class for StorageClass {
    const SYNCED: SyncedKind = SyncedKind::StorageClass;

    /// The host's parameters may name its secrets and its topology its zones; both are used in the host only, by the class of that name.
    /// How volumes are bound and what becomes of them is the same on both sides.
    fn nested(&self) -> Self {
        Self {
            metadata: metadata(self, Some(DEFAULT)),
            provisioner: PROVISIONER.to_owned(),
            parameters: Some(BTreeMap::from([(HOST_CLASS.to_owned(), self.name_any())])),
            allow_volume_expansion: self.allow_volume_expansion,
            reclaim_policy: self.reclaim_policy.clone(),
            volume_binding_mode: self.volume_binding_mode.clone(),
            ..Self::default()
        }
    }

    fn is_current(&self, wanted: &Self) -> bool {
        let says = |class: &Self| {
            (
                annotation(class, DEFAULT),
                class.provisioner.clone(),
                class.parameters.clone(),
                class.allow_volume_expansion,
                class.reclaim_policy.clone(),
                class.volume_binding_mode.clone(),
            )
        };
        says(self) == says(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::is_offered;
    use super::*;
    use k3k_api::labels::SYNC_ENABLED;
    use k3k_api::v1beta1::{ResourceSync, SyncConfig};
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
        let made = host.nested();
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
        assert!(stored.is_current(&made));
        stored.annotations_mut().insert(DEFAULT.into(), "false".into());
        assert!(!stored.is_current(&made));
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
