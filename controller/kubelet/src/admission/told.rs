//! The policy that the controller tells of, compiled once for each version of it.

use crate::cache::Cache;
use crate::world::lock;
use k3k_api::told_policy::{KEY, ToldPolicy};
use k3k_policy::Policy;
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// What was told, and what was made of it.
#[derive(Debug)]
pub(super) struct Told {
    cache: Cache,
    /// By the version of the ConfigMap.
    compiled: Mutex<Option<(String, Option<Arc<Policy>>)>>,
}

impl Told {
    pub(super) fn new(cache: Cache) -> Self {
        Self { cache, compiled: Mutex::default() }
    }

    /// The policy by which pods are judged; none while it is not known, does not exist or cannot be understood. Then the host decides alone.
    pub(super) fn policy(&self) -> Option<Arc<Policy>> {
        let told = self.cache.all().next()?;
        let version = told["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let mut compiled = lock(&self.compiled);
        match &*compiled {
            Some((known, policy)) if known == version => policy.clone(),
            _ => {
                let policy = compile(&told).map(Arc::new);
                *compiled = Some((version.to_owned(), policy.clone()));
                policy
            }
        }
    }
}

fn compile(told: &Value) -> Option<Policy> {
    let text = told["data"][KEY].as_str()?;
    let told = match serde_json::from_str(text) {
        Ok(ToldPolicy::Default) => return Some(Policy::default()),
        Ok(ToldPolicy::Missing) => return None,
        Ok(ToldPolicy::Named(told)) => *told,
        Err(error) => {
            tracing::warn!(%error, "the policy cannot be read; the host decides alone");
            return None;
        }
    };
    match Policy::compile(&told.name, told.generation, told.spec) {
        Ok(policy) => Some(policy),
        Err(error) => {
            tracing::warn!(policy = told.name, %error, "the policy cannot be understood; the host decides alone");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k3k_api::v1beta1::policy::PodSecurityLevel;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    fn show(cache: &Cache, version: &str, text: &str) {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "k3k-dev-policy", "namespace": "k3k-dev", "resourceVersion": version},
            "data": {KEY: text},
        });
        cache.take(&Event::Apply(serde_json::from_value(object).unwrap()));
    }

    #[test]
    fn changes_are_followed_and_what_is_not_known_is_the_hosts_matter() {
        let cache = Cache::default();
        let told = Told::new(cache.clone());
        assert!(told.policy().is_none(), "the controller has not told yet");
        show(&cache, "1", r#"{"governing": "Default"}"#);
        assert_eq!(told.policy().unwrap().title(), "the default policy");
        let gold = |generation: u32| {
            json!({"governing": "Named", "name": "gold", "generation": generation,
                "spec": {"podSecurityAdmissionLevel": "restricted"}})
            .to_string()
        };
        show(&cache, "2", &gold(7));
        let first = told.policy().unwrap();
        assert_eq!((first.generation, first.level()), (7, PodSecurityLevel::Restricted));
        assert!(Arc::ptr_eq(&first, &told.policy().unwrap()), "compiled once");
        show(&cache, "3", &gold(8));
        assert_eq!(told.policy().unwrap().generation, 8);
        for (version, text) in [
            ("4", r#"{"governing": "Missing"}"#),
            ("5", "{"),
            (
                "6",
                r#"{"governing": "Named", "name": "x", "generation": 1, "spec": {"enforcement": {"rules": [{"name": "no.such", "mode": "Warn"}]}}}"#,
            ),
        ] {
            show(&cache, version, text);
            assert!(told.policy().is_none(), "{text}");
        }
    }
}
