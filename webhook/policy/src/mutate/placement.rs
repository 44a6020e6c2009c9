//! Where the policy has pods run.

use crate::policy::Policy;
use k3k_api::labels;
use k3k_api::v1beta1::policy::Placement;
use serde_json::{Map, Value, json};

/// Adds the required labels of nodes, tolerations, and, with an Exclusive placement, what keeps other tenants off.
pub(super) fn place(spec: &mut Map<String, Value>, policy: &Policy) {
    if !policy.nodes.required_selector.is_empty() {
        let selector = child(spec, "nodeSelector");
        for (key, value) in &policy.nodes.required_selector {
            selector.insert(key.clone(), value.clone().into());
        }
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
        let list = list(spec, "tolerations");
        if !list.contains(&toleration) {
            list.push(toleration);
        }
    }
    if policy.placement() == Placement::Exclusive {
        let wanted = exclusion(&policy.name);
        let anti = child(child(spec, "affinity"), "podAntiAffinity");
        let terms = list(anti, "requiredDuringSchedulingIgnoredDuringExecution");
        if !terms.iter().any(|term| is_same_exclusion(term, &wanted)) {
            terms.push(wanted);
        }
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

/// The object at `key`, made if there is none. Something else there is replaced: the API server would have refused it.
pub(crate) fn child<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object"),
    }
}

/// The list at `key`, made if there is none.
fn list<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let slot = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    match slot {
        Value::Array(list) => list,
        _ => unreachable!("it was made a list"),
    }
}
