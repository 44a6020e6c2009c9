//! Whether an object in the host is as it was applied, so that nothing needs to be written. Pure.

use super::build::{Kind, Manifest};
use k3k_api::labels;
use k3k_api::quantity::Quantity;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

/// Whether applying `manifest` would change nothing: it is what was applied last, and nobody has undone it since.
pub fn is_settled(present: &DynamicObject, manifest: &Manifest) -> bool {
    let wanted = &manifest.object;
    let metadata = serde_json::to_value(&present.metadata).unwrap_or_default();
    present.annotations().get(labels::APPLIED_HASH) == Some(&manifest.hash())
        && has(&metadata["labels"], &wanted["metadata"]["labels"])
        && metadata["ownerReferences"] == wanted["metadata"]["ownerReferences"]
        && match manifest.kind {
            // More would let more through.
            Kind::NetworkPolicy => same(&present.data["spec"], &wanted["spec"]),
            // More would only take away; and the host adds defaults.
            Kind::ResourceQuota | Kind::LimitRange => has(&present.data["spec"], &wanted["spec"]),
            Kind::RoleBinding => {
                ["roleRef", "subjects"].iter().all(|key| same(&present.data[key], &wanted[key]))
            }
        }
}

/// Whether both say the same; what is empty need not be there.
fn same(present: &Value, wanted: &Value) -> bool {
    has(present, wanted) && has(wanted, present)
}

/// Whether `present` has what `wanted` has, in lists neither more nor in another order.
fn has(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| match present.get(key) {
                Some(present) => has(present, value),
                // `{}` selects all: it is not the same as nothing.
                None => value.is_null() || value.as_array().is_some_and(Vec::is_empty),
            })
        }
        (Value::Array(present), Value::Array(wanted)) => {
            present.len() == wanted.len()
                && present.iter().zip(wanted).all(|(present, wanted)| has(present, wanted))
        }
        (Value::String(present), Value::String(wanted)) if present != wanted => {
            // The host writes quantities in its own way.
            let (present, wanted) = (present.parse::<Quantity>(), wanted.parse::<Quantity>());
            present.is_ok_and(|present| wanted.is_ok_and(|wanted| present == wanted))
        }
        _ => present == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Owner;
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({ "hard": { "cpu": "1" } }), json!({ "hard": { "cpu": "1000m" } }), true)]
    #[case(json!({ "hard": { "cpu": "2" } }), json!({ "hard": { "cpu": "1000m" } }), false)]
    #[case(json!({ "hard": { "cpu": "1", "pods": "1" } }), json!({ "hard": { "cpu": "1" } }), true)]
    #[case(json!({ "limits": [{ "type": "Pod", "a": 1 }] }), json!({ "limits": [{ "type": "Pod" }] }), true)]
    #[case(json!({ "limits": [{ "type": "Pod" }, { "type": "X" }] }), json!({ "limits": [{ "type": "Pod" }] }), false)]
    fn quotas_may_have_more(#[case] present: Value, #[case] wanted: Value, #[case] want: bool) {
        assert_eq!(has(&present, &wanted), want);
    }

    #[rstest]
    #[case(json!({ "podSelector": {} }), json!({ "podSelector": {}, "egress": [] }), true)]
    #[case(json!({ "podSelector": {}, "egress": [{}] }), json!({ "podSelector": {}, "egress": [] }), false)]
    #[case(json!({ "podSelector": { "matchLabels": { "a": "b" } } }), json!({ "podSelector": {} }), false)]
    #[case(json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": {} }, {}] }] }), json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": {} }] }] }), false)]
    #[case(json!({ "ingress": [{}] }), json!({ "ingress": [{ "from": [{ "podSelector": {} }] }] }), false)]
    fn network_policies_may_not(#[case] present: Value, #[case] wanted: Value, #[case] want: bool) {
        assert_eq!(same(&present, &wanted), want);
    }

    #[test]
    fn another_owner_or_label_is_drift() {
        let owner = Owner { name: "gold".into(), uid: "p".into() };
        let manifest =
            Manifest::new(&owner, "t", Kind::ResourceQuota, "", &json!({ "hard": { "pods": "1" } }));
        let object = |value: &Value| serde_json::from_value::<DynamicObject>(value.clone()).unwrap();
        let present = manifest.sealed();
        assert!(is_settled(&object(&present), &manifest));
        let mut orphaned = present.clone();
        orphaned["metadata"]["ownerReferences"] = json!([]);
        assert!(!is_settled(&object(&orphaned), &manifest));
        let mut unlabelled = present;
        unlabelled["metadata"]["labels"] = json!({ "policy.k3k.io/policy-name": "gold" });
        assert!(!is_settled(&object(&unlabelled), &manifest));
    }
}
