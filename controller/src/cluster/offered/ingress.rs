//! Classes of ingress controllers.

use super::{Class, annotation, metadata};
use k3k_api::v1beta1::SyncedKind;
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassSpec};

/// The annotation by which Kubernetes knows the class of Ingresses that name none.
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

impl Class for IngressClass {
    const SYNCED: SyncedKind = SyncedKind::IngressClass;

    /// Parameters may name the host's objects; they are used in the host only.
    fn nested(&self) -> Self {
        let controller = self.spec.as_ref().and_then(|spec| spec.controller.clone());
        Self {
            metadata: metadata(self, Some(DEFAULT)),
            spec: Some(IngressClassSpec { controller, parameters: None }),
        }
    }

    fn is_current(&self, wanted: &Self) -> bool {
        let says = |class: &Self| {
            let controller = class.spec.as_ref().and_then(|spec| spec.controller.clone());
            (annotation(class, DEFAULT), controller)
        };
        says(self) == says(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_class_keeps_its_controller_and_the_host_its_parameters() {
        let host: IngressClass = serde_json::from_value(json!({
            "metadata": {"name": "nginx", "uid": "u", "annotations": {DEFAULT: "true", "note": "n"}},
            "spec": {"controller": "k8s.io/ingress-nginx", "parameters": {"kind": "Secret", "name": "s", "namespace": "kube-system"}},
        }))
        .unwrap();
        let made = host.nested();
        assert_eq!(
            serde_json::to_value(&made).unwrap(),
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": {"name": "nginx", "labels": {"k3k.io/sync-source": "host"}, "annotations": {DEFAULT: "true"}},
                "spec": {"controller": "k8s.io/ingress-nginx"},
            })
        );
        assert!(made.is_current(&made));
        let mut changed: Value = serde_json::to_value(&made).unwrap();
        changed["spec"]["controller"] = "other".into();
        assert!(!serde_json::from_value::<IngressClass>(changed).unwrap().is_current(&made));
    }
}
