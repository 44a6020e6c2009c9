//! Ways into pods, and to their credentials.

use crate::Facts;
use crate::pod::Role;
use crate::question::{Operation, Question, Requester, annotation, kubelet_of};
use crate::rules::{EXEC, ROLES, TOKENS};
use crate::violation::Violation;
use serde_json::Value;

/// `exec`, `attach`, `portforward` and `proxy`.
pub(super) fn connect(question: &Question<'_>, facts: &Facts<'_>) -> Vec<Violation> {
    if question.requester.is_trusted() {
        return Vec::new();
    }
    if question.resource == "services" {
        let is_ours = question.name.split(':').any(|part| part.starts_with("k3k-"));
        if let Requester::Kubelet { cluster } = question.requester {
            let message =
                format!("the virtual kubelet of {cluster:?} needs no way to Service {:?}", question.name);
            return vec![Violation::new(EXEC, "", message)];
        }
        let message = format!("Service {:?} belongs to a cluster's control plane", question.name);
        return if is_ours { vec![Violation::new(EXEC, "", message)] } else { Vec::new() };
    }
    // A pod that cannot be seen cannot be connected to either, but it is not for us to guess.
    let Some(pod) = facts.target else {
        return vec![Violation::new(EXEC, "", format!("pod {:?} is not there", question.name))];
    };
    match (Role::of(pod), question.requester) {
        (Role::ControlPlane, _) => {
            let message = format!(
                "pod {:?} belongs to a cluster's control plane, and whoever is in it has the whole cluster's secrets: ask an administrator",
                question.name
            );
            vec![Violation::new(EXEC, "", message)]
        }
        (Role::Tenant(source), Requester::Kubelet { cluster }) if source.cluster == cluster => Vec::new(),
        (_, Requester::Kubelet { cluster }) => {
            let message = format!("pod {:?} is not of cluster {cluster:?}", question.name);
            vec![Violation::new(EXEC, "", message)]
        }
        _ => Vec::new(),
    }
}

/// Tokens of virtual kubelets are for their nodes to fetch.
pub(super) fn token(question: &Question<'_>) -> Vec<Violation> {
    let message = match question.requester {
        Requester::Kubelet { cluster } => {
            format!("the virtual kubelet of {cluster:?} gets its own token from its node, and no other")
        }
        Requester::Other if kubelet_of(question.name).is_some() => {
            format!("ServiceAccount {:?} is a virtual kubelet's", question.name)
        }
        _ => return Vec::new(),
    };
    vec![Violation::new(TOKENS, "", message)]
}

/// Secrets that would hold such a token.
pub(super) fn secret(question: &Question<'_>) -> Vec<Violation> {
    let Some(secret) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    if question.requester.is_trusted()
        || secret.get("type").and_then(Value::as_str) != Some("kubernetes.io/service-account-token")
    {
        return Vec::new();
    }
    let account = annotation(secret, "kubernetes.io/service-account.name").unwrap_or_default();
    let refused = matches!(question.requester, Requester::Kubelet { .. }) || kubelet_of(account).is_some();
    if refused {
        return vec![Violation::new(
            TOKENS,
            "type",
            format!(
                "type is \"kubernetes.io/service-account-token\", but no Secret gets a token of ServiceAccount {account:?} here"
            ),
        )];
    }
    Vec::new()
}

/// k3k's roles.
pub(super) fn role_binding(question: &Question<'_>) -> Vec<Violation> {
    let role = question
        .object
        .and_then(|binding| binding.pointer("/roleRef/name"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    if question.operation == Operation::Delete || question.requester.is_trusted() {
        return Vec::new();
    }
    if role.starts_with("k3k-") {
        return vec![Violation::new(
            ROLES,
            "roleRef.name",
            format!("roleRef.name is {role:?}, which is bound by k3k alone"),
        )];
    }
    let subjects = question.object.and_then(|binding| binding.get("subjects")?.as_array());
    let mut found = Vec::new();
    for (index, subject) in subjects.into_iter().flatten().enumerate() {
        let name = subject.get("name").and_then(Value::as_str).unwrap_or_default();
        let name = name.rsplit(':').next().unwrap_or_default();
        if question.changes("/subjects") && kubelet_of(name).is_some() {
            let field = format!("subjects[{index}].name");
            let message =
                format!("{field} is {name:?}, a virtual kubelet, which has the rights that k3k gives it");
            found.push(Violation::new(ROLES, field, message));
        }
    }
    found
}
