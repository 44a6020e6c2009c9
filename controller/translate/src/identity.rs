//! Who a host copy belongs to, written into its metadata and read back from it.

use crate::pod::pod_secret;
use k3k_api::{labels, names};
use serde_json::{Map, Value, json};

/// The cluster on whose behalf host objects are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name of the `Cluster`.
    pub cluster: String,
    /// Namespace of the `Cluster`, where all its host objects live.
    pub namespace: String,
    /// UID of the `Cluster`; its deletion collects the copies.
    pub uid: String,
}

/// The nested object that a host copy stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Namespace in the nested cluster.
    pub namespace: String,
    /// Name in the nested cluster.
    pub name: String,
    /// UID in the nested cluster.
    pub uid: String,
}

impl Origin {
    /// The origin of a nested object, from the object itself. `None` if it has no name, namespace or UID yet.
    pub fn of_nested(object: &Value) -> Option<Self> {
        let text = |key: &str| {
            object.pointer(&format!("/metadata/{key}")).and_then(Value::as_str).map(str::to_owned)
        };
        Some(Self { namespace: text("namespace")?, name: text("name")?, uid: text("uid")? })
    }

    /// The origin that a host copy's annotations name, if it is a copy that `owner` made. One whose label somebody took away
    /// is known by its name, in which the cluster takes part.
    pub fn of_host(owner: &Owner, metadata: &Value) -> Option<Self> {
        let annotations = metadata.get("annotations")?;
        let text = |key: &str| annotations.get(key).and_then(Value::as_str).map(str::to_owned);
        let origin = Self {
            namespace: text(labels::VIRTUAL_NAMESPACE)?,
            name: text(labels::VIRTUAL_NAME)?,
            uid: text(labels::VIRTUAL_UID)?,
        };
        let is_ours = match metadata.pointer("/labels").and_then(|labels| labels.get(labels::CLUSTER_NAME)) {
            Some(cluster) => *cluster == owner.cluster.as_str(),
            None => {
                metadata["name"] == owner.host_name(&origin.namespace, &origin.name).as_str()
                    || metadata["name"] == pod_secret(&origin.uid).as_str()
            }
        };
        is_ours.then_some(origin)
    }

    /// Whether a host copy lacks the labels by which it is found.
    pub fn is_stray(&self, owner: &Owner, metadata: &Value) -> bool {
        owner.scope(&self.namespace).iter().any(|(key, value)| metadata["labels"][key] != *value)
    }
}

impl Owner {
    /// Name of the host copy of `namespace/name`.
    pub fn host_name(&self, namespace: &str, name: &str) -> String {
        names::translated(&self.cluster, namespace, name)
    }

    /// The labels by which a Service finds pods of one nested namespace: reserved keys, so that no tenant can
    /// wear another's.
    pub fn scope(&self, nested_namespace: &str) -> Map<String, Value> {
        let mut scope = Map::new();
        scope.insert(labels::CLUSTER_NAME.into(), self.cluster.clone().into());
        scope.insert(labels::VIRTUAL_NAMESPACE_LABEL.into(), names::label_value(nested_namespace).into());
        scope
    }

    /// The owner reference to the Cluster. Not a controller reference: the controller of a copy is the nested
    /// object, which the host cannot name.
    pub fn reference(&self) -> Value {
        json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "name": self.cluster, "uid": self.uid})
    }

    /// Metadata of the host copy of `origin`: the tenant's labels, ours over them, and our annotations only.
    /// Annotations of tenants are instructions to controllers of the nested cluster; in the host they could
    /// steer network plugins, meshes and ingress controllers, so none is taken over.
    pub fn metadata(&self, origin: &Origin, tenant_labels: Option<&Value>) -> Value {
        let mut all = self.unreserved(tenant_labels);
        all.extend(self.scope(&origin.namespace));
        json!({
            "name": self.host_name(&origin.namespace, &origin.name),
            "namespace": self.namespace,
            "labels": all,
            "annotations": {
                labels::VIRTUAL_NAME: origin.name,
                labels::VIRTUAL_NAMESPACE: origin.namespace,
                labels::VIRTUAL_UID: origin.uid,
            },
            "ownerReferences": [self.reference()],
        })
    }

    /// A tenant's selector, narrowed to one nested namespace of this cluster.
    pub fn narrowed(&self, nested_namespace: &str, selector: Option<&Value>) -> Map<String, Value> {
        let mut all = self.unreserved(selector);
        all.extend(self.scope(nested_namespace));
        all
    }

    #[expect(clippy::unused_self, reason = "reads as a rule of the owner beside its siblings")]
    fn unreserved(&self, map: Option<&Value>) -> Map<String, Value> {
        let map = map.and_then(Value::as_object).into_iter().flatten();
        map.filter(|(key, _)| !labels::is_reserved(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c-uid".into() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let origin = Origin { namespace: "a".into(), name: "b".into(), uid: "u".into() };
        let metadata = owner().metadata(&origin, None);
        assert_eq!(Origin::of_host(&owner(), &metadata), Some(origin));
        let other = Owner { cluster: "prod".into(), ..owner() };
        assert_eq!(Origin::of_host(&other, &metadata), None, "another cluster's copy is not ours");
    }

    #[test]
    fn a_copy_without_its_label_is_known_by_its_name() {
        let origin = Origin { namespace: "a".into(), name: "b".into(), uid: "u".into() };
        let mut metadata = owner().metadata(&origin, None);
        assert!(!origin.is_stray(&owner(), &metadata));
        metadata["labels"] = json!({"app": "web"});
        assert_eq!(Origin::of_host(&owner(), &metadata), Some(origin.clone()));
        assert!(origin.is_stray(&owner(), &metadata));
        let other = Owner { cluster: "prod".into(), ..owner() };
        assert_eq!(Origin::of_host(&other, &metadata), None, "it has another name there");
        metadata["name"] = "somebodys".into();
        assert_eq!(Origin::of_host(&owner(), &metadata), None, "annotations alone prove nothing");
        metadata["name"] = "k3k-pod-u".into();
        assert_eq!(Origin::of_host(&owner(), &metadata), Some(origin), "the Secret of a pod");
    }

    #[test]
    fn tenants_cannot_wear_our_labels() {
        let origin = Origin { namespace: "a".into(), name: "b".into(), uid: "u".into() };
        let tenant = json!({"app": "web", "role": "server", "k3k.io/clusterName": "prod", "k3k.io/component": "server"});
        let metadata = owner().metadata(&origin, Some(&tenant));
        assert_eq!(
            metadata["labels"],
            json!({"app": "web", "role": "server", "k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "a"})
        );
    }
}
