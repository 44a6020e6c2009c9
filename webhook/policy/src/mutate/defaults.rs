//! What pods get that do not say.

use super::placement::within;
use crate::policy::Policy;
use k3k_api::v1beta1::policy::UserNamespaces;
use serde_json::{Map, Value};

/// Classes, users and amounts.
pub(super) fn fill(spec: &mut Map<String, Value>, policy: &Policy) {
    if let Some(required) = policy.workloads.runtime_classes.as_ref().and_then(|rule| rule.required.as_ref())
        && is_unset(spec, "runtimeClassName")
    {
        spec.insert("runtimeClassName".into(), required.clone().into());
    }
    if let Some(class) = policy.spec.default_priority_class.as_ref().filter(|class| !class.is_empty())
        && is_unset(spec, "priorityClassName")
    {
        spec.insert("priorityClassName".into(), class.clone().into());
        // Filled in for the class that the pod had before, none; Kubernetes' Priority admission looks again, and would refuse them.
        spec.remove("priority");
        spec.remove("preemptionPolicy");
    }
    if policy.pod_security.user_namespaces == Some(UserNamespaces::Require)
        && spec.get("hostUsers").is_none_or(Value::is_null)
    {
        spec.insert("hostUsers".into(), false.into());
    }
    let Some(defaults) = policy.resources.containers.as_ref().and_then(|rule| rule.defaults.as_ref()) else {
        return;
    };
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            for (kind, amounts) in [("limits", &defaults.limits), ("requests", &defaults.requests)] {
                for (resource, amount) in amounts {
                    fill_amount(container, kind, resource, &amount.0);
                }
            }
        }
    }
}

/// Kubernetes takes a limit for the request of what says none, so a default request beside a lower limit would refuse the pod.
fn fill_amount(container: &mut Map<String, Value>, kind: &str, resource: &str, amount: &str) {
    let other = if kind == "limits" { "requests" } else { "limits" };
    let said = |list: &str| {
        container.get("resources").and_then(|all| all.get(list)).and_then(|list| list.get(resource)).is_some()
    };
    if said(kind) || said(other) {
        let conflicts = said(kind) || conflict(container, kind, other, resource, amount);
        if conflicts {
            return;
        }
    }
    within(container, "resources", |resources| {
        within(resources, kind, |amounts| drop(amounts.insert(resource.to_owned(), amount.into())));
    });
}

/// Whether a default request would be above the container's limit, or a default limit below its request.
fn conflict(container: &Map<String, Value>, kind: &str, other: &str, resource: &str, amount: &str) -> bool {
    let said = container.get("resources").and_then(|all| all.get(other)).and_then(|list| list.get(resource));
    let said = said.and_then(Value::as_str).map(str::parse::<k3k_api::quantity::Quantity>);
    match (said, amount.parse::<k3k_api::quantity::Quantity>()) {
        (Some(Ok(said)), Ok(amount)) if kind == "limits" => amount < said,
        (Some(Ok(said)), Ok(amount)) => amount > said,
        _ => true,
    }
}

fn is_unset(spec: &Map<String, Value>, field: &str) -> bool {
    spec.get(field).is_none_or(|value| value.is_null() || value.as_str() == Some(""))
}
