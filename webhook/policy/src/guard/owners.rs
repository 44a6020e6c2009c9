//! Objects of k3k's own that cannot be told by their labels in a question: leases, scales, and what hangs on Clusters.

use crate::question::{Operation, Question, Requester, kubelet_of};
use crate::rules::OWNERSHIP;
use crate::violation::Violation;
use serde_json::Value;

/// A virtual kubelet deletes its pods; in an eviction it cannot be told whose the pod is. Nobody else is kept from evicting.
pub(super) fn eviction(question: &Question<'_>) -> Vec<Violation> {
    match question.requester {
        Requester::Kubelet { cluster } => {
            let message =
                format!("the virtual kubelet of {cluster:?} deletes its pods instead of evicting some");
            vec![Violation::new(OWNERSHIP, "", message)]
        }
        _ => Vec::new(),
    }
}

/// How many replicas a control plane has is for its Cluster to say, and not for an autoscaler either.
pub(super) fn scale(question: &Question<'_>) -> Vec<Violation> {
    let exempt = matches!(question.requester, Requester::Controller | Requester::Administrator);
    if exempt || !is_workload(question.name) {
        return Vec::new();
    }
    let message = format!(
        "spec.replicas of {:?} is changed, which belongs to a cluster's control plane: change spec.servers of the Cluster",
        question.name
    );
    vec![Violation::new(OWNERSHIP, "spec.replicas", message)]
}

/// The Lease by which one of a cluster's virtual kubelets acts.
pub(super) fn lease(question: &Question<'_>) -> Vec<Violation> {
    let is_own = match question.requester {
        Requester::Kubelet { cluster } => kubelet_of(question.name) == Some(cluster),
        requester => requester.is_trusted(),
    };
    if is_own {
        return Vec::new();
    }
    let message = format!("Lease {:?} is held by a cluster's virtual kubelet", question.name);
    vec![Violation::new(OWNERSHIP, "", message)]
}

/// What belongs to a Cluster, or to a part of its control plane, is made by k3k: it goes when they go, and can keep them from going.
pub(super) fn references(question: &Question<'_>) -> Vec<Violation> {
    if question.operation == Operation::Delete || question.requester.is_trusted() {
        return Vec::new();
    }
    let list = |object: Option<&'_ Value>| -> Vec<Value> {
        object
            .and_then(|object| object.pointer("/metadata/ownerReferences")?.as_array())
            .cloned()
            .unwrap_or_default()
    };
    let before = list(question.old);
    let mut found = Vec::new();
    for (index, owner) in
        list(question.object).iter().enumerate().filter(|(_, owner)| !before.contains(owner))
    {
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        let is_cluster = text("apiVersion").split('/').next() == Some("k3k.io");
        let own = match question.requester {
            Requester::Kubelet { cluster } => is_cluster && kind == "Cluster" && name == cluster,
            _ => false,
        };
        if !own && (is_cluster || is_workload(name)) {
            let field = format!("metadata.ownerReferences[{index}]");
            let message = format!("{field} is {kind} {name:?}, whose objects k3k makes");
            found.push(Violation::new(OWNERSHIP, field, message));
        }
    }
    found
}

/// Whether this is the name of a workload of a control plane.
fn is_workload(name: &str) -> bool {
    name.starts_with("k3k-") && ["-server", "-agent", "-kubelet"].iter().any(|suffix| name.ends_with(suffix))
}
