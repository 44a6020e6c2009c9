//! What pods name of the host, and what they say about themselves.

use super::{Role, Subject};
use crate::policy::Policy;
use crate::violation::{Violation, any_of};
use crate::{glob, rules};
use k3k_api::labels;

/// What the kubelet gives a pod that does not say.
const DEFAULT_GRACE: i64 = 30;
/// Orders to network plugins: other networks, fixed addresses, ranges of addresses. Without a list of annotations, these are no tenant's.
const ORDERS: [&str; 6] = [
    "k8s.v1.cni.cncf.io/*",
    "cni.projectcalico.org/*",
    "ovn.kubernetes.io/*",
    "k8s.ovn.org/*",
    "*.cilium.io/*",
    "kubernetes.io/*-bandwidth",
];

/// Classes, metadata and the grace period.
pub(super) fn check(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    if role == Role::ControlPlane {
        return Vec::new();
    }
    let mut found = priority(subject, policy);
    found.extend(runtime_class(subject, policy));
    found.extend(metadata(subject, policy));
    if let Some(most) = policy.workloads.max_termination_grace_period_seconds {
        let grace = subject.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE);
        if grace > most {
            let field = "spec.terminationGracePeriodSeconds".to_owned();
            found.push(Violation::of(
                rules::GRACE_PERIOD,
                field,
                &grace.to_string(),
                &policy.title(),
                &format!("at most {most}"),
            ));
        }
    }
    found
}

fn priority(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(class) = subject.spec.priority_class_name.as_deref().filter(|class| !class.is_empty()) else {
        return Vec::new();
    };
    let Some(allowed) = &policy.workloads.priority_classes else { return Vec::new() };
    // Copies of a cluster's own classes are bounded by the policy's sync.
    let is_ours = policy.spec.default_priority_class.as_deref() == Some(class) || class.starts_with("k3k-");
    if is_ours || allowed.iter().any(|allowed| allowed == class) {
        return Vec::new();
    }
    let field = "spec.priorityClassName".to_owned();
    vec![Violation::of(
        rules::PRIORITY_CLASS,
        field,
        &format!("{class:?}"),
        &policy.title(),
        &any_of(allowed),
    )]
}

fn runtime_class(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(rule) = &policy.workloads.runtime_classes else { return Vec::new() };
    let class = subject.spec.runtime_class_name.as_deref().filter(|class| !class.is_empty());
    let listed = |class: &str| rule.allowed.iter().flatten().any(|allowed| allowed == class);
    let right = match (&rule.required, class) {
        (Some(required), Some(class)) => class == required || listed(class),
        (Some(_), None) => false,
        (None, Some(class)) => rule.allowed.is_none() || listed(class),
        (None, None) => true,
    };
    if right {
        return Vec::new();
    }
    let allowed: Vec<&str> =
        rule.required.iter().chain(rule.allowed.iter().flatten()).map(String::as_str).collect();
    let found = class.map_or_else(|| "not set".to_owned(), |class| format!("{class:?}"));
    vec![Violation::of(
        rules::RUNTIME_CLASS,
        "spec.runtimeClassName".to_owned(),
        &found,
        &policy.title(),
        &any_of(&allowed),
    )]
}

fn metadata(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let mut found = Vec::new();
    for key in subject.annotations.keys().filter(|key| !is_kubernetes_own(key)) {
        let refused = match &policy.workloads.allowed_annotations {
            Some(allowed) => !allowed.iter().any(|glob| glob::text(glob, key)),
            None => ORDERS.iter().any(|glob| glob::text(glob, key)),
        };
        if refused {
            let field = format!("metadata.annotations[{key}]");
            let allowed = policy
                .workloads
                .allowed_annotations
                .as_ref()
                .map_or_else(|| "no orders to network plugins".to_owned(), |allowed| any_of(allowed));
            found.push(Violation::of(rules::ANNOTATIONS, field, "set", &policy.title(), &allowed));
        }
    }
    if let Some(allowed) = &policy.workloads.allowed_labels {
        let keys = subject.labels.keys().filter(|key| !labels::is_reserved(key));
        for key in keys.filter(|key| !allowed.iter().any(|glob| glob::text(glob, key))) {
            let field = format!("metadata.labels[{key}]");
            found.push(Violation::of(
                rules::METADATA_LABELS,
                field,
                "set",
                &policy.title(),
                &any_of(allowed),
            ));
        }
    }
    found
}

/// Keys that are ours, or that the host's own admission and kubectl write.
fn is_kubernetes_own(key: &str) -> bool {
    labels::is_reserved(key)
        || matches!(
            key,
            "kubectl.kubernetes.io/last-applied-configuration"
                | "kubernetes.io/limit-ranger"
                | "kubectl.kubernetes.io/restartedAt"
        )
        || key.starts_with("container.apparmor.security.beta.kubernetes.io/")
}
