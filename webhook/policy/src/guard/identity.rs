//! Whose an object is: told by labels and annotations that only k3k writes.

use crate::question::{Operation, Question, Requester, label};
use crate::rules::{LABELS, OWNERSHIP};
use crate::violation::Violation;
use k3k_api::labels;
use serde_json::Value;
use std::collections::BTreeMap;

/// Labels, annotations and ownership.
pub(super) fn check(question: &Question<'_>) -> Vec<Violation> {
    if question.requester.is_trusted() {
        return Vec::new();
    }
    let mut found = reserved(question);
    found.extend(owned(question));
    found
}

/// Keys of ours in an object's metadata, and in that of the pods it makes.
fn reserved(question: &Question<'_>) -> Vec<Violation> {
    if question.operation == Operation::Delete {
        return Vec::new();
    }
    let kubelet = match question.requester {
        Requester::Kubelet { cluster } => Some(cluster.as_str()),
        _ => None,
    };
    let mut found = Vec::new();
    for (path, keys) in PLACES {
        let now = ours(question.object, path, keys);
        let before = ours(question.old, path, keys);
        let changed = now.keys().chain(before.keys()).find(|key| now.get(*key) != before.get(*key));
        let Some(key) = changed else { continue };
        let own_copy = kubelet.is_some() && *path == "/metadata" && !RESTRICTED.contains(&key.as_str());
        if !own_copy {
            let field = format!("{}.{keys}[{key}]", path.trim_start_matches('/').replace('/', "."));
            let message = format!("{field} is changed, but keys of k3k.io are written by k3k alone");
            found.push(Violation::new(LABELS, field, message));
        }
    }
    if let Some(cluster) = kubelet {
        // Its own copies all say whose they are, those that it takes over as well.
        let of = |object: Option<&Value>| {
            object.and_then(|object| label(object, labels::CLUSTER_NAME)).map(str::to_owned)
        };
        let (now, before) = (of(question.object), of(question.old));
        let foreign =
            now.as_deref() != Some(cluster) || before.as_deref().is_some_and(|before| before != cluster);
        if foreign {
            let field = format!("metadata.labels[{}]", labels::CLUSTER_NAME);
            let message = format!(
                "{field} is not {cluster:?}, but the virtual kubelet of {cluster:?} writes objects of its own cluster alone"
            );
            found.push(Violation::new(LABELS, field, message));
        }
    }
    found
}

/// Where keys of ours could be.
const PLACES: &[(&str, &str)] = &[
    ("/metadata", "labels"),
    ("/metadata", "annotations"),
    ("/spec/template/metadata", "labels"),
    ("/spec/template/metadata", "annotations"),
    ("/spec/jobTemplate/metadata", "labels"),
    ("/spec/jobTemplate/spec/template/metadata", "labels"),
    ("/template/metadata", "labels"),
];
/// What a virtual kubelet never writes.
const RESTRICTED: [&str; 4] =
    [labels::COMPONENT, labels::POLICY_NAME, labels::CLUSTER_NAMESPACE, labels::APPLIED_HASH];

fn ours(object: Option<&Value>, path: &str, keys: &str) -> BTreeMap<String, Value> {
    let map = object
        .and_then(|object| object.pointer(path))
        .and_then(|metadata| metadata.get(keys))
        .and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter(|(key, _)| labels::is_reserved(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Objects of a control plane, and of other clusters.
fn owned(question: &Question<'_>) -> Vec<Violation> {
    let Some(old) = question.old else { return Vec::new() };
    // Nobody is kept from evicting pods: they come again.
    let is_pod = question.group.is_empty() && question.resource == "pods";
    if is_pod
        && question.operation == Operation::Delete
        && !matches!(question.requester, Requester::Kubelet { .. })
    {
        return Vec::new();
    }
    // Nodes report on what runs on them.
    if *question.requester == Requester::Node {
        return Vec::new();
    }
    let only_finalizers = question.object.is_some_and(|new| is_finalizing(old, new));
    let is_control_plane = label(old, labels::COMPONENT).is_some();
    if is_control_plane && !only_finalizers {
        let message = "the object belongs to a cluster's control plane, which k3k alone changes: change the Cluster instead";
        return vec![Violation::new(OWNERSHIP, "", message)];
    }
    if let Requester::Kubelet { cluster } = question.requester
        && question.operation == Operation::Delete
        && label(old, labels::CLUSTER_NAME) != Some(cluster)
    {
        let message =
            format!("the object is not of cluster {cluster:?}, whose virtual kubelet wants to delete it");
        return vec![Violation::new(OWNERSHIP, "", message)];
    }
    Vec::new()
}

/// Whether an object on its way out only loses finalizers.
fn is_finalizing(old: &Value, new: &Value) -> bool {
    if old.pointer("/metadata/deletionTimestamp").is_none() {
        return false;
    }
    let without = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for key in ["finalizers", "managedFields", "resourceVersion", "generation"] {
                metadata.remove(key);
            }
        }
        object
    };
    without(old) == without(new)
}
