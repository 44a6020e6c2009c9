//! What the webhook's registrations should say about its silence. Pure.

use k3k_api::break_glass::{BreakGlass, CONDITION, OPENED};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// Whether the webhook's silence is taken for consent, and by which condition it is not asked at all.
type Openness = (&'static str, Option<String>);

/// How open the webhook called `name` should be.
fn wanted(name: &str, glass: Option<&BreakGlass>) -> Openness {
    match glass {
        Some(glass) if OPENED.contains(&name) && glass.namespaces.is_empty() => ("Ignore", None),
        Some(glass) if OPENED.contains(&name) => {
            let names: Vec<String> = glass.namespaces.iter().map(|name| format!("'{name}'")).collect();
            ("Fail", Some(format!("!(request.namespace in [{}])", names.join(", "))))
        }
        Some(_) | None => ("Fail", None),
    }
}

/// How open a webhook of a registration is.
fn present(webhook: &Value) -> (&str, Option<&str>) {
    let conditions = webhook["matchConditions"].as_array().into_iter().flatten();
    let condition = conditions.into_iter().find(|condition| condition["name"] == CONDITION);
    (
        webhook["failurePolicy"].as_str().unwrap_or("Fail"),
        condition.and_then(|condition| condition["expression"].as_str()),
    )
}

/// The server-side apply patch that makes the webhooks of `found` as open as they should be; nothing when they are. No other field is touched.
pub fn patch(found: &DynamicObject, glass: Option<&BreakGlass>) -> Option<Value> {
    let ours: Vec<(&Value, &str)> = found.data["webhooks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|webhook| Some((webhook, webhook["name"].as_str()?)))
        .filter(|(_, name)| name.ends_with(".k3k.io"))
        .collect();
    let is_right = |(webhook, name): &(&Value, &str)| {
        let (policy, condition) = wanted(name, glass);
        present(webhook) == (policy, condition.as_deref())
    };
    if ours.iter().all(is_right) {
        return None;
    }
    // All of them: what an apply leaves out, it gives up.
    let webhooks: Vec<Value> = ours
        .iter()
        .map(|(_, name)| {
            let (policy, condition) = wanted(name, glass);
            let mut webhook = json!({"name": name, "failurePolicy": policy});
            if let Some(expression) = condition {
                webhook["matchConditions"] = json!([{"name": CONDITION, "expression": expression}]);
            }
            webhook
        })
        .collect();
    let types = found.types.clone().unwrap_or_default();
    Some(json!({
        "apiVersion": types.api_version, "kind": types.kind,
        // By its UID, so that nothing is made anew that somebody has deleted meanwhile.
        "metadata": {"name": found.name_any(), "uid": found.metadata.uid},
        "webhooks": webhooks,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(webhooks: &Value) -> DynamicObject {
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "k3k-webhook", "uid": "u"}, "webhooks": webhooks});
        serde_json::from_value(object).unwrap()
    }

    fn installed() -> Value {
        let own = json!([{"name": "not-bookkeeping", "expression": "true"}]);
        json!([
            {"name": "validate.policy.k3k.io", "failurePolicy": "Fail", "matchConditions": own},
            {"name": "namespaces.guard.k3k.io", "failurePolicy": "Fail"},
            {"name": "other.example.com", "failurePolicy": "Ignore"},
        ])
    }

    fn glass(namespaces: &[&str]) -> BreakGlass {
        let said = json!({"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:30:00Z", "reason": "r", "namespaces": namespaces});
        BreakGlass::read(&said.to_string()).unwrap()
    }

    #[test]
    fn what_is_closed_is_left_alone() {
        assert_eq!(patch(&found(&installed()), None), None);
        assert_eq!(patch(&found(&json!([])), Some(&glass(&[]))), None);
    }

    #[test]
    fn everywhere_the_webhook_is_asked_and_may_be_silent() {
        let opened = patch(&found(&installed()), Some(&glass(&[]))).unwrap();
        assert_eq!(opened["metadata"], json!({"name": "k3k-webhook", "uid": "u"}));
        assert_eq!(
            opened["webhooks"],
            json!([{"name": "validate.policy.k3k.io", "failurePolicy": "Ignore"},
                   {"name": "namespaces.guard.k3k.io", "failurePolicy": "Fail"}])
        );
        let mut open = installed();
        open[0]["failurePolicy"] = "Ignore".into();
        assert_eq!(patch(&found(&open), Some(&glass(&[]))), None);
        let closed = patch(&found(&open), None).unwrap();
        assert_eq!(closed["webhooks"][0], json!({"name": "validate.policy.k3k.io", "failurePolicy": "Fail"}));
    }

    #[test]
    fn in_some_namespaces_it_is_not_asked() {
        let opened = patch(&found(&installed()), Some(&glass(&["a", "b"]))).unwrap();
        let condition = json!([{"name": "break-glass", "expression": "!(request.namespace in ['a', 'b'])"}]);
        assert_eq!(
            opened["webhooks"][0],
            json!({"name": "validate.policy.k3k.io", "failurePolicy": "Fail", "matchConditions": condition})
        );
        assert_eq!(
            opened["webhooks"][1],
            json!({"name": "namespaces.guard.k3k.io", "failurePolicy": "Fail"})
        );
        let mut open = installed();
        let conditions = open[0]["matchConditions"].as_array_mut().unwrap();
        conditions.push(condition[0].clone());
        assert_eq!(patch(&found(&open), Some(&glass(&["a", "b"]))), None);
        assert!(patch(&found(&open), Some(&glass(&["a"]))).is_some(), "fewer namespaces");
        let closed = patch(&found(&open), None).unwrap();
        assert_eq!(closed["webhooks"][0], json!({"name": "validate.policy.k3k.io", "failurePolicy": "Fail"}));
    }

    #[test]
    fn somebody_elses_opening_is_closed() {
        let mut open = installed();
        open[1]["failurePolicy"] = "Ignore".into();
        assert!(patch(&found(&open), None).is_some());
    }
}
