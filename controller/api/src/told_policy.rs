//! What a virtual kubelet is told of the policy of its cluster's namespace. The controller writes it: the virtual kubelet has no right to
//! read policies, and would find other tenants in them.

use crate::v1beta1::VirtualClusterPolicySpec;
use serde::{Deserialize, Serialize};

/// Key of the policy in the ConfigMap [`crate::names::ClusterNames::policy`].
pub const KEY: &str = "policy.json";

/// The policy of a cluster's namespace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(tag = "governing")]
pub enum ToldPolicy {
    /// None is named: what holds by default holds.
    #[default]
    Default,
    /// This one.
    Named(Box<NamedPolicy>),
    /// One is named that does not exist. The host admits nothing new.
    Missing,
}

/// A policy, as far as it is about pods of one cluster.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NamedPolicy {
    /// Its name, which the host's webhook names in its sentences, too.
    pub name: String,
    /// The generation that this was made of.
    pub generation: i64,
    /// What it says about pods.
    pub spec: VirtualClusterPolicySpec,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_case_is_read_as_it_was_written() {
        let spec = json!({
            "podSecurityAdmissionLevel": "restricted",
            "resources": {"containers": {"defaults": {"requests": {"cpu": "50m"}}}},
        });
        let named =
            NamedPolicy { name: "gold".into(), generation: 7, spec: serde_json::from_value(spec).unwrap() };
        for told in [ToldPolicy::Default, ToldPolicy::Missing, ToldPolicy::Named(Box::new(named))] {
            let text = serde_json::to_string(&told).unwrap();
            assert_eq!(serde_json::from_str::<ToldPolicy>(&text).unwrap(), told, "{text}");
        }
    }
}
