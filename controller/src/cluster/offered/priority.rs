//! Classes of priority.

use super::{Class, metadata};
use k3k_api::v1beta1::SyncedKind;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::ResourceExt;

/// Names of the classes that Kubernetes has by itself begin so, and no others may.
pub(in crate::cluster) const BUILT_IN: &str = "system-";

impl Class for PriorityClass {
    const SYNCED: SyncedKind = SyncedKind::HostPriorityClass;

    /// Which class pods have that name none, each cluster decides for itself: there can be but one.
    fn nested(&self) -> Self {
        Self {
            metadata: metadata(self, None),
            value: self.value,
            preemption_policy: self.preemption_policy.clone(),
            description: self.description.clone(),
            ..Self::default()
        }
    }

    fn is_current(&self, wanted: &Self) -> bool {
        let says = |class: &Self| (class.value.unwrap_or(0), class.preemption_policy.clone());
        says(self) == says(wanted)
    }

    fn is_built_in(&self) -> bool {
        self.name_any().starts_with(BUILT_IN)
    }
}

#[cfg(test)]
mod tests {
    use super::super::is_offered;
    use super::*;
    use k3k_api::v1beta1::SyncConfig;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn class(metadata: &Value) -> PriorityClass {
        let class = json!({"metadata": metadata, "value": 7, "globalDefault": true, "preemptionPolicy": "PreemptLowerPriority"});
        serde_json::from_value(class).unwrap()
    }

    #[test]
    fn a_class_keeps_its_value_and_is_nobodys_default() {
        let made = class(&json!({"name": "gold", "uid": "u"})).nested();
        assert_eq!(
            serde_json::to_value(&made).unwrap(),
            json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 7, "preemptionPolicy": "PreemptLowerPriority",
                "metadata": {"name": "gold", "labels": {"k3k.io/sync-source": "host"}},
            })
        );
        assert!(
            made.is_current(&made) && !PriorityClass { value: Some(8), ..made.clone() }.is_current(&made)
        );
    }

    #[rstest]
    #[case(json!({"name": "gold"}), true)]
    #[case(json!({"name": "system-node-critical"}), false)]
    #[case(json!({"name": "x", "labels": {"k3k.io/clusterName": "other"}}), false)]
    fn neither_built_in_classes_nor_other_tenants_are_offered(
        #[case] metadata: Value,
        #[case] offered: bool,
    ) {
        let sync: SyncConfig =
            serde_json::from_value(json!({"hostPriorityClasses": {"enabled": true}})).unwrap();
        assert_eq!(is_offered(&class(&metadata), &sync), offered);
    }
}
