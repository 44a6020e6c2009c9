//! Where the policy has pods run.

use crate::policy::Policy;
use k3k_api::labels;
use k3k_api::v1beta1::policy::Placement;
use serde_json::{Map, Value, json};

/// Adds the required labels of nodes, tolerations, and, with an Exclusive placement, what keeps other tenants off.
pub(super) fn place(spec: &mut Map<String, Value>, policy: &Policy) {
    if !policy.nodes.required_selector.is_empty() {
        within(spec, "nodeSelector", |selector| {
            for (key, value) in &policy.nodes.required_selector {
                selector.insert(key.clone(), value.clone().into());
            }
        });
    }
    for required in policy.nodes.tolerations.iter().flat_map(|rule| &rule.required) {
        let mut toleration = json!({"key": required.key, "operator": "Exists"});
        if let Some(value) = &required.value {
            toleration["operator"] = "Equal".into();
            toleration["value"] = value.clone().into();
        }
        if let Some(effect) = required.effect {
            toleration["effect"] = effect.as_str().into();
        }
        add(spec, "tolerations", toleration, Value::eq);
    }
    if policy.placement() == Placement::Exclusive {
        let wanted = exclusion(&policy.name);
        within(spec, "affinity", |affinity| {
            within(affinity, "podAntiAffinity", |anti| {
                add(anti, "requiredDuringSchedulingIgnoredDuringExecution", wanted, is_same_exclusion);
            });
        });
    }
}

/// The term that keeps pods of other policies' clusters off the node of a pod. The scheduler holds both to it, also when only one has it.
pub(crate) fn exclusion(policy: &str) -> Value {
    json!({
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {},
        "namespaceSelector": {"matchExpressions": [
            {"key": labels::CLUSTER_NAMESPACE, "operator": "In", "values": ["true"]},
            {"key": labels::POLICY_NAME, "operator": "NotIn", "values": [policy]},
        ]},
    })
}

/// Whether `term` means what `wanted` does: the API server writes an empty selector as it likes.
pub(crate) fn is_same_exclusion(term: &Value, wanted: &Value) -> bool {
    let selects_all = term.get("labelSelector").and_then(Value::as_object).is_some_and(Map::is_empty);
    selects_all
        && term.get("topologyKey") == wanted.get("topologyKey")
        && term.get("namespaceSelector") == wanted.get("namespaceSelector")
        && ["namespaces", "matchLabelKeys", "mismatchLabelKeys"]
            .iter()
            .all(|key| term.get(key).is_none_or(Value::is_null))
}

/// Changes the object at `key`, which is made if there is none. Something else there is replaced: the API server would have refused it.
pub(crate) fn within(map: &mut Map<String, Value>, key: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    let mut object = match map.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    };
    change(&mut object);
    map.insert(key.to_owned(), Value::Object(object));
}

/// Adds `item` to the list at `key`, if it has no `same` one yet. The list is made as [`within`] makes objects.
fn add(map: &mut Map<String, Value>, key: &str, item: Value, same: impl Fn(&Value, &Value) -> bool) {
    let mut list = match map.remove(key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    if !list.iter().any(|one| same(one, &item)) {
        list.push(item);
    }
    map.insert(key.to_owned(), Value::Array(list));
}
