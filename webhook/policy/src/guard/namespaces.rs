//! What binds a namespace to its policy, and policies themselves.

use crate::Facts;
use crate::policy::Policy;
use crate::question::{Operation, Question, Requester, label};
use crate::rules::{NAMESPACES, POLICY};
use crate::violation::Violation;
use k3k_api::labels;
use k3k_api::v1beta1::VirtualClusterPolicySpec;
use serde_json::Value;
use std::collections::BTreeSet;

/// Labels by which others exempt a namespace from their own rules.
const EXEMPTING: [&str; 6] = [
    "pod-security.kubernetes.io/",
    "admission.gatekeeper.sh/",
    "policy.sigstore.dev/",
    "securesystemsengineering.connaisseur/",
    "istio.io/",
    "istio-injection",
];
/// Annotations by which Kubernetes' own admission places the pods of a namespace.
const PLACING: &str = "scheduler.alpha.kubernetes.io/";

/// Labels of a namespace that holds clusters, or is about to.
pub(super) fn check(question: &Question<'_>, facts: &Facts<'_>) -> Vec<Violation> {
    if question.operation == Operation::Delete || question.requester.is_trusted() {
        return Vec::new();
    }
    let (Some(new), old) = (question.object, question.old) else { return Vec::new() };
    let of = |object: &Value, key: &str| label(object, key).map(str::to_owned);
    let holds_clusters = old.is_some_and(|old| label(old, labels::CLUSTER_NAMESPACE).is_some());
    let mut keys: BTreeSet<String> = BTreeSet::new();
    for object in [Some(new), old].into_iter().flatten() {
        keys.extend(
            object
                .pointer("/metadata/labels")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(key, _)| key.clone()),
        );
    }
    let mut found = Vec::new();
    for key in keys {
        let (now, before) = (of(new, &key), old.and_then(|old| of(old, &key)));
        if now == before {
            continue;
        }
        let field = format!("metadata.labels[{key}]");
        if key == labels::POLICY_NAME {
            // Whoever may use a policy may bind to it; whoever may use the old one may leave it.
            if !facts.may_use_policies {
                let named = now.or(before).unwrap_or_default();
                let message = format!(
                    "{field} is changed, which needs the right to \"use\" virtualclusterpolicies {named:?} (and, where another was bound, that one too)"
                );
                found.push(Violation::new(NAMESPACES, field, message));
            }
        } else if labels::is_reserved(&key) {
            found.push(Violation::new(NAMESPACES, field.clone(), format!("{field} is written by k3k alone")));
        } else if holds_clusters && EXEMPTING.iter().any(|prefix| key.starts_with(prefix)) {
            let message = format!(
                "{field} is changed, by which the clusters in the namespace could be let off other rules of the host"
            );
            found.push(Violation::new(NAMESPACES, field, message));
        }
    }
    found.extend(annotations(question, holds_clusters));
    found
}

/// Annotations of a namespace that holds clusters.
fn annotations(question: &Question<'_>, holds_clusters: bool) -> Vec<Violation> {
    let of = |object: Option<&'_ Value>| {
        object
            .and_then(|object| object.pointer("/metadata/annotations")?.as_object())
            .cloned()
            .unwrap_or_default()
    };
    let (now, before) = (of(question.object), of(question.old));
    let keys: BTreeSet<&String> = now.keys().chain(before.keys()).collect();
    keys.into_iter()
        .filter(|key| labels::is_reserved(key) || (holds_clusters && key.starts_with(PLACING)))
        .filter(|key| now.get(*key) != before.get(*key))
        .map(|key| {
            let field = format!("metadata.annotations[{key}]");
            let message = format!("{field} is changed, which is for administrators and k3k alone");
            Violation::new(NAMESPACES, field, message)
        })
        .collect()
}

/// A policy that nobody could follow.
pub(super) fn policy(question: &Question<'_>) -> Vec<Violation> {
    let Some(object) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    if *question.requester == Requester::System {
        return Vec::new();
    }
    match read(object) {
        Ok(_) => Vec::new(),
        Err((field, message)) => vec![Violation::new(POLICY, field.clone(), format!("{field}: {message}"))],
    }
}

/// Compiles a policy object.
pub(crate) fn read(object: &Value) -> Result<Policy, (String, String)> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
    let spec = object.get("spec").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let spec: VirtualClusterPolicySpec = serde_path_to_error::deserialize(&spec)
        .map_err(|error| (format!("spec.{}", error.path()), error.inner().to_string()))?;
    Policy::compile(name, generation, spec).map_err(|error| (error.field, error.message))
}
