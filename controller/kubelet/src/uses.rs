//! Which host pods use which copies of ConfigMaps and Secrets.

use crate::watch::Name;
use k3k_translate::data::DataKind;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// A nested ConfigMap or Secret.
pub type Key = (DataKind, Name);

#[derive(Debug, Default)]
struct Use {
    /// Host pods by UID, with their names.
    pods: BTreeMap<String, String>,
    /// What was last written to the host: the nested object's resource version and the number of users.
    written: Option<(String, Vec<String>)>,
}

/// The index. It is filled by the pods themselves and holds nothing that cannot be found out again.
#[derive(Debug, Default)]
pub struct Uses(HashMap<Key, Use>);

impl Uses {
    /// Notes that host pod `uid` uses `key`. Says whether that is news.
    pub fn add(&mut self, key: &Key, uid: &str, host_pod: &str) -> bool {
        self.0.entry(key.clone()).or_default().pods.insert(uid.to_owned(), host_pod.to_owned()).is_none()
    }

    /// Forgets host pod `uid`.
    pub fn remove_pod(&mut self, uid: &str) {
        self.0.retain(|_, entry| {
            entry.pods.remove(uid);
            !entry.pods.is_empty()
        });
    }

    /// Whether any host pod uses `key`.
    pub fn contains(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// The host pods that use `key`, as owner references.
    pub fn owners(&self, key: &Key) -> Vec<Value> {
        let pods = self.0.get(key).into_iter().flat_map(|entry| &entry.pods);
        pods.map(|(uid, name)| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid})).collect()
    }

    /// Whether the copy of `key` was written from `version` for the users it has now.
    pub fn is_current(&self, key: &Key, version: &str) -> bool {
        self.0.get(key).is_some_and(|entry| {
            entry
                .written
                .as_ref()
                .is_some_and(|(written, users)| written == version && users.iter().eq(entry.pods.keys()))
        })
    }

    /// Whether the copy of `key` was written at all, for some user that still lives.
    pub fn is_written(&self, key: &Key) -> bool {
        self.0.get(key).is_some_and(|entry| {
            entry
                .written
                .as_ref()
                .is_some_and(|(_, users)| users.iter().any(|uid| entry.pods.contains_key(uid)))
        })
    }

    /// Notes that the copy of `key` was written from `version`, owned by `owners`.
    pub fn written(&mut self, key: &Key, version: &str, owners: &[Value]) {
        if let Some(entry) = self.0.get_mut(key) {
            let users = owners.iter().filter_map(|owner| owner["uid"].as_str()).map(str::to_owned).collect();
            entry.written = Some((version.to_owned(), users));
        }
    }

    /// Notes that the copy of `key` is gone.
    pub fn lost(&mut self, key: &Key) {
        if let Some(entry) = self.0.get_mut(key) {
            entry.written = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_current_for_its_version_and_users() {
        let key = (DataKind::ConfigMap, Name { namespace: "a".into(), name: "conf".into() });
        let mut uses = Uses::default();
        assert!(!uses.contains(&key));
        assert!(uses.add(&key, "u1", "pod-1"));
        let owners = uses.owners(&key);
        uses.written(&key, "5", &owners);
        assert!(uses.is_current(&key, "5"));
        assert!(!uses.is_current(&key, "6"), "the object changed");
        assert!(uses.add(&key, "u2", "pod-2"));
        assert!(!uses.is_current(&key, "5"), "a user came: it must become an owner");
        assert!(uses.is_written(&key));
        uses.remove_pod("u1");
        assert!(!uses.is_written(&key), "its only owner has gone, and the copy with it");
        uses.remove_pod("u2");
        assert!(!uses.contains(&key));
    }
}
