//! Services that would reach other clusters' pods, and policies that would open them.

use crate::question::{Operation, Question, Requester};
use crate::rules::{EXTERNAL_IPS, NETWORK_POLICIES, SELECTORS};
use crate::violation::Violation;
use k3k_api::labels;
use serde_json::Value;

/// Selectors and external addresses.
pub(super) fn check(question: &Question<'_>) -> Vec<Violation> {
    let Some(service) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let list = |object: &'_ Value| -> Vec<Value> {
        object.pointer("/spec/externalIPs").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let before = question.old.map(list).unwrap_or_default();
    if list(service).iter().any(|address| !before.contains(address)) {
        let message =
            "spec.externalIPs is set, by which a Service takes over other people's addresses (CVE-2020-8554)";
        found.push(Violation::new(EXTERNAL_IPS, "spec.externalIPs", message));
    }
    if question.requester.is_trusted() || !question.changes("/spec/selector") {
        return found;
    }
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    let reserved = selector.into_iter().flatten().filter(|(key, _)| labels::is_reserved(key));
    let is_own = |key: &str, value: &Value| match question.requester {
        Requester::Kubelet { cluster } => {
            (key == labels::CLUSTER_NAME && value == cluster.as_str())
                || key == labels::VIRTUAL_NAMESPACE_LABEL
        }
        _ => false,
    };
    for (key, value) in reserved.filter(|(key, value)| !is_own(key, value)) {
        let field = format!("spec.selector[{key}]");
        found.push(Violation::new(
            SELECTORS,
            field.clone(),
            format!("{field} is {value}, but keys of k3k.io select what is k3k's"),
        ));
    }
    if let Requester::Kubelet { cluster } = question.requester
        && selector
            .is_some_and(|selector| !selector.is_empty() && !selector.contains_key(labels::CLUSTER_NAME))
    {
        let message = format!(
            "spec.selector does not say {}={cluster}, so it could select other clusters' pods",
            labels::CLUSTER_NAME
        );
        found.push(Violation::new(SELECTORS, "spec.selector", message));
    }
    found
}

/// Policies add up, so one more can only let more through.
pub(super) fn network_policy(question: &Question<'_>) -> Vec<Violation> {
    // Those of a virtual kubelet carry its cluster's label, or are refused for that.
    if question.requester.is_trusted() || matches!(question.requester, Requester::Kubelet { .. }) {
        return Vec::new();
    }
    let message = "NetworkPolicies in a cluster's namespace are k3k's: change network.isolation of the VirtualClusterPolicy, or make the policy \
                   inside the cluster with spec.sync.networkPolicies";
    vec![Violation::new(NETWORK_POLICIES, "", message)]
}
