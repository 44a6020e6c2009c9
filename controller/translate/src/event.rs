//! Events that the host records about the host pods and claims of tenants, retold about the nested ones.

use crate::identity::{Origin, Owner};
use crate::status::for_tenant;
use serde_json::{Value, json};

/// The nested Event for `event`, which the host recorded about the host copy of `origin`. `None` for what the nested
/// cluster has told already: its own scheduler has said where the pod runs.
pub fn retell(owner: &Owner, event: &Value, origin: &Origin, node_name: &str) -> Option<Value> {
    if event["reason"] == "Scheduled" {
        return None;
    }
    // Event names are the object's name and a unique suffix; the host's name of the pod stays in the host.
    let suffix = event.pointer("/metadata/name")?.as_str()?.rsplit('.').next()?;
    let host_name = event.pointer("/involvedObject/name").and_then(Value::as_str).unwrap_or_default();
    let message = event["message"].as_str().unwrap_or_default();
    let mut involved = json!({
        "apiVersion": "v1", "kind": event.pointer("/involvedObject/kind")?, "name": origin.name, "namespace": origin.namespace, "uid": origin.uid,
    });
    if let Some(path) = event.pointer("/involvedObject/fieldPath") {
        involved["fieldPath"] = path.clone();
    }
    let mut nested = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{}.{suffix}", origin.name), "namespace": origin.namespace},
        "involvedObject": involved,
        "message": for_tenant(message, host_name, &owner.namespace, &origin.name, &origin.namespace),
        // The component is worth knowing; which host node it ran on is not the tenant's business.
        "source": {"component": event.pointer("/source/component").or_else(|| event.get("reportingComponent")), "host": node_name},
        "reportingComponent": event["reportingComponent"],
        "reportingInstance": node_name,
    });
    for field in
        ["count", "eventTime", "firstTimestamp", "lastTimestamp", "reason", "series", "type", "action"]
    {
        if let Some(value) = event.get(field).filter(|value| !value.is_null()) {
            nested[field] = value.clone();
        }
    }
    Some(nested)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_stay_in_the_host() {
        let owner = Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() };
        let origin = Origin { namespace: "default".into(), name: "web".into(), uid: "u".into() };
        let event = json!({
            "metadata": {"name": "web-default-dev-77.18a", "namespace": "k3k-dev"},
            "involvedObject": {"kind": "Pod", "name": "web-default-dev-77", "namespace": "k3k-dev", "fieldPath": "spec.containers{c}"},
            "message": "Back-off restarting failed container c in pod web-default-dev-77_k3k-dev(1)", "reason": "BackOff", "type": "Warning",
            "source": {"component": "kubelet", "host": "host-0"}, "count": 2,
        });
        let nested = retell(&owner, &event, &origin, "k3k-dev").unwrap();
        assert_eq!(nested["message"], "Back-off restarting failed container c in pod web_default(1)");
        assert_eq!(nested["metadata"]["name"], "web.18a");
        assert_eq!(nested["involvedObject"]["name"], "web");
        assert_eq!(nested["involvedObject"]["fieldPath"], "spec.containers{c}");
        assert_eq!(nested["source"]["host"], "k3k-dev");
    }
}
