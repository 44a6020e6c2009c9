//! Label selectors of tenants: bound to their own pods in the host, or asked about labels of the nested cluster.

use crate::{Owner, Refusal};
use k3k_api::labels::is_reserved;
use serde_json::{Map, Value, json};

/// A selector of pods of one nested namespace, so that it finds host pods of that namespace and no others.
///
/// # Errors
/// What cannot be judged; and keys under which host pods carry our labels instead of the tenant's.
pub fn within(owner: &Owner, namespace: &str, selector: &Value, path: &str) -> Result<Value, Refusal> {
    narrowed(selector, path, owner.scope(namespace), None)
}

/// A selector of pods in any of `namespaces` of the nested cluster.
///
/// # Errors
/// As [`within`].
pub fn across(owner: &Owner, namespaces: &[String], selector: &Value, path: &str) -> Result<Value, Refusal> {
    let mut scope = owner.scope("");
    scope.remove(k3k_api::labels::VIRTUAL_NAMESPACE_LABEL);
    let values: Vec<_> = namespaces.iter().map(|name| k3k_api::names::label_value(name)).collect();
    let within = json!({"key": k3k_api::labels::VIRTUAL_NAMESPACE_LABEL, "operator": "In", "values": values});
    narrowed(selector, path, scope, Some(within))
}

fn narrowed(
    selector: &Value,
    path: &str,
    scope: Map<String, Value>,
    within: Option<Value>,
) -> Result<Value, Refusal> {
    let mut labels = Map::new();
    let mut expressions = Vec::new();
    for (field, value) in selector.as_object().into_iter().flatten() {
        match (field.as_str(), value) {
            ("matchLabels", Value::Object(wanted)) => labels.extend(wanted.clone()),
            ("matchExpressions", Value::Array(wanted)) => expressions.extend(wanted.iter().cloned()),
            (_, Value::Null) => {}
            _ => return Err(Refusal::unknown(format!("{path}.{field}"))),
        }
    }
    let mut keys = labels.keys().map(String::as_str).chain(expressions.iter().filter_map(key));
    if let Some(key) = keys.find(|key| is_reserved(key)) {
        let why = "labels of this domain are k3k's own on pods in the host";
        return Err(Refusal::new(format!("{path}[{key}]"), why));
    }
    labels.extend(scope);
    expressions.extend(within);
    let mut narrowed = json!({"matchLabels": labels});
    if !expressions.is_empty() {
        narrowed["matchExpressions"] = expressions.into();
    }
    Ok(narrowed)
}

fn key(expression: &Value) -> Option<&str> {
    expression["key"].as_str()
}

/// Whether `labels` satisfy `selector`, by the rules of Kubernetes' label selectors. What is not understood is not satisfied.
pub fn matches(selector: &Value, labels: &Map<String, Value>) -> bool {
    let all_labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    all_labels.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| {
            let found = key(expression).and_then(|key| labels.get(key));
            let listed =
                |value: &Value| expression["values"].as_array().is_some_and(|values| values.contains(value));
            match expression["operator"].as_str() {
                Some("In") => found.is_some_and(listed),
                Some("NotIn") => !found.is_some_and(listed),
                Some("Exists") => found.is_some(),
                Some("DoesNotExist") => found.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn owner() -> Owner {
        Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() }
    }

    #[test]
    fn a_selector_finds_nothing_of_others() {
        let all = within(&owner(), "shop", &json!({}), "s").unwrap();
        assert_eq!(
            all,
            json!({"matchLabels": {"k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop"}})
        );
        let some = json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]});
        let some = across(&owner(), &["a".into(), "b".into()], &some, "s").unwrap();
        assert_eq!(
            some,
            json!({
                "matchLabels": {"app": "web", "k3k.io/clusterName": "dev"},
                "matchExpressions": [
                    {"key": "tier", "operator": "Exists"},
                    {"key": "k3k.io/virtual-namespace", "operator": "In", "values": ["a", "b"]},
                ],
            })
        );
    }

    #[rstest]
    #[case(json!({"matchLabels": {"k3k.io/clusterName": "other"}}))]
    #[case(json!({"matchExpressions": [{"key": "k3k.io/component", "operator": "DoesNotExist"}]}))]
    #[case(json!({"matchFields": []}))]
    fn what_would_reach_for_others_is_refused(#[case] selector: Value) {
        assert!(within(&owner(), "shop", &selector, "s").is_err());
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({"matchLabels": {"a": "1"}}), true)]
    #[case(json!({"matchLabels": {"a": "2"}}), false)]
    #[case(json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}), true)]
    #[case(json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), false)]
    #[case(json!({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}), true)]
    #[case(json!({"matchExpressions": [{"key": "b", "operator": "Exists"}]}), false)]
    #[case(json!({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}), true)]
    #[case(json!({"matchExpressions": [{"key": "b", "operator": "Near"}]}), false)]
    fn labels_satisfy_selectors(#[case] selector: Value, #[case] expected: bool) {
        let labels = json!({"a": "1"});
        assert_eq!(matches(&selector, labels.as_object().unwrap()), expected);
    }
}
