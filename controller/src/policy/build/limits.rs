//! The LimitRange: what pods and containers may ask for, and what they get if they do not.

use super::{Kind, Manifest, Owner};
use crate::policy::mode;
use k3k_api::v1beta1::VirtualClusterPolicySpec;
use k3k_api::v1beta1::policy::ContainerDefaults;
use k8s_openapi::api::core::v1::{LimitRangeItem, LimitRangeSpec};
use serde_json::json;

/// Type of an item that is about containers.
const CONTAINER: &str = "Container";

/// The LimitRange, if the policy says anything for it.
pub fn limit_range(owner: &Owner, namespace: &str, spec: &VirtualClusterPolicySpec) -> Option<Manifest> {
    let mut limits = spec.limit.clone().unwrap_or_default();
    let containers = spec.resources.as_ref().and_then(|resources| resources.containers.as_ref());
    if let Some(defaults) = containers.and_then(|containers| containers.defaults.as_ref())
        && mode::is_enforced(spec, "resources")
    {
        add_defaults(&mut limits, defaults);
    }
    let says_something = spec.limit.is_some() || !limits.limits.is_empty();
    says_something.then(|| Manifest::new(owner, namespace, Kind::LimitRange, "", &json!(limits)))
}

/// Adds defaults of containers unless there are some. There can be one item of a type.
fn add_defaults(spec: &mut LimitRangeSpec, defaults: &ContainerDefaults) {
    if defaults.limits.is_empty() && defaults.requests.is_empty() {
        return;
    }
    let present = spec.limits.iter().position(|item| item.type_ == CONTAINER);
    let index = present.unwrap_or(spec.limits.len());
    if present.is_none() {
        spec.limits.push(LimitRangeItem { type_: CONTAINER.to_owned(), ..LimitRangeItem::default() });
    }
    let Some(item) = spec.limits.get_mut(index) else { return };
    if item.default.is_some() || item.default_request.is_some() {
        return;
    }
    item.default = Some(defaults.limits.clone()).filter(|limits| !limits.is_empty());
    item.default_request = Some(defaults.requests.clone()).filter(|requests| !requests.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::Value;

    #[rstest]
    #[case(json!({}), json!(null))]
    #[case(json!({ "limit": { "limits": [] } }), json!([]))]
    #[case(
        json!({ "resources": { "containers": { "defaults": { "requests": { "cpu": "50m" }, "limits": { "memory": "1Gi" } } } } }),
        json!([{ "type": "Container", "default": { "memory": "1Gi" }, "defaultRequest": { "cpu": "50m" } }])
    )]
    #[case(
        json!({ "limit": { "limits": [{ "type": "Pod", "max": { "cpu": "2" } }, { "type": "Container", "max": { "cpu": "1" } }] },
            "resources": { "containers": { "defaults": { "requests": { "cpu": "50m" } } } } }),
        json!([{ "type": "Pod", "max": { "cpu": "2" } }, { "type": "Container", "max": { "cpu": "1" }, "defaultRequest": { "cpu": "50m" } }])
    )]
    #[case(
        json!({ "limit": { "limits": [{ "type": "Container", "default": { "cpu": "1" } }] },
            "resources": { "containers": { "defaults": { "requests": { "cpu": "50m" } } } } }),
        json!([{ "type": "Container", "default": { "cpu": "1" } }])
    )]
    fn ranges(#[case] spec: Value, #[case] want: Value) {
        let owner = Owner { name: "gold".into(), uid: "p".into() };
        let made = limit_range(&owner, "t", &serde_json::from_value(spec).unwrap());
        assert_eq!(made.map_or(Value::Null, |made| made.object["spec"]["limits"].clone()), want);
    }
}
