//! The volume of the nested cluster that stands for a claim of the host.

use super::capacity_request;
use crate::status::for_tenant;
use crate::{Origin, Owner};
use k3k_api::labels::{self, SYNC_FROM_HOST, SYNC_SOURCE};
use k3k_api::storage::PROVISIONER;
use serde_json::{Map, Value, json};

/// The scheduler's word that a pod waits for the claim (`WaitForFirstConsumer`).
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Who is to delete a released volume. With a provisioner that is not built in, the nested controllers leave it to that.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Name of the nested volume of the claim `uid`, as external provisioners name theirs. Of a claim there is one, ever.
pub fn volume_name(uid: &str) -> String {
    format!("pvc-{uid}")
}

/// How far a pair of claims is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The host has not bound its claim; the nested one waits.
    Waiting,
    /// The host binds only when a pod uses the claim, and one is about to.
    Wanted,
    /// The host has bound its claim.
    Bound,
}

/// How far the host is with `nested`, whose class is `class`. `waits` tells that the host said it waits for a pod.
///
/// A host that waits for the first pod can only get one when the nested cluster sends it, and that waits for its claims:
/// so the nested volume is there as soon as a pod is about to use it, and tells its true size when the host has bound.
pub fn stage(nested: &Value, class: Option<&Value>, host: &Value, waits: bool) -> Stage {
    if host["status"]["phase"] == "Bound" {
        return Stage::Bound;
    }
    let delayed = class.is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer");
    let selected = nested
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(SELECTED_NODE))
        .is_some();
    if (delayed && selected) || (!delayed && waits) { Stage::Wanted } else { Stage::Waiting }
}

/// The nested volume for `nested`, backed by the host claim `host`.
pub fn volume(owner: &Owner, origin: &Origin, nested: &Value, class: Option<&Value>, host: &Value) -> Value {
    let first =
        |values: [&Value; 2]| values.into_iter().find(|value| !value.is_null()).cloned().unwrap_or_default();
    let reclaim = class.and_then(|class| class["reclaimPolicy"].as_str()).unwrap_or("Delete");
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(&origin.uid),
            "labels": {SYNC_SOURCE: SYNC_FROM_HOST},
            "annotations": {PROVISIONED_BY: PROVISIONER},
        },
        "spec": {
            "accessModes": nested["spec"]["accessModes"],
            "capacity": {"storage": first([&host["status"]["capacity"]["storage"], capacity_request(nested)])},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": origin.namespace, "name": origin.name, "uid": origin.uid},
            "csi": {
                "driver": PROVISIONER,
                "volumeHandle": owner.host_name(&origin.namespace, &origin.name),
                "volumeAttributes": {labels::VIRTUAL_NAMESPACE: origin.namespace, labels::VIRTUAL_NAME: origin.name},
            },
            "persistentVolumeReclaimPolicy": reclaim,
            "storageClassName": nested["spec"]["storageClassName"].as_str().unwrap_or_default(),
            "volumeMode": nested["spec"]["volumeMode"].as_str().unwrap_or("Filesystem"),
        },
    })
}

/// The claim that a nested volume was made for, as namespace and name, if it is one of ours. The volume's source says it,
/// which nobody can change, while a claim reference can be taken away.
pub fn home(volume: &Value) -> Option<(&str, &str)> {
    let source = volume.pointer("/spec/csi")?;
    if source["driver"] != PROVISIONER {
        return None;
    }
    let attributes = source.get("volumeAttributes")?;
    Some((
        attributes.get(labels::VIRTUAL_NAMESPACE)?.as_str()?,
        attributes.get(labels::VIRTUAL_NAME)?.as_str()?,
    ))
}

/// Whether the volume outlives its claim by its tenant's wish.
pub fn is_retained(volume: &Value) -> bool {
    volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
}

/// What the nested claim's status does not say yet of its bound host claim: size and what becomes of a change of size. A merge patch.
/// The nested controllers set the rest, and the size once.
pub fn claim_status(nested: &Value, host: &Value) -> Option<Value> {
    let meta = |object: &Value, key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let mut patch = Map::new();
    for field in ["capacity", "allocatedResources", "allocatedResourceStatuses", "conditions"] {
        let mut wanted = host["status"][field].clone();
        for condition in wanted.as_array_mut().into_iter().flatten() {
            if let Some(text) = condition["message"].as_str() {
                let (name, namespace) = (meta(nested, "name"), meta(nested, "namespace"));
                condition["message"] =
                    for_tenant(text, &meta(host, "name"), &meta(host, "namespace"), &name, &namespace).into();
            }
        }
        if nested["status"][field] != wanted {
            patch.insert(field.into(), wanted);
        }
    }
    (!patch.is_empty()).then(|| json!({"status": patch}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn nested(annotations: &Value) -> Value {
        json!({
            "metadata": {"name": "data", "namespace": "shop", "uid": "u", "annotations": annotations},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "fast"},
        })
    }

    fn class(mode: &str) -> Value {
        json!({"provisioner": PROVISIONER, "volumeBindingMode": mode})
    }

    #[rstest]
    #[case::immediate(&class("Immediate"), false, false, "Pending", Stage::Waiting)]
    #[case::bound(&class("Immediate"), false, false, "Bound", Stage::Bound)]
    #[case::no_pod(&class("WaitForFirstConsumer"), false, true, "Pending", Stage::Waiting)]
    #[case::a_pod(&class("WaitForFirstConsumer"), true, true, "Pending", Stage::Wanted)]
    #[case::bound_late(&class("WaitForFirstConsumer"), true, true, "Bound", Stage::Bound)]
    #[case::unknown_class_that_waits(&Value::Null, false, true, "Pending", Stage::Wanted)]
    #[case::unknown_class(&Value::Null, false, false, "Pending", Stage::Waiting)]
    fn a_pair_of_claims_is_somewhere(
        #[case] class: &Value,
        #[case] selected: bool,
        #[case] waits: bool,
        #[case] phase: &str,
        #[case] expected: Stage,
    ) {
        let nested = nested(&if selected { json!({SELECTED_NODE: "k3k-dev"}) } else { Value::Null });
        let class = Some(class).filter(|class| !class.is_null());
        assert_eq!(stage(&nested, class, &json!({"status": {"phase": phase}}), waits), expected);
    }

    #[test]
    fn a_volume_is_bound_to_its_claim_and_says_the_hosts_size() {
        let owner = Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() };
        let nested = nested(&Value::Null);
        let origin = Origin::of_nested(&nested).unwrap();
        let made =
            volume(&owner, &origin, &nested, None, &json!({"status": {"capacity": {"storage": "2Gi"}}}));
        assert_eq!(made["metadata"]["name"], "pvc-u");
        assert_eq!(made["spec"]["claimRef"]["uid"], "u");
        assert_eq!(made["spec"]["capacity"]["storage"], "2Gi");
        assert_eq!(made["spec"]["persistentVolumeReclaimPolicy"], "Delete");
        assert_eq!(home(&made), Some(("shop", "data")));
        let early = volume(&owner, &origin, &nested, Some(&json!({"reclaimPolicy": "Retain"})), &Value::Null);
        assert_eq!(early["spec"]["capacity"]["storage"], "1Gi", "what was asked for, until the host tells");
        assert!(is_retained(&early) && !is_retained(&made));
        assert_eq!(home(&json!({"spec": {"hostPath": {"path": "/"}}})), None);
        assert_eq!(home(&json!({"spec": {"csi": {"driver": "x", "volumeAttributes": {}}}})), None);
    }

    #[test]
    fn sizes_and_their_changes_are_told() {
        let mut nested = nested(&Value::Null);
        let host = json!({
            "metadata": {"name": "data-shop-dev-1", "namespace": "k3k-dev"},
            "status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                "conditions": [{"type": "Resizing", "status": "True", "message": "k3k-dev/data-shop-dev-1 grows"}]},
        });
        let patch = claim_status(&nested, &host).unwrap();
        assert_eq!(
            patch,
            json!({"status": {
                "capacity": {"storage": "1Gi"},
                "conditions": [{"type": "Resizing", "status": "True", "message": "shop/data grows"}],
            }})
        );
        nested["status"] = patch["status"].clone();
        assert_eq!(claim_status(&nested, &host), None);
        let settled = json!({"status": {"capacity": {"storage": "1Gi"}}});
        assert_eq!(claim_status(&nested, &settled), Some(json!({"status": {"conditions": null}})));
    }
}
