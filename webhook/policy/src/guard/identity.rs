//! Whose an object is: told by labels and annotations that only k3k writes.

use crate::question::{Operation, Question, Requester, label};
use crate::rules::{LABELS, OWNERSHIP};
use crate::violation::Violation;
use k3k_api::{labels, names};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
    let (now, before) = (ours(question.object), ours(question.old));
    let changed: BTreeSet<&Key> =
        now.keys().chain(before.keys()).filter(|key| now.get(*key) != before.get(*key)).collect();
    let mut found: Vec<Violation> = changed
        .into_iter()
        // Its own copies say what they are copies of.
        .filter(|key| kubelet.is_none() || key.place != "metadata" || RESTRICTED.contains(&key.name.as_str()))
        .map(|Key { place, kind, name }| {
            let field = format!("{place}.{kind}[{name}]");
            let message = format!("{field} is changed, but keys of k3k.io are written by k3k alone");
            Violation::new(LABELS, field, message)
        })
        .collect();
    if let Some(cluster) = kubelet {
        // Its own copies all say whose they are, those that it takes over as well.
        let of = |object: Option<&Value>| {
            object.and_then(|object| label(object, labels::CLUSTER_NAME)).map(str::to_owned)
        };
        let (now, before) = (of(question.object), of(question.old));
        let took_over =
            question.old.is_some_and(|old| before.as_deref() != Some(cluster) && !is_stray(old, cluster));
        let foreign = now.as_deref() != Some(cluster) || took_over;
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

/// Where keys of ours could be: in an object, and in those that are made of it.
const PLACES: [&str; 4] = ["spec.template", "spec.jobTemplate", "spec.jobTemplate.spec.template", "template"];

/// A label or an annotation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// The path of the metadata.
    place: String,
    /// `labels` or `annotations`.
    kind: &'static str,
    name: String,
}

/// What a virtual kubelet never writes.
const RESTRICTED: [&str; 4] =
    [labels::COMPONENT, labels::POLICY_NAME, labels::CLUSTER_NAMESPACE, labels::APPLIED_HASH];

fn ours(object: Option<&Value>) -> BTreeMap<Key, &Value> {
    let mut found = BTreeMap::new();
    let Some(object) = object else { return found };
    templates(object, "", &mut found);
    for place in PLACES {
        if let Some(template) = object.pointer(&format!("/{}", place.replace('.', "/"))) {
            templates(template, &format!("{place}."), &mut found);
        }
    }
    found
}

/// Keys in the metadata of an object, and in that of the claims that are made of it.
fn templates<'a>(object: &'a Value, prefix: &str, found: &mut BTreeMap<Key, &'a Value>) {
    metadata(object, &format!("{prefix}metadata"), found);
    let claims = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    for (index, claim) in claims.into_iter().flatten().enumerate() {
        metadata(claim, &format!("{prefix}spec.volumeClaimTemplates[{index}].metadata"), found);
    }
    let volumes = object.pointer("/spec/volumes").and_then(Value::as_array);
    for (index, volume) in volumes.into_iter().flatten().enumerate() {
        if let Some(claim) = volume.pointer("/ephemeral/volumeClaimTemplate") {
            let place = format!("{prefix}spec.volumes[{index}].ephemeral.volumeClaimTemplate.metadata");
            metadata(claim, &place, found);
        }
    }
}

fn metadata<'a>(object: &'a Value, place: &str, found: &mut BTreeMap<Key, &'a Value>) {
    for kind in ["labels", "annotations"] {
        let map = object.get("metadata").and_then(|metadata| metadata.get(kind)).and_then(Value::as_object);
        for (key, value) in map.into_iter().flatten().filter(|(key, _)| labels::is_reserved(key)) {
            found.insert(Key { place: place.to_owned(), kind, name: key.clone() }, value);
        }
    }
}

/// Whether `old` is a copy of `cluster` whose labels somebody took away: its annotations, which nobody but k3k writes, say what it stands for,
/// and its name is made of that and of the cluster.
fn is_stray(old: &Value, cluster: &str) -> bool {
    let noted = |key: &str| crate::question::annotation(old, key);
    let name = old.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let translated = noted(labels::VIRTUAL_NAMESPACE)
        .zip(noted(labels::VIRTUAL_NAME))
        .is_some_and(|(namespace, of)| names::translated(cluster, namespace, of) == name);
    let of_a_pod = noted(labels::VIRTUAL_UID).is_some_and(|uid| names::prefixed(&["pod", uid]) == name);
    label(old, labels::CLUSTER_NAME).is_none() && (translated || of_a_pod)
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
        && !is_stray(old, cluster)
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
