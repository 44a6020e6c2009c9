//! Which kinds of objects are copied between a cluster and its host.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Which kinds of objects are copied between the cluster and the host. Pods are always.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SyncConfig {
    /// Services, from the cluster to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = on_by_default)]
    pub services: Option<ResourceSync>,

    /// ConfigMaps, from the cluster to the host: those that pods use. A pod that needs one that is left out is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = on_by_default)]
    pub config_maps: Option<ResourceSync>,

    /// Secrets, from the cluster to the host: those that pods and Ingresses use. A pod that needs one that is left out is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = on_by_default)]
    pub secrets: Option<ResourceSync>,

    /// PersistentVolumeClaims, from the cluster to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = on_by_default)]
    pub persistent_volume_claims: Option<ResourceSync>,

    /// Ingresses, from the cluster to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = off_by_default)]
    pub ingresses: Option<IngressSync>,

    /// PodDisruptionBudgets, from the cluster to the host. A budget can hold up the drain of a node of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = off_by_default)]
    pub pod_disruption_budgets: Option<ResourceSync>,

    /// NetworkPolicies, from the cluster to the host. Where a policy of the host isolates the namespace's pods, the cluster's
    /// own have no say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = off_by_default)]
    pub network_policies: Option<ResourceSync>,

    /// PriorityClasses, from the cluster to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = off_by_default)]
    pub priority_classes: Option<PriorityClassSync>,

    /// StorageClasses, from the host to the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = off_by_default)]
    pub storage_classes: Option<ResourceSync>,

    /// IngressClasses, from the host to the cluster. When enabled, Ingresses may name only these.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = off_by_default)]
    pub ingress_classes: Option<ResourceSync>,

    /// RuntimeClasses, from the host to the cluster. Pods may name only these.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = off_by_default)]
    pub runtime_classes: Option<ResourceSync>,

    /// PriorityClasses, from the host to the cluster. Pods that name them have that priority in the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = off_by_default)]
    pub host_priority_classes: Option<ResourceSync>,
}

/// Whether, and which objects of, one kind are copied.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSync {
    /// Whether objects of this kind are copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,

    /// Only objects with these labels. Default: all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
}

/// Whether, which, and up to what value PriorityClasses are copied.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PriorityClassSync {
    /// Whether objects of this kind are copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,

    /// Only objects with these labels. Default: all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,

    /// The highest value in the host; higher ones are lowered to it. Pods without a class have 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0), range(max = 1_000_000_000))]
    pub max_value: Option<i32>,
}

/// Whether, which, and how Ingresses are copied.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IngressSync {
    /// Whether objects of this kind are copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,

    /// Only objects with these labels. Default: all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,

    /// Keep the names of TLS Secrets as they are, for Secrets that exist in the host.
    #[serde(rename = "disableTLSSecretTranslation", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub disable_tls_secret_translation: Option<bool>,

    /// Annotations that reach the host: names, or all of a domain as `example.com/*`. Default: none, as annotations give
    /// orders to the host's controllers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_annotations: Vec<String>,
}

/// The kinds that [`SyncConfig`] speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncedKind {
    /// v1 Service.
    Service,
    /// v1 ConfigMap.
    ConfigMap,
    /// v1 Secret.
    Secret,
    /// v1 PersistentVolumeClaim.
    PersistentVolumeClaim,
    /// networking.k8s.io/v1 Ingress.
    Ingress,
    /// policy/v1 PodDisruptionBudget.
    PodDisruptionBudget,
    /// networking.k8s.io/v1 NetworkPolicy.
    NetworkPolicy,
    /// scheduling.k8s.io/v1 PriorityClass, of the cluster.
    PriorityClass,
    /// storage.k8s.io/v1 StorageClass.
    StorageClass,
    /// networking.k8s.io/v1 IngressClass.
    IngressClass,
    /// node.k8s.io/v1 RuntimeClass.
    RuntimeClass,
    /// scheduling.k8s.io/v1 PriorityClass, of the host.
    HostPriorityClass,
}

impl SyncConfig {
    /// Whether an object of `kind` with `labels` is copied.
    pub fn selects(&self, kind: SyncedKind, labels: &BTreeMap<String, String>) -> bool {
        let (enabled, selector) = self.choice(kind);
        enabled
            && selector
                .is_none_or(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
    }

    /// Whether objects of `kind` are copied at all.
    pub fn copies(&self, kind: SyncedKind) -> bool {
        self.choice(kind).0
    }

    /// The highest value that a PriorityClass of the cluster has in the host. What is not said is not raised: pods without a
    /// class, as most of other tenants and many of the host, have 0.
    pub fn max_priority(&self) -> i32 {
        self.priority_classes.as_ref().and_then(|sync| sync.max_value).unwrap_or(0)
    }

    /// Whether, and with which labels, objects of `kind` are copied.
    fn choice(&self, kind: SyncedKind) -> (bool, Option<&BTreeMap<String, String>>) {
        macro_rules! choice {
            ($field:ident, $default:literal) => {
                match &self.$field {
                    Some(sync) => (sync.enabled.unwrap_or($default), Some(&sync.selector)),
                    None => ($default, None),
                }
            };
        }
        match kind {
            SyncedKind::Service => choice!(services, true),
            SyncedKind::ConfigMap => choice!(config_maps, true),
            SyncedKind::Secret => choice!(secrets, true),
            SyncedKind::PersistentVolumeClaim => choice!(persistent_volume_claims, true),
            SyncedKind::Ingress => choice!(ingresses, false),
            SyncedKind::PodDisruptionBudget => choice!(pod_disruption_budgets, false),
            SyncedKind::NetworkPolicy => choice!(network_policies, false),
            SyncedKind::PriorityClass => choice!(priority_classes, false),
            SyncedKind::StorageClass => choice!(storage_classes, false),
            SyncedKind::IngressClass => choice!(ingress_classes, false),
            SyncedKind::RuntimeClass => choice!(runtime_classes, false),
            SyncedKind::HostPriorityClass => choice!(host_priority_classes, false),
        }
    }
}

fn on_by_default(schema: &mut Schema) {
    default_enabled(schema, true);
}

fn off_by_default(schema: &mut Schema) {
    default_enabled(schema, false);
}

/// The default holds for an object that is absent, and for one that does not say `enabled`.
fn default_enabled(schema: &mut Schema, enabled: bool) {
    schema.insert("default".into(), json!({ "enabled": enabled }));
    // Option<T> is `anyOf: [T, null]` until kube makes the schema structural.
    let object =
        if schema.get("anyOf").is_some() { schema.pointer_mut("/anyOf/0") } else { schema.pointer_mut("") };
    if let Some(field) = object.and_then(|object| object.pointer_mut("/properties/enabled")) {
        field["default"] = json!(enabled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_not_said_is_as_in_the_schema() {
        let silent = SyncConfig::default();
        for kind in [
            SyncedKind::Service,
            SyncedKind::ConfigMap,
            SyncedKind::Secret,
            SyncedKind::PersistentVolumeClaim,
        ] {
            assert!(silent.selects(kind, &labels(&[])), "{kind:?}");
        }
        for kind in [
            SyncedKind::Ingress,
            SyncedKind::PodDisruptionBudget,
            SyncedKind::NetworkPolicy,
            SyncedKind::PriorityClass,
            SyncedKind::StorageClass,
            SyncedKind::IngressClass,
            SyncedKind::RuntimeClass,
            SyncedKind::HostPriorityClass,
        ] {
            assert!(!silent.selects(kind, &labels(&[])) && !silent.copies(kind), "{kind:?}");
        }
        assert_eq!(silent.max_priority(), 0);
    }

    #[test]
    fn a_selector_narrows_and_enabled_decides() {
        let selector = labels(&[("a", "b")]);
        let mut sync = SyncConfig {
            services: Some(ResourceSync { enabled: None, selector: selector.clone() }),
            ingresses: Some(IngressSync { enabled: Some(true), selector, ..IngressSync::default() }),
            secrets: Some(ResourceSync { enabled: Some(false), selector: BTreeMap::new() }),
            ..SyncConfig::default()
        };
        for kind in [SyncedKind::Service, SyncedKind::Ingress] {
            assert!(sync.selects(kind, &labels(&[("a", "b"), ("c", "d")])), "{kind:?}");
            assert!(!sync.selects(kind, &labels(&[("a", "x")])), "{kind:?}");
            assert!(!sync.selects(kind, &labels(&[])), "{kind:?}");
        }
        assert!(!sync.selects(SyncedKind::Secret, &labels(&[])));
        sync.secrets = None;
        assert!(sync.selects(SyncedKind::Secret, &labels(&[])));
    }
}
