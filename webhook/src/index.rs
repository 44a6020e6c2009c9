//! What is known of namespaces, policies and Ingresses, kept from watches. Pure: it is told, and it is asked.

use k3k_api::v1beta1::VirtualClusterPolicy;
use k3k_policy::{Governing, Policy, hosts};
use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// One policy that cannot be understood must not hide the others.
pub type GuardedPolicy = DeserializeGuard<VirtualClusterPolicy>;

/// What is known.
#[derive(Debug, Default)]
pub struct Index {
    policies: HashMap<String, Known>,
    /// Namespaces by the host names of their Ingresses.
    hosts: HashMap<String, BTreeSet<(String, String)>>,
    ingresses: HashMap<(String, String), Vec<String>>,
}

/// A policy, compiled once.
#[derive(Clone, Debug)]
struct Known {
    generation: i64,
    governing: Governing,
}

impl Index {
    /// A policy is like this now. Whether something changed that decisions rest on.
    pub fn put_policy(&mut self, object: &GuardedPolicy) -> bool {
        let name = object.name_any();
        let generation = object.meta().generation.unwrap_or_default();
        let unchanged =
            self.policies.get(&name).is_some_and(|known| known.generation == generation && generation != 0);
        if unchanged {
            return false;
        }
        let governing = compile(&name, object);
        self.policies
            .insert(name, Known { generation, governing })
            .is_none_or(|before| before.generation != generation)
    }

    /// A policy is gone.
    pub fn drop_policy(&mut self, name: &str) {
        self.policies.remove(name);
    }

    /// Only these policies are left.
    pub fn keep_policies(&mut self, names: &dyn Fn(&str) -> bool) {
        self.policies.retain(|name, _| names(name));
    }

    /// The policy of this name.
    pub fn policy(&self, name: &str) -> Option<Governing> {
        self.policies.get(name).map(|known| known.governing.clone())
    }

    /// Generations, by name: what decisions rest on from now on.
    pub fn generations(&self) -> BTreeMap<String, i64> {
        self.policies.iter().map(|(name, known)| (name.clone(), known.generation)).collect()
    }

    /// An Ingress is like this now.
    pub fn put_ingress(&mut self, namespace: &str, name: &str, ingress: &Value) {
        self.drop_ingress(namespace, name);
        let id = (namespace.to_owned(), name.to_owned());
        let names: Vec<String> =
            hosts(ingress).into_iter().map(|(_, host)| host).filter(|host| !host.is_empty()).collect();
        for host in &names {
            self.hosts.entry(host.clone()).or_default().insert(id.clone());
        }
        self.ingresses.insert(id, names);
    }

    /// An Ingress is gone.
    pub fn drop_ingress(&mut self, namespace: &str, name: &str) {
        let id = (namespace.to_owned(), name.to_owned());
        for host in self.ingresses.remove(&id).unwrap_or_default() {
            if let Some(owners) = self.hosts.get_mut(&host) {
                owners.remove(&id);
                if owners.is_empty() {
                    self.hosts.remove(&host);
                }
            }
        }
    }

    /// Whether an Ingress of a namespace other than `namespace` has `host`.
    pub fn is_taken(&self, namespace: &str, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|owners| owners.iter().any(|(owner, _)| owner != namespace))
    }
}

/// What a policy object means.
pub fn compile(name: &str, object: &GuardedPolicy) -> Governing {
    let generation = object.meta().generation.unwrap_or_default();
    match &object.0 {
        Ok(policy) => match Policy::compile(name, generation, policy.spec.clone()) {
            Ok(policy) => Governing::Named(Arc::new(policy)),
            Err(error) => Governing::Unreadable { name: name.to_owned(), error: error.to_string() },
        },
        Err(error) => Governing::Unreadable { name: name.to_owned(), error: error.error.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(generation: i64, level: &str) -> GuardedPolicy {
        serde_json::from_value(json!({
            "apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy",
            "metadata": {"name": "gold", "generation": generation}, "spec": {"podSecurityAdmissionLevel": level},
        }))
        .unwrap()
    }

    #[test]
    fn a_policy_is_compiled_when_it_changes() {
        let mut index = Index::default();
        assert!(index.put_policy(&policy(1, "baseline")) && !index.put_policy(&policy(1, "baseline")));
        assert!(index.put_policy(&policy(2, "restricted")));
        assert_eq!(index.generations(), BTreeMap::from([("gold".to_owned(), 2)]));
        assert!(index.put_policy(&policy(3, "quantum")));
        assert!(matches!(index.policy("gold"), Some(Governing::Unreadable { .. })));
        index.drop_policy("gold");
        assert!(index.policy("gold").is_none());
    }

    #[test]
    fn a_host_is_taken_by_another_namespace() {
        let mut index = Index::default();
        let ingress = |host: &str| json!({"spec": {"rules": [{"host": host}]}});
        index.put_ingress("t-a", "web", &ingress("Shop.Example."));
        assert!(index.is_taken("t-b", "shop.example") && !index.is_taken("t-a", "shop.example"));
        index.put_ingress("t-a", "web", &ingress("other.example"));
        assert!(!index.is_taken("t-b", "shop.example") && index.is_taken("t-b", "other.example"));
        index.drop_ingress("t-a", "web");
        assert!(!index.is_taken("t-b", "other.example"));
    }
}
