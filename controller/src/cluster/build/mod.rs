//! Builders of the host objects of a cluster. Pure: what goes in decides what comes out.
//!
//! Objects are JSON with exactly the fields that the controller owns; typed structs would own their defaults too.

pub mod agent;
pub mod arguments;
pub mod capacity;
pub mod certificates;
pub mod config;
pub mod disruption;
pub mod exposure;
pub mod ingress;
pub mod kubeconfig;
pub mod kubelet;
pub mod mode;
pub mod node;
pub mod nodes;
pub mod outside;
pub mod policy;
pub mod server;
pub mod service;
pub mod token;

use crate::args::Images;
use k3k_api::labels::{self, component};
use k3k_api::names::ClusterNames;
use k3k_api::v1beta1::{GROUP, VERSION};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// The kinds of host objects that the controller makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// What a virtual kubelet is told of the host.
    ConfigMap,
    /// Tokens, certificates and configurations.
    Secret,
    /// In front of the API, the virtual kubelet and nested DNS.
    Service,
    /// The virtual kubelet's identity in the host.
    ServiceAccount,
    /// What that identity may do.
    RoleBinding,
    /// In front of the API, by name.
    Ingress,
    /// The k3s servers, and the agents.
    StatefulSet,
    /// The virtual kubelet.
    Deployment,
    /// How many servers may be away on purpose.
    PodDisruptionBudget,
}

impl Kind {
    /// Group, version and plural, for a client.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::Ingress => ApiResource::erase::<Ingress>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self:?}")
    }
}

/// Which cluster objects are built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Name of the Cluster.
    pub name: String,
    /// Its namespace, which all objects share.
    pub namespace: String,
    /// Its UID, which owns all objects.
    pub uid: String,
}

impl Site {
    /// The site of a Cluster, or of anything with its metadata.
    pub fn of(object: &impl ResourceExt) -> Self {
        Self {
            name: object.name_any(),
            namespace: object.namespace().unwrap_or_default(),
            uid: object.uid().unwrap_or_default(),
        }
    }

    /// Names of the cluster's objects.
    pub fn names(&self) -> ClusterNames<'_> {
        ClusterNames(&self.name)
    }

    /// The reference that makes the Cluster the owner of an object.
    pub fn owner_reference(&self) -> Value {
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Cluster", "name": self.name, "uid": self.uid,
            "controller": true, "blockOwnerDeletion": true,
        })
    }

    /// Labels of an object of `part`, see [`component`].
    pub fn labels(&self, part: &str) -> Map<String, Value> {
        let mut labels = Map::new();
        let mut set = |key: &str, value: &str| labels.insert(key.to_owned(), value.into());
        set(labels::CLUSTER, &self.name);
        set(labels::COMPONENT, part);
        set(labels::MANAGED_BY, labels::MANAGED_BY_CONTROLLER);
        match part {
            component::SERVER => {
                set(labels::ROLE, labels::ROLE_SERVER);
            }
            component::KUBELET => {
                set(labels::TYPE, labels::TYPE_AGENT);
                set(labels::MODE, "shared");
            }
            component::AGENT => {
                set(labels::TYPE, labels::TYPE_AGENT);
                set(labels::MODE, "virtual");
            }
            _ => {}
        }
        labels
    }
}

/// A host object as the controller wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The object, without [`labels::APPLIED_HASH`].
    pub object: Value,
}

impl Manifest {
    /// An object of `part` owned by the cluster. `body` is everything but `apiVersion`, `kind` and `metadata`.
    pub fn new(site: &Site, kind: Kind, name: String, part: &str, body: Value) -> Self {
        let resource = kind.resource();
        let mut object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {
                "name": name, "namespace": site.namespace, "labels": site.labels(part),
                "ownerReferences": [site.owner_reference()],
            },
        });
        if let (Value::Object(object), Value::Object(body)) = (&mut object, body) {
            object.extend(body);
        }
        Self { kind, name, object }
    }

    /// A Secret of `part`.
    pub fn secret(site: &Site, name: String, part: &str, data: &BTreeMap<String, String>) -> Self {
        let encoded: Map<String, Value> =
            data.iter().map(|(key, text)| (key.clone(), base64(text).into())).collect();
        Self::new(site, Kind::Secret, name, part, json!({ "type": "Opaque", "data": encoded }))
    }

    /// Adds annotations.
    #[must_use]
    pub fn annotated(mut self, annotations: &BTreeMap<String, String>) -> Self {
        if !annotations.is_empty() {
            self.object["metadata"]["annotations"] = json!(annotations);
        }
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
}

/// Hexadecimal SHA-256, cut to what suffices to notice a change.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Base64 as in the `data` of a Secret and of a kubeconfig.
pub fn base64(text: &str) -> String {
    match serde_json::to_value(ByteString(text.as_bytes().to_vec())) {
        Ok(Value::String(encoded)) => encoded,
        _ => String::new(),
    }
}

/// The texts in a Secret that was read. What is not text is left out.
pub fn secret_data(secret: &DynamicObject) -> BTreeMap<String, String> {
    let Some(data) = secret.data.get("data").and_then(Value::as_object) else { return BTreeMap::new() };
    data.iter()
        .filter_map(|(key, value)| {
            let ByteString(bytes) = serde_json::from_value(value.clone()).ok()?;
            Some((key.clone(), String::from_utf8(bytes).ok()?))
        })
        .collect()
}

/// YAML with strings on one line each, as people expect of a kubeconfig.
pub(crate) fn yaml(value: &impl serde::Serialize) -> Result<String, serde_saphyr::ser::Error> {
    let mut options = serde_saphyr::SerializerOptions::default();
    options.prefer_block_scalars = false;
    serde_saphyr::to_string_with_options(value, options)
}

/// Puts the Secrets into a pod with which its images are pulled.
fn pull_with(pod: &mut Value, images: &Images) {
    if !images.pull_secrets.is_empty() {
        let secrets: Vec<Value> = images.pull_secrets.iter().map(|name| json!({ "name": name })).collect();
        pod["imagePullSecrets"] = json!(secrets);
    }
}

/// A security context with the user's fields in place of the defaults.
fn over(mut defaults: Value, wanted: Option<&impl serde::Serialize>) -> Value {
    if let (Value::Object(fields), Value::Object(wanted)) = (&mut defaults, json!(wanted)) {
        fields.extend(wanted);
    }
    defaults
}

/// Kubernetes would expand `$(NAME)` in arguments.
fn escape(word: &str) -> String {
    word.replace("$(", "$$(")
}

/// Sets `key` if there is a value, so that absent fields are not owned.
pub(crate) fn set<T: serde::Serialize>(object: &mut Value, key: &str, value: Option<T>) {
    if let Some(value) = value {
        object[key] = json!(value);
    }
}
