//! Pods that would go past the host's scheduler, priorities or credentials.

use crate::pod::Role;
use crate::question::{Operation, Question, Requester, annotation, kubelet_of};
use crate::rules::{LABELS, NODE_NAME, PRIORITY, TOKENS};
use crate::violation::Violation;
use k3k_api::labels;
use serde_json::Value;

/// A static pod's shadow, which only its node makes.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Pods as they are made and changed.
pub(super) fn check(question: &Question<'_>) -> Vec<Violation> {
    let Some(pod) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let role = Role::of(pod);
    let is_new = question.operation == Operation::Create;
    if is_new
        && role == Role::ControlPlane
        && !has_control_plane_owner(pod)
        && !question.requester.is_trusted()
    {
        let field = format!("metadata.labels[{}]", labels::COMPONENT);
        let message = format!("{field} makes the pod part of a control plane, but no object of one owns it");
        found.push(Violation::new(LABELS, field, message));
    }
    if *question.requester != Requester::Node
        && annotation(pod, MIRROR) != question.old.and_then(|old| annotation(old, MIRROR))
    {
        let field = format!("metadata.annotations[{MIRROR}]");
        let message = format!("{field} is changed, but mirror pods are made by nodes alone");
        found.push(Violation::new(NODE_NAME, field, message));
    }
    let text = |field: &str| {
        pod.pointer(&format!("/spec/{field}")).and_then(Value::as_str).filter(|text| !text.is_empty())
    };
    if is_new
        && text("nodeName").is_some()
        // Not the host's controllers either: they make what templates say.
        && *question.requester != Requester::Node
    {
        let message = "spec.nodeName is set, but which node a pod runs on is for the host's scheduler to say: use a node selector";
        found.push(Violation::new(NODE_NAME, "spec.nodeName", message));
    }
    if !question.changes("/spec") {
        return found;
    }
    if let Some(class) = text("priorityClassName").filter(|class| class.starts_with("system-")) {
        let message = format!("spec.priorityClassName is {class:?}, which is for the host's own pods");
        found.push(Violation::new(PRIORITY, "spec.priorityClassName", message));
    }
    if role != Role::ControlPlane {
        found.extend(tokens(pod, role));
    }
    found
}

/// Server pods are made by their StatefulSet, virtual kubelets by a ReplicaSet of their Deployment.
fn has_control_plane_owner(pod: &Value) -> bool {
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    owners.into_iter().any(|owner| {
        let name = owner.get("name").and_then(Value::as_str).unwrap_or_default();
        owner.get("controller") == Some(&Value::Bool(true))
            && matches!(owner.get("kind").and_then(Value::as_str), Some("StatefulSet" | "ReplicaSet"))
            && name.starts_with("k3k-")
    })
}

/// Identities of the host. A tenant's pod has the tokens of its own cluster, in a Secret.
fn tokens(pod: &Value, role: Role<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let is_tenant = matches!(role, Role::Tenant(_));
    let mut account = "default";
    // The second is what the first was called once, and still means the same.
    for field in ["serviceAccountName", "serviceAccount"] {
        let named = pod.pointer(&format!("/spec/{field}")).and_then(Value::as_str).unwrap_or_default();
        if named.is_empty() || named == "default" {
            continue;
        }
        account = named;
        if is_tenant || kubelet_of(named).is_some() {
            let field = format!("spec.{field}");
            let message = format!("{field} is {named:?}, but tenants' pods have no identity in the host");
            found.push(Violation::new(TOKENS, field, message));
        }
    }
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten().enumerate();
    for (index, volume) in volumes {
        let sources =
            volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten().enumerate();
        for (at, source) in sources {
            let kinds = ["serviceAccountToken", "podCertificate", "clusterTrustBundle"];
            for kind in
                kinds.into_iter().filter(|kind| source.get(kind).is_some_and(|value| !value.is_null()))
            {
                // What Kubernetes itself adds to every pod that does not object is a token of an account without rights.
                let automatic =
                    kind == "serviceAccountToken" && source[kind].get("audience").is_none_or(Value::is_null);
                if !is_tenant && automatic && account == "default" {
                    continue;
                }
                let field = format!("spec.volumes[{index}].projected.sources[{at}].{kind}");
                let message = format!("{field} is set, but tenants' pods have no identity in the host");
                found.push(Violation::new(TOKENS, field, message));
            }
        }
    }
    found
}

/// A pod's node is chosen by the host's scheduler.
pub(super) fn binding(question: &Question<'_>) -> Vec<Violation> {
    if matches!(question.requester, Requester::System | Requester::Administrator) {
        return Vec::new();
    }
    let node = question
        .object
        .and_then(|binding| binding.pointer("/target/name"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let message =
        format!("target.name is {node:?}, but which node a pod runs on is for the host's scheduler to say");
    vec![Violation::new(NODE_NAME, "target.name", message)]
}
