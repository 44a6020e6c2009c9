//! Which host objects – pods, Ingresses – use which copies of ConfigMaps and Secrets.

use crate::watch::Name;
use k3k_translate::data::DataKind;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// A nested ConfigMap or Secret.
pub type Key = (DataKind, Name);

#[derive(Debug, Default)]
struct Use {
    /// Host objects by UID, as owner references.
    users: BTreeMap<String, Value>,
    /// What was last written to the host.
    written: Option<Written>,
}

#[derive(Debug)]
struct Written {
    /// Version of the nested object.
    from: String,
    /// The host objects that own the copy, by UID, sorted.
    users: Vec<String>,
    /// Version of the copy. Another one is another's doing.
    copy: String,
}

/// Users that a ConfigMap's copy has as owners at the most. Each new owner is a writing that all nodes with the copy hear of, and of
/// the root certificates every pod of a namespace is a user. Should all of these end before the others, the copy is written again as
/// soon as it is seen to be gone. Secrets are not watched, so that all users own their copies.
const OWNERS: usize = 8;

impl Use {
    /// The users that are to own the copy: those that do, and others while there is room.
    fn owners(&self, kind: DataKind) -> Vec<&String> {
        let limit = if kind == DataKind::ConfigMap { OWNERS } else { usize::MAX };
        let written = self.written.as_ref().map(|written| written.users.as_slice()).unwrap_or_default();
        let (own, others): (Vec<_>, Vec<_>) = self.users.keys().partition(|uid| written.contains(uid));
        let mut owners: Vec<_> = own.into_iter().chain(others).take(limit).collect();
        owners.sort();
        owners
    }

    /// Whether those and no others own the copy.
    fn has_owners(&self, kind: DataKind) -> bool {
        self.written.as_ref().is_some_and(|written| written.users.iter().eq(self.owners(kind)))
    }
}

/// The index. It is filled by the users themselves and holds nothing that cannot be found out again.
#[derive(Debug, Default)]
pub struct Uses(HashMap<Key, Use>);

impl Uses {
    /// Notes that a host object uses `key`, as owner reference. Says whether that is news. An earlier object of its name has gone.
    pub fn add(&mut self, key: &Key, user: &Value) -> bool {
        let uid = user["uid"].as_str().unwrap_or_default().to_owned();
        let users = &mut self.0.entry(key.clone()).or_default().users;
        users.retain(|known, other| {
            *known == uid || (&other["kind"], &other["name"]) != (&user["kind"], &user["name"])
        });
        users.insert(uid, user.clone()).is_none()
    }

    /// Notes that a host object uses `key`. Says whether the copy must be written for it to be owned as it should be, now or because that
    /// failed before.
    pub fn must_own(&mut self, key: &Key, user: &Value) -> bool {
        self.add(key, user);
        !self.is_owned(key)
    }

    /// Forgets the host object of this name, whatever its UID was: it has gone without a word.
    pub fn remove_named(&mut self, kind: &str, name: &str) {
        self.0.retain(|_, entry| {
            entry.users.retain(|_, user| user["kind"] != kind || user["name"] != name);
            !entry.users.is_empty()
        });
    }

    /// Forgets the host object `uid`.
    pub fn remove_user(&mut self, uid: &str) {
        self.0.retain(|_, entry| {
            entry.users.remove(uid);
            !entry.users.is_empty()
        });
    }

    /// Notes that the host object `uid` does not use `key`. Says whether that is news.
    pub fn drop_use(&mut self, key: &Key, uid: &str) -> bool {
        let Some(entry) = self.0.get_mut(key) else { return false };
        let is_news = entry.users.remove(uid).is_some();
        if entry.users.is_empty() {
            self.0.remove(key);
        }
        is_news
    }

    /// Whether any host object uses `key`.
    pub fn contains(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// The host objects that are to own the copy of `key`, as owner references.
    pub fn owners(&self, key: &Key) -> Vec<Value> {
        let Some(entry) = self.0.get(key) else { return Vec::new() };
        entry.owners(key.0).into_iter().filter_map(|uid| entry.users.get(uid).cloned()).collect()
    }

    /// Whether the copy of `key` was written from `version` and is owned as it should be.
    pub fn is_current(&self, key: &Key, version: &str) -> bool {
        let is_from = |entry: &Use| entry.written.as_ref().is_some_and(|written| written.from == version);
        self.0.get(key).is_some_and(|entry| is_from(entry) && entry.has_owners(key.0))
    }

    /// Whether the copy of `key` was written, whatever its original says by now, and is owned as it should be.
    pub fn is_owned(&self, key: &Key) -> bool {
        self.0.get(key).is_some_and(|entry| entry.has_owners(key.0))
    }

    /// Whether the copy of `key` was written at all, for some user that still lives.
    pub fn is_written(&self, key: &Key) -> bool {
        self.0.get(key).is_some_and(|entry| {
            let has_user = |written: &Written| written.users.iter().any(|uid| entry.users.contains_key(uid));
            entry.written.as_ref().is_some_and(has_user)
        })
    }

    /// Notes that the copy of `key` was written from `version`, owned by `owners`, and has version `copy` now.
    pub fn written(&mut self, key: &Key, version: &str, owners: &[Value], copy: &str) {
        if let Some(entry) = self.0.get_mut(key) {
            let uids = owners.iter().filter_map(|owner| owner["uid"].as_str());
            let mut users: Vec<_> = uids.map(str::to_owned).collect();
            users.sort();
            entry.written = Some(Written { from: version.to_owned(), users, copy: copy.to_owned() });
        }
    }

    /// Notes that the copy of `key` is gone.
    pub fn lost(&mut self, key: &Key) {
        if let Some(entry) = self.0.get_mut(key) {
            entry.written = None;
        }
    }

    /// Notes that the host has the copy of `key` in version `copy`, or not at all. Says whether that is not what we wrote, so that it
    /// must be written again.
    pub fn seen(&mut self, key: &Key, copy: Option<&str>) -> bool {
        let Some(entry) = self.0.get_mut(key) else { return false };
        let is_ours = entry.written.as_ref().is_some_and(|written| Some(written.copy.as_str()) == copy);
        if !is_ours {
            entry.written = None;
        }
        !is_ours
    }

    /// What is in use of one kind.
    pub fn keys(&self, kind: DataKind) -> Vec<Key> {
        self.0.keys().filter(|(of, _)| *of == kind).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "name": uid, "uid": uid})
    }

    #[test]
    fn a_copy_is_current_for_its_version_and_users() {
        let key = (DataKind::ConfigMap, Name { namespace: "a".into(), name: "conf".into() });
        let mut uses = Uses::default();
        assert!(!uses.contains(&key));
        assert!(uses.add(&key, &pod("u1")));
        let owners = uses.owners(&key);
        uses.written(&key, "5", &owners, "h1");
        assert!(uses.is_current(&key, "5"));
        assert!(!uses.seen(&key, Some("h1")), "our own writing");
        assert!(uses.is_current(&key, "5"));
        assert!(uses.seen(&key, Some("h2")), "another's");
        assert!(!uses.is_current(&key, "5"), "it must be written again");
        uses.written(&key, "5", &owners, "h3");
        assert!(uses.seen(&key, None), "it was deleted");
        uses.written(&key, "5", &owners, "h4");
        assert!(!uses.is_current(&key, "6"), "the object changed");
        assert!(uses.add(&key, &pod("u2")));
        assert!(!uses.is_current(&key, "5"), "a user came: it must become an owner");
        assert!(uses.is_written(&key));
        uses.remove_user("u1");
        assert!(!uses.is_written(&key), "its only owner has gone, and the copy with it");
        assert!(!uses.drop_use(&key, "u1"));
        let again = json!({"apiVersion": "v1", "kind": "Pod", "name": "u2", "uid": "u3"});
        assert!(uses.add(&key, &again));
        assert_eq!(uses.owners(&key), [again], "one of that name, the latest");
        assert!(!uses.drop_use(&key, "u2") && uses.drop_use(&key, "u3"));
        uses.add(&key, &pod("u4"));
        uses.remove_named("Ingress", "u4");
        assert!(uses.contains(&key));
        uses.remove_named("Pod", "u4");
        assert!(!uses.contains(&key));
    }

    #[test]
    fn a_crowd_owns_a_secret_but_not_a_config_map() {
        for (kind, most) in [(DataKind::Secret, 20), (DataKind::ConfigMap, OWNERS)] {
            let key = (kind, Name { namespace: "a".into(), name: "conf".into() });
            let mut uses = Uses::default();
            for number in 0..20 {
                assert!(uses.add(&key, &pod(&format!("u{number}"))));
                if !uses.is_owned(&key) {
                    let owners = uses.owners(&key);
                    uses.written(&key, "5", &owners, "h");
                }
            }
            let owners = uses.owners(&key);
            assert_eq!(owners.len(), most);
            assert!(uses.is_current(&key, "5") && !uses.is_current(&key, "6"));
            uses.remove_user(owners[0]["uid"].as_str().unwrap());
            // Another moves up where there are others.
            assert!(!uses.is_owned(&key));
            assert_eq!(uses.owners(&key).len(), most.min(19));
            assert!(uses.is_written(&key));
        }
    }
}
