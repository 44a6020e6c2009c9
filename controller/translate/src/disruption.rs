//! How many of a tenant's pods the host may take down at once.
//!
//! A budget is counted in the nested cluster, where the pods have controllers with a scale: its disruption controller knows what
//! a percentage, or `maxUnavailable`, comes to. In the host the same pods belong to nobody, and only a plain number of pods that
//! must stay means the same. So the host's copy has the number that the nested status tells.

use crate::copy::Desired;
use crate::{Origin, Owner, Refusal, selector};
use serde_json::{Value, json};

/// Fields of a budget's spec. The first three go into the number and the selector.
const FIELDS: [&str; 4] = ["maxUnavailable", "minAvailable", "selector", "unhealthyPodEvictionPolicy"];

/// The host's budget for a nested one.
///
/// # Errors
/// A field, or a selector, that cannot be judged.
pub fn translate(owner: &Owner, nested: &Value) -> Result<Desired, Refusal> {
    let origin = Origin::of_nested(nested)
        .ok_or_else(|| Refusal::new("metadata", "the budget has no name, namespace or UID"))?;
    let spec = &nested["spec"];
    if let Some(field) = spec
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, _)| field.as_str())
        .find(|field| !FIELDS.contains(field))
    {
        return Err(Refusal::unknown(format!("spec.{field}")));
    }
    // No selector selects no pod; an empty one selects all.
    if spec["selector"].is_null() {
        return Ok(Desired::Nothing(Vec::new()));
    }
    let selector = selector::within(owner, &origin.namespace, &spec["selector"], "spec.selector")?;
    let status = &nested["status"];
    let is_seen = status["observedGeneration"]
        .as_u64()
        .is_some_and(|seen| Some(seen) >= nested["metadata"]["generation"].as_u64());
    if !is_seen {
        return Ok(Desired::Later);
    }
    let mut host = json!({"selector": selector});
    if cannot_count(status) {
        // As inside: what cannot be counted is not disrupted.
        host["maxUnavailable"] = 0.into();
    } else {
        host["minAvailable"] = status["desiredHealthy"].as_u64().unwrap_or(0).into();
    }
    if let Some(policy) = spec.get("unhealthyPodEvictionPolicy").filter(|policy| !policy.is_null()) {
        host["unhealthyPodEvictionPolicy"] = policy.clone();
    }
    Ok(Desired::whole(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": owner.metadata(&origin, None), "spec": host,
    })))
}

/// Whether the nested controller found no way to count (`SyncFailed`, k8s.io/api policy/v1).
fn cannot_count(status: &Value) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions
        .any(|condition| condition["type"] == "DisruptionAllowed" && condition["reason"] == "SyncFailed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn owner() -> Owner {
        Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() }
    }

    fn budget(spec: &Value, status: &Value) -> Value {
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u", "generation": 2}, "spec": spec, "status": status})
    }

    fn copy(desired: Desired) -> Value {
        let Desired::Copy { object, .. } = desired else { panic!("a copy, not {desired:?}") };
        object
    }

    #[test]
    fn a_share_becomes_the_number_that_the_nested_cluster_counts() {
        let spec = json!({"maxUnavailable": "34%", "selector": {"matchLabels": {"app": "web"}}, "unhealthyPodEvictionPolicy": "AlwaysAllow"});
        let made = copy(
            translate(&owner(), &budget(&spec, &json!({"observedGeneration": 2, "desiredHealthy": 4})))
                .unwrap(),
        );
        assert_eq!(
            made["spec"],
            json!({
                "minAvailable": 4, "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": {"app": "web", "k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop"}},
            })
        );
        assert_eq!(
            made["metadata"]["labels"],
            json!({"k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop"})
        );
    }

    #[test]
    fn what_cannot_be_counted_stays() {
        let status = json!({"observedGeneration": 2, "conditions": [{"type": "DisruptionAllowed", "reason": "SyncFailed"}]});
        let made = copy(
            translate(&owner(), &budget(&json!({"selector": {}, "minAvailable": "50%"}), &status)).unwrap(),
        );
        assert_eq!((&made["spec"]["maxUnavailable"], made["spec"].get("minAvailable")), (&json!(0), None));
    }

    #[rstest]
    #[case(json!({}))]
    #[case(json!({"observedGeneration": 1, "desiredHealthy": 4}))]
    fn a_budget_that_was_not_counted_yet_waits(#[case] status: Value) {
        assert_eq!(translate(&owner(), &budget(&json!({"selector": {}}), &status)), Ok(Desired::Later));
    }

    #[test]
    fn no_selector_selects_nothing_and_the_unknown_is_refused() {
        assert_eq!(
            translate(&owner(), &budget(&json!({"minAvailable": 1}), &Value::Null)),
            Ok(Desired::Nothing(Vec::new()))
        );
        assert!(translate(&owner(), &budget(&json!({"selector": {}, "pace": 1}), &Value::Null)).is_err());
        let spoof = json!({"selector": {"matchLabels": {"k3k.io/clusterName": "other"}}});
        assert!(translate(&owner(), &budget(&spoof, &Value::Null)).is_err());
    }
}
