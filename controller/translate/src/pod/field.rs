//! Fields of the pod that its containers read (the downward API). The host's kubelet would answer with the host pod's
//! values; a tenant must see the nested pod's.

use super::{Visit, object, only, text};
use crate::Refusal;
use k3k_api::labels;
use serde_json::{Map, Value, json};

/// What takes the place of a field reference in an environment variable.
pub(super) enum Rewritten {
    /// A value known now.
    Value(String),
    /// A reference that the host's kubelet resolves.
    Reference(Value),
}

pub(super) fn in_environment(visit: &mut Visit<'_>, value: &Value, path: &str) -> Result<Rewritten, Refusal> {
    let field = field_path(value, path)?;
    let spec = visit.pod.get("spec");
    Ok(match field {
        "metadata.name" => Rewritten::Value(visit.origin.name.clone()),
        "metadata.namespace" => Rewritten::Value(visit.origin.namespace.clone()),
        "metadata.uid" => Rewritten::Value(visit.origin.uid.clone()),
        "spec.nodeName" => Rewritten::Value(visit.context.node_name.clone()),
        "spec.serviceAccountName" => {
            let name = spec.and_then(|spec| spec.get("serviceAccountName")).and_then(Value::as_str);
            Rewritten::Value(name.unwrap_or("default").to_owned())
        }
        "status.hostIP" | "status.hostIPs" => Rewritten::Value(visit.context.node_ip.clone()),
        "status.podIP" | "status.podIPs" => Rewritten::Reference(value.clone()),
        _ => match subscript(field) {
            Some(("metadata.labels", key)) => Rewritten::Value(tenant_value(visit.pod, "labels", key)),
            Some(("metadata.annotations", key)) => {
                Rewritten::Value(tenant_value(visit.pod, "annotations", key))
            }
            _ => return Err(Refusal::unknown(path)),
        },
    })
}

/// The items of a `downwardAPI` volume or projection.
pub(super) fn in_volume(visit: &mut Visit<'_>, items: &Value, path: &str) -> Result<Value, Refusal> {
    let mut host = Vec::new();
    for (index, item) in super::array(items, path)?.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let item = object(Some(item), &path)?;
        only(item, &["fieldRef", "mode", "path", "resourceFieldRef"], &path)?;
        let mut item = item.clone();
        if let Some(reference) = item.get_mut("fieldRef").filter(|reference| !reference.is_null()) {
            let field = volume_field(visit, reference, &format!("{path}.fieldRef"))?;
            *reference = json!({"fieldPath": field});
        }
        host.push(item.into());
    }
    Ok(Value::Array(host))
}

fn volume_field(visit: &mut Visit<'_>, value: &Value, path: &str) -> Result<String, Refusal> {
    let field = field_path(value, path)?;
    Ok(match field {
        "metadata.name" => annotation(labels::VIRTUAL_NAME),
        "metadata.namespace" => annotation(labels::VIRTUAL_NAMESPACE),
        "metadata.uid" => annotation(labels::VIRTUAL_UID),
        "metadata.labels" => field.to_owned(),
        "metadata.annotations" => {
            return Err(Refusal::new(
                path,
                "all annotations as a file are not supported; name one: metadata.annotations['key']",
            ));
        }
        _ => match subscript(field) {
            Some(("metadata.labels", key)) if !labels::is_reserved(key) => field.to_owned(),
            Some((map @ ("metadata.labels" | "metadata.annotations"), key)) => {
                // The value travels in an annotation of ours, under a key that no host controller knows.
                let map = map.trim_start_matches("metadata.");
                let value = tenant_value(visit.pod, map, key);
                let key = format!("virtual.k3k.io/{map}.{}", visit.annotations.len());
                visit.annotations.insert(key.clone(), value.into());
                annotation(&key)
            }
            _ => return Err(Refusal::unknown(path)),
        },
    })
}

fn annotation(key: &str) -> String {
    format!("metadata.annotations['{key}']")
}

fn tenant_value(pod: &Value, map: &str, key: &str) -> String {
    let values = pod.pointer(&format!("/metadata/{map}")).and_then(Value::as_object);
    values.and_then(|values| values.get(key)).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn field_path<'a>(value: &'a Value, path: &str) -> Result<&'a str, Refusal> {
    let map: &Map<String, Value> = object(Some(value), path)?;
    only(map, &["apiVersion", "fieldPath"], path)?;
    text(map, "fieldPath", path)
}

/// `metadata.labels['key']` as (`metadata.labels`, `key`).
fn subscript(field: &str) -> Option<(&str, &str)> {
    let (map, rest) = field.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}
