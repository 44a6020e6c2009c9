//! Classes that pods name: which of them the host knows, and by what name.

use crate::{Owner, Refusal};
use k3k_api::labels::{SYNC_FROM_HOST, SYNC_SOURCE};
use k3k_api::offered::Offered;
use k3k_api::v1beta1::{SyncConfig, SyncedKind};
use serde_json::Value;

/// Whether a pod may run by the RuntimeClass that it names. A nested class of that name proves nothing: tenants can make any.
///
/// # Errors
/// When the host does not offer it.
pub fn runtime(offered: &Offered, pod: &Value) -> Result<(), Refusal> {
    match pod["spec"]["runtimeClassName"].as_str() {
        Some(name) if !offered.runtime_classes.contains(name) => {
            let why = format!("the host does not offer RuntimeClass {name:?} to this cluster");
            Err(Refusal::new("spec.runtimeClassName", why))
        }
        _ => Ok(()),
    }
}

/// The class by which a pod that names `nested`, a PriorityClass of the nested cluster, has its priority in the host: the host's
/// own of that name if it is offered, else the copy. None if the host has neither; the nested scheduler has gone by it already.
pub fn priority(owner: &Owner, sync: &SyncConfig, offered: &Offered, nested: &Value) -> Option<String> {
    let metadata = &nested["metadata"];
    let name = metadata["name"].as_str()?;
    if metadata["labels"].get(SYNC_SOURCE).is_some_and(|source| source == SYNC_FROM_HOST) {
        return offered.priority_classes.contains(name).then(|| name.to_owned());
    }
    let labels = serde_json::from_value(metadata["labels"].clone()).unwrap_or_default();
    let is_copied = !is_built_in(name) && sync.selects(SyncedKind::PriorityClass, &labels);
    // Of the whole host, where clusters of other namespaces may have the same name.
    is_copied.then(|| owner.host_name(&owner.namespace, name))
}

/// Whether every Kubernetes has the class by itself. In the host those are for the host.
pub fn is_built_in(name: &str) -> bool {
    name.starts_with("system-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;
    use std::collections::BTreeSet;

    fn offered() -> Offered {
        let one = |name: &str| BTreeSet::from([name.to_owned()]);
        Offered { runtime_classes: one("kata"), priority_classes: one("gold"), ..Offered::default() }
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({"runtimeClassName": "kata"}), true)]
    #[case(json!({"runtimeClassName": "gvisor"}), false)]
    fn only_offered_runtimes_run(#[case] spec: Value, #[case] may_run: bool) {
        assert_eq!(runtime(&offered(), &json!({"spec": spec})).is_ok(), may_run);
    }

    #[rstest]
    #[case::the_hosts(json!({"name": "gold", "labels": {"k3k.io/sync-source": "host"}}), Some("gold".to_owned()))]
    #[case::a_namesake_of_the_hosts(json!({"name": "gold"}), Some(k3k_api::names::translated("dev", "k3k-dev", "gold")))]
    #[case::passed_off_as_the_hosts(json!({"name": "platinum", "labels": {"k3k.io/sync-source": "host"}}), None)]
    #[case::built_in(json!({"name": "system-node-critical"}), None)]
    #[case::passed_off_as_built_in(json!({"name": "system-node-critical", "labels": {"k3k.io/sync-source": "host"}}), None)]
    #[case::gone(Value::Null, None)]
    fn a_class_is_one_of_the_host_or_none(#[case] metadata: Value, #[case] expected: Option<String>) {
        let owner = Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() };
        let sync: SyncConfig = serde_json::from_value(json!({"priorityClasses": {"enabled": true}})).unwrap();
        let class = json!({"metadata": metadata});
        assert_eq!(priority(&owner, &sync, &offered(), &class), expected);
        if expected.as_deref() != Some("gold") {
            assert_eq!(priority(&owner, &SyncConfig::default(), &offered(), &class), None);
        }
    }
}
