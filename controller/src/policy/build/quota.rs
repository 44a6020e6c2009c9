//! ResourceQuotas: how much a namespace may use, and what it may not have at all.

use super::{Kind, Manifest, Owner};
use crate::policy::mode;
use k3k_api::labels;
use k3k_api::v1beta1::VirtualClusterPolicySpec;
use k3k_api::v1beta1::policy::ServiceType;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Part of the quota of `resources.perCluster`.
pub const CLUSTER: &str = "cluster";
/// Part of the quota of what there may be none of.
pub const NONE_OF: &str = "denied";
/// Part of the quota that has no pods of Kubernetes' own classes.
pub const PRIORITY: &str = "priority";
/// Part of the namespace's share of `resources.perTenant`.
pub const TENANT: &str = "tenant";

/// Classes for what a host cannot do without. Their pods evict all others.
const SYSTEM_CLASSES: [&str; 2] = ["system-node-critical", "system-cluster-critical"];

/// All quotas but the share of `resources.perTenant`. `storage_classes` are the host's.
pub fn quotas(
    owner: &Owner,
    namespace: &str,
    spec: &VirtualClusterPolicySpec,
    storage_classes: &[String],
) -> Vec<Manifest> {
    let quota = |part: &str, spec: &Value| Manifest::new(owner, namespace, Kind::ResourceQuota, part, spec);
    let mut quotas = Vec::new();
    if let Some(wanted) = &spec.quota {
        quotas.push(quota("", &json!(wanted)));
    }
    let per_cluster = spec.resources.as_ref().map(|resources| &resources.per_cluster);
    // The namespace is the cluster's.
    if let Some(hard) = per_cluster.filter(|hard| !hard.is_empty())
        && mode::is_enforced(spec, "resources")
    {
        quotas.push(quota(CLUSTER, &json!({ "hard": hard })));
    }
    let denied = denied(spec, storage_classes);
    if !denied.is_empty() {
        quotas.push(quota(NONE_OF, &json!({ "hard": denied })));
    }
    quotas.push(quota(PRIORITY, &priority(spec)));
    quotas
}

/// The share of a tenant's budget. Its name and labels are those that [`crate::policy::budget`] looks for.
pub fn share(owner: &Owner, namespace: &str, tenant: &str, hard: &BTreeMap<String, Quantity>) -> Manifest {
    let spec = json!({ "hard": hard });
    Manifest::new(owner, namespace, Kind::ResourceQuota, TENANT, &spec).labelled(labels::TENANT, tenant)
}

/// What there may be none of.
fn denied(spec: &VirtualClusterPolicySpec, storage_classes: &[String]) -> Map<String, Value> {
    let mut none = Map::new();
    let services = spec.network.as_ref().and_then(|network| network.services.as_ref());
    if let Some(types) = services.and_then(|services| services.types.as_ref())
        && mode::is_enforced(spec, "network")
        && !types.contains(&ServiceType::LoadBalancer)
    {
        none.insert("services.loadbalancers".to_owned(), "0".into());
        // Load balancers take node ports as well, so that where these are allowed only the webhook tells them apart.
        if !types.contains(&ServiceType::NodePort) {
            none.insert("services.nodeports".to_owned(), "0".into());
        }
    }
    let storage = spec.workloads.as_ref().and_then(|workloads| workloads.storage_classes.as_ref());
    if let Some(allowed) = storage.and_then(|storage| storage.allowed.as_ref())
        && mode::is_enforced(spec, "workloads")
    {
        for class in storage_classes.iter().filter(|class| !allowed.contains(class)) {
            none.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), "0".into());
        }
    }
    none
}

/// No pods of Kubernetes' own classes, unless the policy itself gives its clusters such a class.
fn priority(spec: &VirtualClusterPolicySpec) -> Value {
    let given = spec.default_priority_class.as_deref().unwrap_or_default();
    let classes: Vec<&str> = SYSTEM_CLASSES.into_iter().filter(|class| *class != given).collect();
    let selector = json!({ "matchExpressions": [{ "scopeName": "PriorityClass", "operator": "In", "values": classes }] });
    json!({ "hard": { "pods": "0" }, "scopeSelector": selector })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn owner() -> Owner {
        Owner { name: "gold".into(), uid: "p".into() }
    }

    fn made(spec: &Value) -> BTreeMap<String, Value> {
        let spec = serde_json::from_value(spec.clone()).unwrap();
        let classes = ["fast".to_owned(), "slow".to_owned()];
        let quotas = quotas(&owner(), "t", &spec, &classes).into_iter();
        quotas.map(|quota| (quota.name, quota.object["spec"].clone())).collect()
    }

    #[test]
    fn a_plain_policy_only_denies_kubernetes_own_priorities() {
        let made = made(&json!({}));
        assert_eq!(made.len(), 1);
        assert_eq!(
            made["k3k-gold-priority"],
            json!({ "hard": { "pods": "0" }, "scopeSelector": { "matchExpressions": [
                { "scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical", "system-cluster-critical"] },
            ] } })
        );
    }

    #[test]
    fn a_class_that_the_policy_gives_is_not_denied() {
        let made = made(&json!({ "defaultPriorityClass": "system-cluster-critical" }));
        let values = &made["k3k-gold-priority"]["scopeSelector"]["matchExpressions"][0]["values"];
        assert_eq!(*values, json!(["system-node-critical"]));
    }

    #[test]
    fn amounts_are_taken_over() {
        let made = made(&json!({
            "quota": { "hard": { "pods": "5" }, "scopes": ["BestEffort"] },
            "resources": { "perCluster": { "requests.cpu": "4" }, "perTenant": { "pods": "9" } },
        }));
        assert_eq!(made["k3k-gold"], json!({ "hard": { "pods": "5" }, "scopes": ["BestEffort"] }));
        assert_eq!(made["k3k-gold-cluster"], json!({ "hard": { "requests.cpu": "4" } }));
        assert!(!made.contains_key("k3k-gold-tenant"), "shares are dealt out elsewhere");
    }

    #[rstest]
    #[case(json!(null), json!(null))]
    #[case(json!(["ClusterIP"]), json!({ "services.loadbalancers": "0", "services.nodeports": "0" }))]
    #[case(json!([]), json!({ "services.loadbalancers": "0", "services.nodeports": "0" }))]
    #[case(json!(["ClusterIP", "NodePort"]), json!({ "services.loadbalancers": "0" }))]
    #[case(json!(["ClusterIP", "LoadBalancer"]), json!(null))]
    fn services(#[case] types: Value, #[case] want: Value) {
        let made = made(&json!({ "network": { "services": { "types": types } } }));
        assert_eq!(made.get("k3k-gold-denied").map_or(Value::Null, |quota| quota["hard"].clone()), want);
    }

    #[test]
    fn other_storage_classes_have_no_room() {
        let spec = json!({ "workloads": { "storageClasses": { "allowed": ["fast", "gone"] } } });
        let want = json!({ "slow.storageclass.storage.k8s.io/requests.storage": "0" });
        assert_eq!(made(&spec)["k3k-gold-denied"]["hard"], want);
        let mut told = spec;
        told["enforcement"] = json!({ "mode": "Warn" });
        assert!(!made(&told).contains_key("k3k-gold-denied"), "a quota cannot warn");
    }
}
