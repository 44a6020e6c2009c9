//! ConfigMaps and Secrets that pods of a nested cluster use.

use crate::{Origin, Owner, Refusal};
use serde_json::{Map, Value, json};

/// The two kinds of object that carry data for pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DataKind {
    /// `v1/ConfigMap`
    ConfigMap,
    /// `v1/Secret`
    Secret,
}

impl DataKind {
    /// The `kind` of the API.
    pub fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// The host copy of a nested ConfigMap or Secret. `users` are the host pods that use it, as owner references: when
/// the last of them is gone the host's garbage collector removes the copy, whether or not we are running. While
/// there is none yet, the Cluster stands in.
pub fn copy(owner: &Owner, kind: DataKind, nested: &Value, users: &[Value]) -> Result<Value, Refusal> {
    let origin = Origin::of_nested(nested)
        .ok_or_else(|| Refusal::new("metadata", "the object has no name, namespace or UID"))?;
    let mut metadata = owner.metadata(&origin, None);
    if !users.is_empty() {
        metadata["ownerReferences"] = Value::from(users.to_vec());
    }
    let mut copy = json!({"apiVersion": "v1", "kind": kind.kind(), "metadata": metadata});
    for field in ["data", "binaryData"] {
        if let Some(value) = nested.get(field) {
            copy[field] = value.clone();
        }
    }
    if kind == DataKind::Secret {
        copy["type"] = secret_type(nested).into();
    }
    Ok(copy)
}

/// What is to be taken away from the host's copy to become `desired`, as a merge patch: applying does not remove what others
/// put in.
pub fn excess(host: &Value, desired: &Value) -> Option<Value> {
    let fields = ["data", "binaryData", "stringData"];
    let mut patch = json!({});
    for field in ["data", "binaryData"] {
        for key in host[field].as_object().into_iter().flat_map(Map::keys) {
            if fields.iter().all(|field| desired[field].get(key).is_none()) {
                patch[field][key] = Value::Null;
            }
        }
    }
    if patch.as_object().is_none_or(Map::is_empty) {
        return None;
    }
    patch["metadata"] = json!({"uid": host["metadata"]["uid"]});
    Some(patch)
}

/// Types that Secrets keep: the host's kubelet asks for those of registry credentials, ingress controllers for that of certificates.
const TYPES: [&str; 3] = ["kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg", "kubernetes.io/tls"];

/// Every other type would give the copy a meaning in the host – a service-account-token Secret would be filled with a token of the host –
/// so it is opaque.
fn secret_type(nested: &Value) -> &str {
    let kind = nested.get("type").and_then(Value::as_str);
    kind.filter(|kind| TYPES.contains(kind)).unwrap_or("Opaque")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_put_in_is_taken_away() {
        let desired = json!({"data": {"a": "eA=="}, "stringData": {"b": "x"}});
        let mut host = json!({"metadata": {"uid": "u"}, "data": {"a": "eQ==", "b": "eA=="}});
        assert_eq!(excess(&host, &desired), None);
        host["data"]["c"] = "eA==".into();
        host["binaryData"] = json!({"d": "eA=="});
        assert_eq!(
            excess(&host, &desired),
            Some(json!({"metadata": {"uid": "u"}, "data": {"c": null}, "binaryData": {"d": null}}))
        );
    }

    #[test]
    fn a_token_secret_becomes_opaque() {
        let owner = Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() };
        let nested = json!({
            "metadata": {"name": "t", "namespace": "default", "uid": "u", "annotations": {"kubernetes.io/service-account.name": "default"}},
            "type": "kubernetes.io/service-account-token", "data": {"token": "eA=="},
        });
        let host = copy(&owner, DataKind::Secret, &nested, &[]).unwrap();
        assert_eq!(host["type"], "Opaque");
        assert_eq!(host["data"], json!({"token": "eA=="}));
        assert!(host["metadata"]["annotations"].get("kubernetes.io/service-account.name").is_none());
        assert_eq!(host["metadata"]["ownerReferences"][0]["kind"], "Cluster");
    }
}
