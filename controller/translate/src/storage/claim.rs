//! A nested claim as a claim of the host.

use super::volume_name;
use crate::{Origin, Owner, Refusal};
use k3k_api::storage::{HOST_CLASS, PROVISIONER};
use serde_json::{Map, Value, json};

/// The host claim for a nested one. `class` is the nested class that the claim names, if there is one of that name.
///
/// Only fields of known effect are taken over: a claim that named a volume, a selector or a source would reach for what
/// other tenants of the host own.
///
/// # Errors
/// Why the host cannot serve the claim.
pub fn claim(owner: &Owner, nested: &Value, class: Option<&Value>) -> Result<Value, Refusal> {
    let origin = Origin::of_nested(nested)
        .ok_or_else(|| Refusal::new("metadata", "the claim has no name, namespace or UID"))?;
    let spec = nested.get("spec").and_then(Value::as_object);
    let mut host = Map::new();
    for (field, value) in spec.into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let path = format!("spec.{field}");
        match field.as_str() {
            "accessModes" | "volumeMode" => {
                host.insert(field.clone(), value.clone());
            }
            "resources" => {
                host.insert(field.clone(), amounts(value, &path)?);
            }
            "storageClassName" => {
                host.insert(field.clone(), host_class(value, class)?.into());
            }
            "volumeName" if value == volume_name(&origin.uid).as_str() => {}
            "volumeName" => {
                return Err(Refusal::new(
                    path,
                    "in shared mode every claim gets a new volume from the host; existing volumes cannot be claimed",
                ));
            }
            "selector" => {
                return Err(Refusal::new(
                    path,
                    "in shared mode a claim gets a new volume from the host; it cannot select one",
                ));
            }
            "dataSource" | "dataSourceRef" | "volumeAttributesClassName" => {
                return Err(Refusal::unsupported(path));
            }
            _ => return Err(Refusal::unknown(path)),
        }
    }
    let mut metadata = owner.metadata(&origin, None);
    // Provisioners and backup tools of the host read labels of claims: only ours.
    metadata["labels"] = owner.scope(&origin.namespace).into();
    Ok(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": host}))
}

/// How much storage a claim asks for.
pub fn capacity_request(claim: &Value) -> &Value {
    &claim["spec"]["resources"]["requests"]["storage"]
}

/// The host's class for a nested claim's: the one that the nested class names, else the one of the same name.
///
/// # Errors
/// The nested cluster wants its own volumes for this claim, which pods of the host could not mount.
pub fn host_class(name: &Value, class: Option<&Value>) -> Result<String, Refusal> {
    let path = "spec.storageClassName";
    let name = name.as_str().ok_or_else(|| Refusal::new(path, "a string is expected here"))?;
    if name.is_empty() {
        return Err(Refusal::new(
            path,
            "an empty class asks for an existing volume of the nested cluster; in shared mode volumes come from the host",
        ));
    }
    let Some(class) = class else { return Ok(name.to_owned()) };
    if class["provisioner"] != PROVISIONER {
        let provisioner = class["provisioner"].as_str().unwrap_or_default();
        return Err(Refusal::new(
            path,
            format!(
                "class {name:?} is served by {provisioner:?}; in shared mode volumes come from the host, by classes of {PROVISIONER:?}"
            ),
        ));
    }
    let host = class
        .pointer("/parameters")
        .and_then(|parameters| parameters.get(HOST_CLASS))
        .and_then(Value::as_str);
    Ok(host.filter(|host| !host.is_empty()).unwrap_or(name).to_owned())
}

/// Requests and limits of storage. The API knows no other resource here.
fn amounts(value: &Value, path: &str) -> Result<Value, Refusal> {
    for (kind, amounts) in value.as_object().into_iter().flatten() {
        if !["requests", "limits"].contains(&kind.as_str()) {
            return Err(Refusal::unknown(format!("{path}.{kind}")));
        }
        if let Some(other) =
            amounts.as_object().into_iter().flatten().map(|(name, _)| name).find(|name| *name != "storage")
        {
            return Err(Refusal::unknown(format!("{path}.{kind}.{other}")));
        }
    }
    Ok(value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn owner() -> Owner {
        Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() }
    }

    fn nested(more: &Value) -> Value {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem", "storageClassName": "fast",
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        json!({"metadata": {
            "name": "data", "namespace": "shop", "uid": "u", "labels": {"app": "db"},
            "annotations": {"volume.kubernetes.io/selected-node": "k3k-dev", "pv.kubernetes.io/bind-completed": "yes"},
        }, "spec": spec})
    }

    #[test]
    fn a_claim_takes_amounts_and_modes_and_nothing_else() {
        let host = claim(&owner(), &nested(&json!({"volumeName": "pvc-u", "selector": null})), None).unwrap();
        assert_eq!(
            host,
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": k3k_api::names::translated("dev", "shop", "data"), "namespace": "k3k-dev",
                    "labels": {"k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop"},
                    "annotations": {"k3k.io/name": "data", "k3k.io/namespace": "shop", "k3k.io/uid": "u"},
                    "ownerReferences": [{"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "name": "dev", "uid": "c"}],
                },
                "spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem",
                    "storageClassName": "fast",
                },
            })
        );
    }

    #[rstest]
    #[case("spec.volumeName", json!({"volumeName": "somebodys"}))]
    #[case("spec.volumeName", json!({"volumeName": "pvc-another"}))]
    #[case("spec.selector", json!({"selector": {}}))]
    #[case("spec.dataSource", json!({"dataSource": {"kind": "PersistentVolumeClaim", "name": "other"}}))]
    #[case("spec.dataSourceRef", json!({"dataSourceRef": {"kind": "VolumeSnapshot", "name": "s", "namespace": "kube-system"}}))]
    #[case("spec.volumeAttributesClassName", json!({"volumeAttributesClassName": "gold"}))]
    #[case("spec.storageClassName", json!({"storageClassName": ""}))]
    #[case("spec.teleport", json!({"teleport": true}))]
    #[case("spec.resources.claims", json!({"resources": {"claims": []}}))]
    #[case("spec.resources.requests.cpu", json!({"resources": {"requests": {"cpu": "1"}}}))]
    fn what_would_reach_for_others_volumes_is_refused(#[case] path: &str, #[case] spec: Value) {
        assert_eq!(claim(&owner(), &nested(&spec), None).unwrap_err().path, path);
    }

    #[test]
    fn a_class_is_the_hosts_of_the_same_name_or_of_the_name_it_gives() {
        let ours = |parameters: &Value| json!({"provisioner": PROVISIONER, "parameters": parameters});
        let name = Value::from("fast");
        assert_eq!(host_class(&name, None).unwrap(), "fast");
        assert_eq!(host_class(&name, Some(&ours(&Value::Null))).unwrap(), "fast");
        assert_eq!(host_class(&name, Some(&ours(&json!({"class": "ssd"})))).unwrap(), "ssd");
        let theirs = json!({"provisioner": "rancher.io/local-path"});
        assert!(host_class(&name, Some(&theirs)).unwrap_err().why.contains("rancher.io/local-path"));
    }
}
