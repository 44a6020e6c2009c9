//! Classes of container runtimes.

use super::{Class, metadata};
use k3k_api::v1beta1::SyncedKind;
use k8s_openapi::api::node::v1::RuntimeClass;

impl Class for RuntimeClass {
    const SYNCED: SyncedKind = SyncedKind::RuntimeClass;

    /// Which nodes have the runtime is a matter of the host, whose nodes the nested scheduler does not see.
    fn nested(&self) -> Self {
        Self { metadata: metadata(self, None), scheduling: None, ..self.clone() }
    }

    fn is_current(&self, wanted: &Self) -> bool {
        let says = |class: &Self| (class.handler.clone(), class.overhead.clone(), class.scheduling.clone());
        says(self) == says(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_class_keeps_its_overhead_and_the_host_its_nodes() {
        let host: RuntimeClass = serde_json::from_value(json!({
            "metadata": {"name": "kata", "uid": "u"}, "handler": "kata", "overhead": {"podFixed": {"memory": "64Mi"}},
            "scheduling": {"nodeSelector": {"kata": "yes"}},
        }))
        .unwrap();
        let made = host.nested();
        assert_eq!(
            serde_json::to_value(&made).unwrap(),
            json!({
                "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
                "metadata": {"name": "kata", "labels": {"k3k.io/sync-source": "host"}},
                "handler": "kata", "overhead": {"podFixed": {"memory": "64Mi"}},
            })
        );
        assert!(made.is_current(&made) && !host.is_current(&made));
    }
}
