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

    /// ConfigMaps, from the cluster to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = on_by_default)]
    pub config_maps: Option<ResourceSync>,

    /// Secrets, from the cluster to the host.
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

    /// PriorityClasses, from the cluster to the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = off_by_default)]
    pub priority_classes: Option<ResourceSync>,

    /// StorageClasses, from the host to the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = off_by_default)]
    pub storage_classes: Option<ResourceSync>,
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
    /// scheduling.k8s.io/v1 PriorityClass.
    PriorityClass,
    /// storage.k8s.io/v1 StorageClass.
    StorageClass,
}

impl SyncConfig {
    /// Whether an object of `kind` with `labels` is copied.
    pub fn selects(&self, kind: SyncedKind, labels: &BTreeMap<String, String>) -> bool {
        let resource = |sync: &Option<ResourceSync>, default| match sync {
            Some(sync) => (sync.enabled.unwrap_or(default), sync.selector.clone()),
            None => (default, BTreeMap::new()),
        };
        let (enabled, selector) = match kind {
            SyncedKind::Service => resource(&self.services, true),
            SyncedKind::ConfigMap => resource(&self.config_maps, true),
            SyncedKind::Secret => resource(&self.secrets, true),
            SyncedKind::PersistentVolumeClaim => resource(&self.persistent_volume_claims, true),
            SyncedKind::PriorityClass => resource(&self.priority_classes, false),
            SyncedKind::StorageClass => resource(&self.storage_classes, false),
            SyncedKind::Ingress => match &self.ingresses {
                Some(sync) => (sync.enabled.unwrap_or(false), sync.selector.clone()),
                None => (false, BTreeMap::new()),
            },
        };
        enabled && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
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
        for kind in [SyncedKind::Ingress, SyncedKind::PriorityClass, SyncedKind::StorageClass] {
            assert!(!silent.selects(kind, &labels(&[])), "{kind:?}");
        }
    }

    #[test]
    fn a_selector_narrows_and_enabled_decides() {
        let selector = labels(&[("a", "b")]);
        let mut sync = SyncConfig {
            services: Some(ResourceSync { enabled: None, selector: selector.clone() }),
            ingresses: Some(IngressSync {
                enabled: Some(true),
                selector,
                disable_tls_secret_translation: None,
            }),
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
