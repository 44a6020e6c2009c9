//! Orders about claims that only the host gives.

use crate::question::{Operation, Question, annotation};
use crate::rules::NODE_NAME;
use crate::violation::Violation;

/// By these the host's scheduler and its binder tell one another which node and which volume a claim has.
const ORDERS: [&str; 4] = [
    "volume.kubernetes.io/selected-node",
    "volume.alpha.kubernetes.io/selected-node",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
];

/// A claim that names its node, or calls itself bound.
pub(super) fn annotations(question: &Question<'_>) -> Vec<Violation> {
    let Some(claim) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    if question.requester.is_trusted() {
        return Vec::new();
    }
    ORDERS
        .iter()
        .filter(|key| {
            let now = annotation(claim, key);
            now.is_some() && now != question.old.and_then(|old| annotation(old, key))
        })
        .map(|key| {
            let field = format!("metadata.annotations[{key}]");
            let message =
                format!("{field} is set, but which node and volume a claim gets is for the host to say");
            Violation::new(NODE_NAME, field, message)
        })
        .collect()
}
