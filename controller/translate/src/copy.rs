//! Copies whose spec the host does not fill in with choices of its own, or with few.

use crate::Refusal;
use serde_json::{Map, Value, json};

/// What a nested object needs in the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Desired {
    /// This object.
    Copy {
        /// The host's object.
        object: Value,
        /// What of the nested object is not in it: the tenant is told.
        left_out: Vec<Refusal>,
        /// Nested Secrets, of the same namespace, that it names.
        secrets: Vec<String>,
    },
    /// What it must say cannot be known before the nested cluster's own controllers have seen the object.
    Later,
    /// Nothing, and what the tenant is told about that.
    Nothing(Vec<Refusal>),
}

impl Desired {
    /// A copy that says all that the nested object says.
    pub fn whole(object: Value) -> Self {
        Self::Copy { object, left_out: Vec::new(), secrets: Vec::new() }
    }
}

/// What makes the spec and annotations of `host` say what those of `desired` say and no more, as a merge patch; `None` if they do. Fields
/// of the spec in `host_fills` are the host's to fill where `desired` is silent.
pub fn correction(host: &Value, desired: &Value, host_fills: &[&str]) -> Option<Value> {
    let mut there = host["spec"].clone();
    for field in host_fills {
        if desired["spec"].get(field).is_none()
            && let Some(there) = there.as_object_mut()
        {
            there.remove(*field);
        }
    }
    let annotations = difference(&host["metadata"]["annotations"], &desired["metadata"]["annotations"]);
    let spec = difference(&there, &desired["spec"]);
    let mut patch = Map::new();
    patch.extend(annotations.map(|annotations| ("metadata".to_owned(), json!({"annotations": annotations}))));
    patch.extend(spec.map(|spec| ("spec".to_owned(), spec)));
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The merge patch (RFC 7386) that makes `wanted` of `there`; `None` if they are equal. Without values and empty are one.
fn difference(there: &Value, wanted: &Value) -> Option<Value> {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            let mut patch = Map::new();
            for (key, value) in wanted {
                let change = difference(there.get(key).unwrap_or(&Value::Null), value);
                patch.extend(change.map(|change| (key.clone(), change)));
            }
            for key in there.keys().filter(|key| !wanted.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (Value::Null, wanted) if is_empty(wanted) => None,
        (there, wanted) => (there != wanted).then(|| wanted.clone()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_mended_and_agreement_is_not() {
        let desired = json!({"metadata": {"annotations": {"k3k.io/name": "a"}}, "spec": {"a": 1, "list": [1], "in": {"x": 1}, "none": []}});
        let mut host = desired.clone();
        host["metadata"]["uid"] = "u".into();
        host["spec"].as_object_mut().unwrap().remove("none");
        host["spec"]["class"] = "default".into();
        host["status"] = json!({"s": 1});
        assert_eq!(correction(&host, &desired, &["class"]), None);
        assert_eq!(correction(&host, &desired, &[]), Some(json!({"spec": {"class": null}})));
        host["spec"]["in"]["y"] = 2.into();
        host["spec"]["list"] = json!([1, 2]);
        host["metadata"]["annotations"]["order"] = "do".into();
        assert_eq!(
            correction(&host, &desired, &["class"]),
            Some(
                json!({"metadata": {"annotations": {"order": null}}, "spec": {"in": {"y": null}, "list": [1]}})
            )
        );
    }
}
