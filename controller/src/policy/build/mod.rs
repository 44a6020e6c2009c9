//! Builders of what Kubernetes itself enforces of a policy in a namespace. Pure: what goes in decides what comes out.

pub mod limits;
pub mod network;
pub mod pod_security;
pub mod pull_secrets;
pub mod quota;

use crate::cluster::build::hash;
use k3k_api::labels;
use k3k_api::names;
use k3k_api::v1beta1::{GROUP, VERSION};
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt;
use kube::api::ApiResource;
use serde_json::{Value, json};
use std::fmt;

/// The kinds of objects that are made of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// How much a namespace may use.
    ResourceQuota,
    /// What pods and containers may ask for, and get if they do not.
    LimitRange,
    /// Whom pods may reach, and who may reach them.
    NetworkPolicy,
    /// Who may read pull secrets.
    RoleBinding,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ResourceQuota, Self::LimitRange, Self::NetworkPolicy, Self::RoleBinding];

    /// Group, version and plural, for a client.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ResourceQuota => ApiResource::erase::<ResourceQuota>(&()),
            Self::LimitRange => ApiResource::erase::<LimitRange>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self:?}")
    }
}

/// The policy that owns objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Owner {
    /// The owner for a policy, or for anything with its metadata.
    pub fn of(object: &impl ResourceExt) -> Self {
        Self { name: object.name_any(), uid: object.uid().unwrap_or_default() }
    }

    /// The reference that has an object go with the policy.
    pub fn reference(&self) -> Value {
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "VirtualClusterPolicy", "name": self.name, "uid": self.uid,
            "controller": true, "blockOwnerDeletion": true,
        })
    }

    /// Name of the object for `part` of the policy; empty for what upstream's fields say.
    pub fn object(&self, part: &str) -> String {
        names::prefixed(&[&self.name, part])
    }
}

/// An object as the controller wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object, without [`labels::APPLIED_HASH`].
    pub object: Value,
}

impl Manifest {
    /// The object for `part` of a policy in `namespace`, see [`Owner::object`].
    pub fn new(owner: &Owner, namespace: &str, kind: Kind, part: &str, spec: &Value) -> Self {
        let mut manifest = Self::bare(owner, namespace, kind, part);
        manifest.object["spec"] = spec.clone();
        manifest
    }

    /// The same without a `spec`, which not all kinds have.
    pub fn bare(owner: &Owner, namespace: &str, kind: Kind, part: &str) -> Self {
        let (resource, name) = (kind.resource(), owner.object(part));
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {
                "name": name, "namespace": namespace,
                "labels": { labels::MANAGED_BY: labels::MANAGED_BY_POLICY, labels::POLICY_NAME: owner.name },
                "ownerReferences": [owner.reference()],
            },
        });
        Self { kind, namespace: namespace.to_owned(), name, object }
    }

    /// Adds a label.
    #[must_use]
    pub fn labelled(mut self, key: &str, value: &str) -> Self {
        self.object["metadata"]["labels"][key] = value.into();
        self
    }

    /// The object to apply: with the hash of itself.
    pub fn sealed(&self) -> Value {
        let mut object = self.object.clone();
        object["metadata"]["annotations"][labels::APPLIED_HASH] = self.hash().into();
        object
    }

    /// A hash of the object.
    pub fn hash(&self) -> String {
        hash(self.object.to_string().as_bytes())
    }

    /// How a person calls it.
    pub fn what(&self) -> String {
        format!("{} {:?} in namespace {:?}", self.kind, self.name, self.namespace)
    }
}
