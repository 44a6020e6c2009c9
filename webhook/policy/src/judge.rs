//! From a question to all that speaks against it.

use crate::clusters;
use crate::governing::Governing;
use crate::guard;
use crate::objects;
use crate::pod::{self, Role, Subject};
use crate::policy::{Policy, Source};
use crate::question::{Operation, Question};
use crate::violation::Violation;
use jiff::Timestamp;
use k3k_api::labels;
use serde_json::Value;

/// The object cannot be read.
pub const MALFORMED: &str = "malformed";
/// The namespace's policy does not exist, or cannot be understood.
pub const POLICY_MISSING: &str = "policy-missing";

/// What is known besides the object itself. Whoever cannot find out leaves the strict answer.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What governs the namespace.
    pub governing: &'a Governing,
    /// When it is judged: exemptions end.
    pub now: Timestamp,
    /// The pod that a connection is opened to.
    pub target: Option<&'a Value>,
    /// Whether who asks may `use` the policies between which a namespace changes.
    pub may_use_policies: bool,
    /// How many Clusters the namespace holds.
    pub clusters_in_namespace: usize,
    /// Whether an Ingress of another namespace has this host name.
    pub host_is_taken: &'a (dyn Fn(&str) -> bool + Sync),
}

impl<'a> Facts<'a> {
    /// What can be said of a namespace from its policy alone.
    pub fn new(governing: &'a Governing, now: Timestamp) -> Self {
        Self {
            governing,
            now,
            target: None,
            may_use_policies: false,
            clusters_in_namespace: 0,
            host_is_taken: &|_| false,
        }
    }
}

/// Everything that speaks against what is asked, each with what follows. Exempted ones are left out.
pub fn judge(question: &Question<'_>, facts: &Facts<'_>) -> Vec<Violation> {
    let mut found = guard::check(question, facts);
    if matches!(question.operation, Operation::Delete | Operation::Connect) {
        return found;
    }
    let default = Policy::default();
    let policy = match facts.governing {
        Governing::Default => &default,
        Governing::Named(policy) => policy,
        Governing::Missing { .. } | Governing::Unreadable { .. } => {
            // Nothing that was there before is held up, unless it becomes something else.
            let becomes = question.changes("/spec") && !question.requester.is_trusted();
            if (question.operation == Operation::Create || becomes) && is_governed(question) {
                found.push(ungoverned(facts.governing));
            }
            return found;
        }
    };
    let (mut by_policy, source) = by_policy(question, policy, facts);
    by_policy.retain(|violation| {
        violation.rule == MALFORMED || policy.exemption(violation.rule, source, facts.now).is_none()
    });
    for violation in &mut by_policy {
        if !violation.is_guard() && violation.rule != MALFORMED {
            violation.mode = violation.mode.min(policy.mode(violation.rule));
        }
    }
    found.extend(by_policy);
    found
}

fn is_governed(question: &Question<'_>) -> bool {
    matches!(
        (question.group, question.resource, question.sub_resource),
        ("", "pods", "" | "ephemeralcontainers" | "resize")
            | ("", "services" | "persistentvolumeclaims", "")
            | ("networking.k8s.io", "ingresses", "")
            | ("k3k.io", "clusters", "")
    )
}

fn ungoverned(governing: &Governing) -> Violation {
    let message = match governing {
        Governing::Missing { name } => format!(
            "the namespace is bound to VirtualClusterPolicy {name:?}, which does not exist: create it, or correct the namespace's label {}",
            labels::POLICY_NAME
        ),
        Governing::Unreadable { name, error } => {
            format!("VirtualClusterPolicy {name:?} cannot be understood: {error}")
        }
        Governing::Default | Governing::Named(_) => String::new(),
    };
    Violation::new(POLICY_MISSING, "", message)
}

fn by_policy<'a>(
    question: &Question<'a>,
    policy: &Policy,
    facts: &Facts<'_>,
) -> (Vec<Violation>, Source<'a>) {
    let source = question.object.map(|object| source(object)).unwrap_or_default();
    let found = match (question.group, question.resource, question.sub_resource) {
        ("", "pods", "" | "ephemeralcontainers" | "resize") => pod(question, policy),
        ("", "services", "") => objects::service(question, policy),
        ("", "secrets" | "configmaps", "") => objects::metadata(question, policy),
        ("networking.k8s.io", "ingresses", "") => objects::ingress(question, policy, facts),
        ("", "persistentvolumeclaims", "") => objects::claim(question, policy),
        ("k3k.io", "clusters", "") => clusters::check(question, policy, facts),
        _ => template(question, policy),
    };
    (found, source)
}

fn source(object: &Value) -> Source<'_> {
    Source {
        cluster: crate::question::label(object, labels::CLUSTER_NAME).unwrap_or_default(),
        virtual_namespace: crate::question::annotation(object, labels::VIRTUAL_NAMESPACE).unwrap_or_default(),
    }
}

fn pod(question: &Question<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(object) = question.object else { return Vec::new() };
    // A pod that is there, and does not change where rules look, stays as it is: it must be possible to remove its finalizers, label it and
    // report on it, also after its policy has become stricter.
    let unchanged = question.old.filter(|old| old.get("spec").is_some() && !question.changes("/spec"));
    match Subject::pod(object) {
        // One that the API server has read before is not for us to refuse.
        Err(_) if unchanged.is_some() => Vec::new(),
        Err(malformed) => vec![Violation::new(MALFORMED, malformed.path.clone(), malformed.to_string())],
        Ok(subject) if unchanged.is_some() => relabelled(subject, unchanged, policy, Role::of(object)),
        Ok(subject) if question.sub_resource == "resize" => {
            pod::check_resize(&subject, policy, Role::of(object))
        }
        Ok(subject) => pod::check(&subject, policy, Role::of(object)),
    }
}

/// What the labels and annotations break that came to a pod that stays as it is otherwise.
fn relabelled(
    mut subject: Subject<'_>,
    old: Option<&Value>,
    policy: &Policy,
    role: Role<'_>,
) -> Vec<Violation> {
    let before =
        |kind: &str, key: &str| old.and_then(|old| old.get("metadata")?.get(kind)?.get(key)?.as_str());
    subject.labels.retain(|key, value| before("labels", key) != Some(value));
    subject.annotations.retain(|key, value| before("annotations", key) != Some(value));
    if subject.labels.is_empty() && subject.annotations.is_empty() {
        return Vec::new();
    }
    let mut found = pod::check(&subject, policy, role);
    found.retain(|violation| violation.field.starts_with("metadata."));
    found
}

/// A template makes pods that will be judged; its author is told early, and never held up. What the API server and we fill in when a pod is
/// made is not missed here.
fn template(question: &Question<'_>, policy: &Policy) -> Vec<Violation> {
    let path = crate::templates::of(question.group, question.resource);
    let Some(path) = path.filter(|_| question.sub_resource.is_empty()) else { return Vec::new() };
    let Some(template) = question.object.and_then(|object| object.pointer(path)) else { return Vec::new() };
    if question.old.is_some_and(|old| old.pointer(path) == Some(template)) {
        return Vec::new();
    }
    let role = Role::of(template);
    let mut completed =
        crate::mutate::pod(template, policy, role, crate::mutate::Stage::New, &crate::mutate::Digests::new());
    if let Some(map) = completed.as_object_mut() {
        crate::mutate::within(map, "metadata", |metadata| {
            metadata.insert("namespace".to_owned(), question.namespace.into());
        });
    }
    let Ok(subject) = Subject::pod(&completed) else { return Vec::new() };
    let prefix = crate::templates::path(path);
    let found = pod::check(&subject, policy, role).into_iter();
    found
        .filter(|violation| !is_filled_in_later(violation, policy))
        .map(|violation| violation.of_template(&prefix))
        .collect()
}

/// Whether a pod of the template may well not break the rule any more.
fn is_filled_in_later(violation: &Violation, policy: &Policy) -> bool {
    violation.rule == crate::rules::DIGEST && policy.digest() == k3k_api::v1beta1::policy::DigestRule::Resolve
}

/// Judges a tenant's pod as it is inside the cluster, before it is translated: what the virtual kubelet takes away, and what the host's
/// webhook fills in, is not missed.
pub fn nested(pod: &Value, source: Source<'_>, policy: &Policy, now: Timestamp) -> Vec<Violation> {
    let role = Role::Tenant(source);
    let mut own = pod.clone();
    if let Some(spec) = own.get_mut("spec").and_then(Value::as_object_mut) {
        // The cluster's scheduler has used these; the host's places the pod anew.
        for field in [
            "nodeName",
            "nodeSelector",
            "affinity",
            "tolerations",
            "topologySpreadConstraints",
            "schedulerName",
            "priorityClassName",
            "priority",
            "preemptionPolicy",
        ] {
            spec.remove(field);
        }
    }
    if let Some(metadata) = own.get_mut("metadata").and_then(Value::as_object_mut) {
        // No annotation is taken to the host.
        let keep = |key: &str| key.starts_with("container.apparmor.security.beta.kubernetes.io/");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| keep(key));
        }
    }
    let completed =
        crate::mutate::pod(&own, policy, role, crate::mutate::Stage::New, &crate::mutate::Digests::new());
    // Of what cannot be read, the cluster's own API server says it better.
    let Ok(subject) = Subject::pod(&completed) else { return Vec::new() };
    let mut found = pod::check(&subject, policy, role);
    found.retain(|violation| {
        violation.rule != crate::rules::UNKNOWN
            && !is_filled_in_later(violation, policy)
            && policy.exemption(violation.rule, source, now).is_none()
    });
    for violation in &mut found {
        violation.mode = violation.mode.min(policy.mode(violation.rule));
    }
    found
}
