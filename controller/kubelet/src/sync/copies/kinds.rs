//! The kinds, each by its translation.

use super::Kind;
use crate::world::{World, core};
use k3k_api::v1beta1::SyncedKind;
use k3k_translate::copy::Desired;
use k3k_translate::ingress::{self, Rules};
use k3k_translate::network_policy::{self, Isolation, Namespaces};
use k3k_translate::{Refusal, disruption};
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::reflector::Store;
use serde_json::{Map, Value};

/// networking.k8s.io/v1 Ingress.
pub(super) struct Ingresses {
    pub(super) rules: Rules,
}

/// What Ingresses may do. Without a choice of classes any of the host may be named.
pub(super) fn ingress_rules(world: &World) -> Rules {
    let ingresses = world.sync.ingresses.as_ref();
    let is_limited = world.sync.copies(SyncedKind::IngressClass);
    Rules {
        annotations: ingresses.map(|sync| sync.allowed_annotations.clone()).unwrap_or_default(),
        classes: is_limited.then(|| world.offered.ingress_classes.clone()),
        host_secrets: ingresses.and_then(|sync| sync.disable_tls_secret_translation).unwrap_or(false),
    }
}

impl Kind for Ingresses {
    fn resource(&self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk("networking.k8s.io", "v1", "Ingress"))
    }

    fn translate(&self, world: &World, nested: &Value, _: &[Value]) -> Result<Desired, Refusal> {
        ingress::translate(&world.context.owner, &self.rules, nested)
    }

    fn host_fills(&self) -> &'static [&'static str] {
        &ingress::HOST_FILLS
    }

    fn told_status(&self, nested: &Value, host: &Value) -> Option<Value> {
        ingress::told_status(nested, host)
    }
}

/// policy/v1 PodDisruptionBudget. Its nested status is the nested controller's, who counts the same pods.
pub(super) struct Budgets;

impl Kind for Budgets {
    fn resource(&self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk("policy", "v1", "PodDisruptionBudget"))
    }

    fn translate(&self, world: &World, nested: &Value, _: &[Value]) -> Result<Desired, Refusal> {
        disruption::translate(&world.context.owner, nested)
    }
}

/// networking.k8s.io/v1 NetworkPolicy.
pub(super) struct NetworkPolicies {
    pub(super) namespaces: Store<DynamicObject>,
}

/// The resource of namespaces.
pub(super) fn namespaces() -> ApiResource {
    core("Namespace")
}

impl Kind for NetworkPolicies {
    fn resource(&self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk("networking.k8s.io", "v1", "NetworkPolicy"))
    }

    fn minds_others(&self) -> bool {
        true
    }

    fn translate(&self, world: &World, nested: &Value, others: &[Value]) -> Result<Desired, Refusal> {
        let labels = |namespace: &DynamicObject| -> Option<(String, Map<String, Value>)> {
            let labels = namespace.metadata.labels.clone().unwrap_or_default();
            let labels = labels.into_iter().map(|(key, value)| (key, value.into())).collect();
            Some((namespace.metadata.name.clone()?, labels))
        };
        let namespaces: Namespaces =
            self.namespaces.state().iter().filter_map(|namespace| labels(namespace)).collect();
        let isolation = Isolation::by(&world.context.owner, others);
        network_policy::translate(&world.context.owner, &namespaces, isolation, nested)
    }
}
