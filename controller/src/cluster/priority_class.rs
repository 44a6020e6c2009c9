//! PriorityClasses of a nested cluster, as they are copied to the host. Pure.
//!
//! A class is of the whole host, so what a copy can do is bounded: its value is at most what the cluster may have, it never is the
//! default of anybody, and it never evicts a running pod. A tenant's pods give way to one another inside, where the nested scheduler
//! preempts by the nested values; in the host that would strike other tenants.

use super::build::Site;
use super::offered::Class as _;
use k3k_api::labels::{CLUSTER_NAME, CLUSTER_UID, SYNC_FROM_HOST, SYNC_SOURCE, VIRTUAL_NAME, VIRTUAL_UID};
use k3k_api::names;
use k3k_api::v1beta1::{SyncConfig, SyncedKind};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many classes of a cluster are copied. They are objects of the whole host, which no quota of a namespace counts.
const MOST: usize = 64;

/// The copies that the host shall hold.
pub fn wanted(site: &Site, sync: &SyncConfig, nested: &[Arc<PriorityClass>]) -> Vec<PriorityClass> {
    let mut own: Vec<_> = nested.iter().filter(|class| is_copied(class, sync)).collect();
    own.sort_by_key(|class| class.name_any());
    own.into_iter().take(MOST).map(|class| copy(site, sync, class)).collect()
}

fn is_copied(class: &PriorityClass, sync: &SyncConfig) -> bool {
    let is_the_hosts = class.labels().get(SYNC_SOURCE).is_some_and(|source| source == SYNC_FROM_HOST);
    !class.is_built_in() && !is_the_hosts && sync.selects(SyncedKind::PriorityClass, class.labels())
}

fn copy(site: &Site, sync: &SyncConfig, class: &PriorityClass) -> PriorityClass {
    let pair = |key: &str, value: String| (key.to_owned(), value);
    let name = class.name_any();
    PriorityClass {
        metadata: ObjectMeta {
            name: Some(names::translated(&site.name, &site.namespace, &name)),
            labels: Some(BTreeMap::from([
                pair(CLUSTER_NAME, site.name.clone()),
                pair(CLUSTER_UID, site.uid.clone()),
            ])),
            annotations: Some(BTreeMap::from([
                pair(VIRTUAL_NAME, name),
                pair(VIRTUAL_UID, class.uid().unwrap_or_default()),
            ])),
            ..ObjectMeta::default()
        },
        value: Some(class.value.unwrap_or(0).min(sync.max_priority())),
        preemption_policy: Some("Never".to_owned()),
        ..PriorityClass::default()
    }
}

/// The selector of the copies of one cluster.
pub fn selector(uid: &str) -> String {
    format!("{CLUSTER_UID}={uid}")
}

/// The copies of one cluster among all classes of the host.
pub fn copies_of(uid: &str, host: &[Arc<PriorityClass>]) -> Vec<Arc<PriorityClass>> {
    let is_of =
        |class: &&Arc<PriorityClass>| class.labels().get(CLUSTER_UID).is_some_and(|label| label == uid);
    host.iter().filter(is_of).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn site() -> Site {
        Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "c-uid".into() }
    }

    fn class(name: &str, value: i32, labels: &Value) -> Arc<PriorityClass> {
        let class = json!({
            "metadata": {"name": name, "uid": "u", "labels": labels}, "value": value, "globalDefault": true, "preemptionPolicy": "PreemptLowerPriority",
        });
        Arc::new(serde_json::from_value(class).unwrap())
    }

    fn sync(more: &Value) -> SyncConfig {
        let mut classes = json!({"enabled": true});
        classes
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        serde_json::from_value(json!({"priorityClasses": classes})).unwrap()
    }

    #[test]
    fn a_copy_is_bounded_evicts_nobody_and_is_nobodys_default() {
        let nested = [class("high", 1_000_000_000, &json!({})), class("low", -5, &json!({}))];
        let made = wanted(&site(), &sync(&json!({})), &nested);
        assert_eq!(
            serde_json::to_value(&made[0]).unwrap(),
            json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 0, "preemptionPolicy": "Never",
                "metadata": {
                    "name": names::translated("dev", "k3k-dev", "high"),
                    "labels": {"k3k.io/clusterName": "dev", "k3k.io/clusterUID": "c-uid"},
                    "annotations": {"k3k.io/name": "high", "k3k.io/uid": "u"},
                },
            })
        );
        assert_eq!(made[1].value, Some(-5));
        let raised = wanted(&site(), &sync(&json!({"maxValue": 100})), &nested);
        assert_eq!((raised[0].value, raised[1].value), (Some(100), Some(-5)));
        assert!(
            wanted(&site(), &SyncConfig::default(), &nested).is_empty(),
            "not unless the cluster asks for it"
        );
    }

    #[test]
    fn only_a_tenants_own_are_copied_and_not_without_end() {
        let nested = [
            class("system-node-critical", 5, &json!({})),
            class("gold", 5, &json!({"k3k.io/sync-source": "host"})),
            class("other", 5, &json!({"team": "b"})),
            class("mine", 5, &json!({"team": "a"})),
        ];
        let made = wanted(&site(), &sync(&json!({"selector": {"team": "a"}})), &nested);
        assert_eq!(
            made.iter().map(|class| class.annotations()[VIRTUAL_NAME].as_str()).collect::<Vec<_>>(),
            ["mine"]
        );
        let many: Vec<_> = (0..1000).map(|number| class(&format!("c{number}"), 1, &json!({}))).collect();
        assert_eq!(wanted(&site(), &sync(&json!({})), &many).len(), MOST);
    }

    #[test]
    fn clusters_of_one_name_have_copies_of_their_own() {
        let nested = [class("high", 1, &json!({}))];
        let name = |namespace: &str, uid: &str| {
            let site = Site { name: "dev".into(), namespace: namespace.into(), uid: uid.into() };
            wanted(&site, &sync(&json!({})), &nested).remove(0)
        };
        let (one, other) = (name("a", "1"), name("b", "2"));
        assert_ne!(one.name_any(), other.name_any());
        let host = [Arc::new(one), Arc::new(other.clone())];
        assert_eq!(copies_of("2", &host), [Arc::new(other)]);
    }
}
