//! What the namespaces of a policy shall hold. Pure.

use super::budget::Amounts;
use super::build::network::Surroundings;
use super::build::{Manifest, Owner, limits, network, pod_security, pull_secrets, quota};
use super::{budget, mode};
use jiff::Timestamp;
use k3k_api::v1beta1::VirtualClusterPolicySpec;
use std::collections::{BTreeMap, BTreeSet};

/// What a plan is made of, besides the namespace.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The policy.
    pub owner: &'a Owner,
    /// What it says.
    pub spec: &'a VirtualClusterPolicySpec,
    /// The host's network.
    pub around: &'a Surroundings,
    /// The host's StorageClasses.
    pub storage_classes: &'a [String],
}

/// What one namespace shall hold, but for its share of a tenant's budget.
pub fn objects(inputs: &Inputs<'_>, namespace: &str) -> Vec<Manifest> {
    let Inputs { owner, spec, around, storage_classes } = *inputs;
    // First what keeps others out, then what bounds those inside.
    let mut objects = network::policies(owner, namespace, spec, around);
    objects.extend(quota::quotas(owner, namespace, spec, storage_classes));
    objects.extend(limits::limit_range(owner, namespace, spec));
    objects.extend(pull_secrets::role_binding(owner, namespace, spec, &around.controller));
    objects
}

/// The Pod Security labels that we set in a namespace. `present` are those that it has, `ours` those that we set.
pub fn labels(
    spec: &VirtualClusterPolicySpec,
    present: &BTreeMap<String, String>,
    ours: &BTreeSet<String>,
    now: Timestamp,
) -> pod_security::Decision {
    pod_security::decide(&pod_security::labels(spec, now), present, ours)
}

/// A tenant whose namespaces share a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Its name; that of the policy, if it names none.
    pub name: String,
    /// Its policies.
    pub policies: BTreeSet<String>,
    /// What they may use together.
    pub budget: Amounts,
}

/// The tenant of a policy, if it has a budget. `all` are the policies that can be followed.
pub fn tenant(name: &str, all: &BTreeMap<String, VirtualClusterPolicySpec>) -> Option<Tenant> {
    let named =
        |spec: &VirtualClusterPolicySpec| spec.tenancy.as_ref().and_then(|tenancy| tenancy.tenant.clone());
    let tenant = named(all.get(name)?);
    let policies: BTreeSet<String> = match &tenant {
        Some(_) => {
            all.iter().filter(|(_, spec)| named(spec) == tenant).map(|(name, _)| name.clone()).collect()
        }
        None => BTreeSet::from([name.to_owned()]),
    };
    let budgets = policies.iter().filter_map(|policy| {
        let spec = all.get(policy).filter(|spec| mode::is_enforced(spec, "resources"))?;
        Some(&spec.resources.as_ref()?.per_tenant)
    });
    let budget = budget::least(budgets);
    (!budget.is_empty()).then(|| Tenant { name: tenant.unwrap_or_else(|| name.to_owned()), policies, budget })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn specs(all: &[(&str, Value)]) -> BTreeMap<String, VirtualClusterPolicySpec> {
        all.iter()
            .map(|(name, spec)| ((*name).to_owned(), serde_json::from_value(spec.clone()).unwrap()))
            .collect()
    }

    #[test]
    fn policies_of_one_tenant_share_its_budget() {
        let all = specs(&[
            ("gold", json!({ "tenancy": { "tenant": "a" }, "resources": { "perTenant": { "pods": "9" } } })),
            (
                "lead",
                json!({ "tenancy": { "tenant": "a" }, "resources": { "perTenant": { "pods": "5", "cpu": "1" } } }),
            ),
            ("tin", json!({ "tenancy": { "tenant": "a" } })),
            ("other", json!({ "resources": { "perTenant": { "pods": "1" } } })),
            (
                "told",
                json!({ "resources": { "perTenant": { "pods": "1" } }, "enforcement": { "mode": "Warn" } }),
            ),
            ("none", json!({})),
        ]);
        let gold = tenant("gold", &all).unwrap();
        assert_eq!(gold.policies.iter().map(String::as_str).collect::<Vec<_>>(), ["gold", "lead", "tin"]);
        assert_eq!(gold.budget["pods"].0, "5");
        assert_eq!(gold.budget["cpu"].0, "1");
        assert_eq!(tenant("tin", &all), Some(gold));
        let other = tenant("other", &all).unwrap();
        assert_eq!((other.name.as_str(), other.policies.len()), ("other", 1));
        assert_eq!(tenant("told", &all), None, "a quota cannot warn");
        assert_eq!(tenant("none", &all), None);
        assert_eq!(tenant("gone", &all), None);
    }

    #[test]
    fn every_object_belongs_to_the_policy_and_the_namespace() {
        let spec: VirtualClusterPolicySpec = serde_json::from_value(json!({
            "quota": { "hard": { "pods": "5" } }, "limit": { "limits": [] },
            "resources": { "perCluster": { "pods": "4" } }, "network": { "services": { "types": [] } },
        }))
        .unwrap();
        let owner = Owner { name: "gold".into(), uid: "p".into() };
        let around = Surroundings { controller: "k3k-system".into(), ..Surroundings::default() };
        let inputs = Inputs { owner: &owner, spec: &spec, around: &around, storage_classes: &[] };
        let objects = objects(&inputs, "t");
        let names: Vec<_> = objects.iter().map(|object| format!("{}/{}", object.kind, object.name)).collect();
        assert_eq!(
            names,
            [
                "NetworkPolicy/k3k-gold",
                "NetworkPolicy/k3k-gold-tenants",
                "NetworkPolicy/k3k-gold-servers",
                "NetworkPolicy/k3k-gold-kubelets",
                "ResourceQuota/k3k-gold",
                "ResourceQuota/k3k-gold-cluster",
                "ResourceQuota/k3k-gold-denied",
                "ResourceQuota/k3k-gold-priority",
                "LimitRange/k3k-gold",
            ]
        );
        for object in objects {
            let metadata = &object.object["metadata"];
            assert_eq!(metadata["namespace"], "t");
            assert_eq!(metadata["ownerReferences"][0]["uid"], "p");
            assert_eq!(metadata["ownerReferences"][0]["controller"], true);
            assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "k3k-policy-controller");
            assert_eq!(metadata["labels"]["policy.k3k.io/policy-name"], "gold");
        }
    }
}
