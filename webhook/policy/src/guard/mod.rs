//! What always holds in the namespaces of clusters, whatever a policy says: what makes a cluster a cluster, and keeps its tenants inside it.
//!
//! Guards are not for administrators, those who may change policies: they could lift them anyway.

mod access;
mod claims;
mod cluster;
mod identity;
mod namespaces;
mod owners;
mod pods;
mod references;
mod services;
mod unknown;

pub(crate) use namespaces::read as read_policy;

use crate::Facts;
use crate::question::{Operation, Question};
use crate::violation::Violation;

/// Every guard rule that the question breaks.
pub(crate) fn check(question: &Question<'_>, facts: &Facts<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    if question.operation == Operation::Connect {
        found.extend(access::connect(question, facts));
        return found;
    }
    match (question.group, question.resource, question.sub_resource) {
        ("", "namespaces", "") => return namespaces::check(question, facts),
        ("k3k.io", "virtualclusterpolicies", "") => return namespaces::policy(question),
        ("k3k.io", "clusters", "") => return cluster::check(question),
        ("", "pods", "binding") | ("", "bindings", "") => return pods::binding(question),
        ("", "serviceaccounts", "token") => return access::token(question),
        ("", "pods", "eviction") => return owners::eviction(question),
        (_, _, "scale") => return owners::scale(question),
        ("coordination.k8s.io", "leases", "") if crate::question::kubelet_of(question.name).is_some() => {
            return owners::lease(question);
        }
        _ => {}
    }
    found.extend(identity::check(question));
    found.extend(owners::references(question));
    match (question.group, question.resource) {
        ("", "pods") => {
            found.extend(pods::check(question));
            found.extend(references::pod(question));
            found.extend(unknown::pod(question));
        }
        ("", "secrets") => found.extend(access::secret(question)),
        ("", "services") => found.extend(services::check(question)),
        ("", "persistentvolumeclaims") => {
            found.extend(references::claim(question));
            found.extend(claims::annotations(question));
        }
        ("networking.k8s.io", "ingresses") => found.extend(references::ingress(question)),
        ("networking.k8s.io", "networkpolicies") => found.extend(services::network_policy(question)),
        ("rbac.authorization.k8s.io", "rolebindings") => found.extend(access::role_binding(question)),
        _ => {}
    }
    found
}
