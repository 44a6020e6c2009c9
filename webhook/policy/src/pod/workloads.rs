//! What pods name of the host, and what they say about themselves.

use super::{Role, Subject};
use crate::policy::Policy;
use crate::violation::{Violation, any_of};
use crate::{glob, rules};
use k3k_api::labels;

/// What the kubelet gives a pod that does not say.
const DEFAULT_GRACE: i64 = 30;
/// Orders to network plugins and to controllers that copy Secrets between namespaces. Without a list of annotations, these are no tenant's.
const ORDERS: [&str; 9] = [
    "k8s.v1.cni.cncf.io/*",
    "cni.projectcalico.org/*",
    "ovn.kubernetes.io/*",
    "k8s.ovn.org/*",
    "*.cilium.io/*",
    "kubernetes.io/*-bandwidth",
    "v1.multus-cni.io/*",
    "reflector.v1.k8s.emberstack.com/*",
    "replicator.v1.mittwald.de/*",
];

/// Classes, metadata and the grace period.
pub(super) fn check(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    if role == Role::ControlPlane {
        return Vec::new();
    }
    let mut found = priority(subject, policy);
    found.extend(runtime_class(subject, policy));
    found.extend(metadata(subject, policy));
    found.extend(grace_periods(subject, policy));
    found
}

/// The pod's own, and those of probes, which go before it when a probe fails.
fn grace_periods(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(most) = policy.workloads.max_termination_grace_period_seconds else { return Vec::new() };
    let own = subject.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE);
    let mut found = Vec::new();
    let mut period_at = |field: &dyn Fn() -> String, period: i64| {
        if period > most {
            let allowed = format!("at most {most}");
            let (period, title) = (period.to_string(), policy.title());
            found.push(Violation::of(rules::GRACE_PERIOD, field(), &period, &title, &allowed));
        }
    };
    period_at(&|| "spec.terminationGracePeriodSeconds".to_owned(), own);
    for container in subject.containers() {
        for (kind, probe) in container.probes() {
            if let Some(period) = probe.termination_grace_period_seconds {
                period_at(&|| format!("{container}.{kind}.terminationGracePeriodSeconds"), period);
            }
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
    let annotations = subject.annotations.keys().filter_map(|key| annotation(key, policy));
    annotations.chain(subject.labels.keys().filter_map(|key| metadata_label(key, policy))).collect()
}

/// An annotation that a tenant's object may not have.
pub(crate) fn annotation(key: &str, policy: &Policy) -> Option<Violation> {
    if is_kubernetes_own(key) {
        return None;
    }
    let allowed = match &policy.workloads.allowed_annotations {
        Some(allowed) if !allowed.iter().any(|glob| glob::text(glob, key)) => any_of(allowed),
        None if ORDERS.iter().any(|glob| glob::text(glob, key)) => {
            "no orders to the host's controllers".to_owned()
        }
        _ => return None,
    };
    let field = format!("metadata.annotations[{key}]");
    Some(Violation::of(rules::ANNOTATIONS, field, "set", &policy.title(), &allowed))
}

/// A label that a tenant's object may not have.
pub(crate) fn metadata_label(key: &str, policy: &Policy) -> Option<Violation> {
    let allowed = policy.workloads.allowed_labels.as_ref()?;
    if labels::is_reserved(key) || allowed.iter().any(|glob| glob::text(glob, key)) {
        return None;
    }
    let field = format!("metadata.labels[{key}]");
    Some(Violation::of(rules::METADATA_LABELS, field, "set", &policy.title(), &any_of(allowed)))
}

/// Keys that are ours, or that the host's own admission and kubectl write.
pub(crate) fn is_kubernetes_own(key: &str) -> bool {
    labels::is_reserved(key)
        || matches!(
            key,
            "kubectl.kubernetes.io/last-applied-configuration"
                | "kubernetes.io/limit-ranger"
                | "kubectl.kubernetes.io/restartedAt"
        )
        || key.starts_with("container.apparmor.security.beta.kubernetes.io/")
}
