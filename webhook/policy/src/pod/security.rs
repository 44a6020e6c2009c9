//! What a pod may be to the node it runs on.

use super::{Role, Subject, privilege};
use crate::policy::Policy;
use crate::rules;
use crate::violation::Violation;
use crate::{control_plane, pod_security, violation};
use k3k_api::v1beta1::policy::{PodSecurityLevel, UserNamespaces};

/// The Pod Security Standards, with the policy's exceptions.
pub(super) fn standards(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    if role == Role::ControlPlane {
        return Vec::new();
    }
    let title = policy.title();
    pod_security::check(subject, policy.level())
        .into_iter()
        .filter(|finding| {
            !privilege::allows(&policy.pod_security.privileged, role.source(), finding, subject)
        })
        .map(|finding| {
            let owner = if finding.container.is_empty() {
                String::new()
            } else {
                format!(" of container {:?}", finding.container)
            };
            let message = format!(
                "{}{owner} is {}, but {title} allows {}",
                finding.field,
                violation::shorten(&finding.found),
                finding.allowed
            );
            Violation::new(finding.rule, finding.field, message)
        })
        .collect()
}

/// Whether pods have users of their own.
pub(super) fn user_namespaces(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    if role == Role::ControlPlane {
        return Vec::new();
    }
    let host_users = subject.spec.host_users;
    let found = match policy.pod_security.user_namespaces {
        Some(UserNamespaces::Require) if host_users != Some(false) => ("true or not set", "only false"),
        Some(UserNamespaces::Forbid) if host_users == Some(false) => ("false", "only true or no value"),
        _ => return Vec::new(),
    };
    vec![Violation::of(
        rules::USER_NAMESPACES,
        "spec.hostUsers".to_owned(),
        found.0,
        &policy.title(),
        found.1,
    )]
}

/// Whether servers and agents may be privileged. Only those that can do harm are looked at: what is not beyond Baseline is no privilege.
pub(super) fn control_plane(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    if role != Role::ControlPlane {
        return Vec::new();
    }
    let Some(first) = pod_security::check(subject, PodSecurityLevel::Baseline).into_iter().next() else {
        return Vec::new();
    };
    let spec = &subject.spec;
    let is_placed = policy
        .nodes
        .required_selector
        .iter()
        .all(|(key, value)| spec.node_selector.get(key.as_str()).is_some_and(|own| **own == **value));
    let allowed = control_plane::allowed_instead(policy, spec.runtime_class_name.as_deref(), is_placed);
    allowed
        .map(|allowed| {
            Violation::of(rules::CONTROL_PLANE, first.field, &first.found, &policy.title(), &allowed)
        })
        .into_iter()
        .collect()
}
