//! Where pods run.

use super::view::Toleration;
use super::{Role, Subject};
use crate::policy::{Policy, covers};
use crate::rules;
use crate::violation::{Violation, any_of};
use k3k_api::v1beta1::policy::Placement;
use serde_json::Value;

/// The scheduler of the host.
const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// What every pod may tolerate, because Kubernetes has every pod tolerate it for a while.
const ALWAYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
/// What Kubernetes itself adds to pods by what they are.
const PRESSURE: &str = "node.kubernetes.io/memory-pressure";

/// The selector, tolerations, scheduler, keys and placement.
pub(super) fn check(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    let mut found = selector(subject, policy);
    found.extend(tolerations(subject, policy));
    if role != Role::ControlPlane {
        found.extend(scheduler(subject, policy));
        found.extend(topology(subject, policy, subject.namespace()));
    }
    found.extend(placement(subject, policy));
    found
}

fn selector(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let own = &subject.spec.node_selector;
    policy
        .nodes
        .required_selector
        .iter()
        .filter_map(|(key, value)| {
            let found = own.get(key.as_str()).map(|found| found.as_str());
            (found != Some(value.as_str())).then(|| {
                let found = found.map_or_else(|| "not set".to_owned(), |found| format!("{found:?}"));
                let field = format!("spec.nodeSelector[{key}]");
                Violation::of(rules::SELECTOR, field, &found, &policy.title(), &format!("only {value:?}"))
            })
        })
        .collect()
}

fn tolerations(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(rule) = &policy.nodes.tolerations else {
        // Without a list, what would place pods beside the host's control plane is still no tenant's to tolerate, when nodes are chosen.
        if policy.nodes.required_selector.is_empty() {
            return Vec::new();
        }
        return refused(subject, policy, &|_| false);
    };
    let allowed = |toleration: &Toleration<'_>| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let equal = toleration.operator.as_deref() != Some("Exists");
        let value = equal.then(|| toleration.value.as_deref().unwrap_or_default());
        rule.required.iter().any(|required| {
            required.key == key
                && (required.value.is_none() || required.value.as_deref() == value)
                && required.effect.is_none_or(|effect| toleration.effect.as_deref() == Some(effect.as_str()))
        }) || rule.allowed.iter().any(|allowed| {
            allowed.key == key && allowed.value.as_deref().is_none_or(|wanted| value == Some(wanted))
        })
    };
    refused(subject, policy, &allowed)
}

fn refused(
    subject: &Subject<'_>,
    policy: &Policy,
    allowed: &dyn Fn(&Toleration<'_>) -> bool,
) -> Vec<Violation> {
    let list = subject.spec.tolerations.iter().enumerate();
    list.filter(|(_, toleration)| {
        let key = toleration.key.as_deref().unwrap_or_default();
        !(ALWAYS.contains(&key) || key == PRESSURE || allowed(toleration))
    })
    .map(|(index, toleration)| {
        let key = toleration.key.as_deref().filter(|key| !key.is_empty());
        let found = key.map_or_else(
            || "a toleration of every taint".to_owned(),
            |key| format!("a toleration of {key:?}"),
        );
        let keys: Vec<&str> = policy
            .nodes
            .tolerations
            .iter()
            .flat_map(|rule| rule.allowed.iter().map(|one| one.key.as_str()))
            .collect();
        let allowed = if keys.is_empty() {
            "none but its own".to_owned()
        } else {
            format!("only {}, with the values that it says", any_of(&keys))
        };
        let field = format!("spec.tolerations[{index}]");
        Violation::of(rules::TOLERATIONS, field, &found, &policy.title(), &allowed)
    })
    .collect()
}

fn scheduler(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let name =
        subject.spec.scheduler_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(DEFAULT_SCHEDULER);
    let default = [DEFAULT_SCHEDULER.to_owned()];
    let allowed = if policy.nodes.schedulers.is_empty() { &default[..] } else { &policy.nodes.schedulers };
    if allowed.iter().any(|allowed| allowed == name) {
        return Vec::new();
    }
    let field = "spec.schedulerName".to_owned();
    vec![Violation::of(rules::SCHEDULER, field, &format!("{name:?}"), &policy.title(), &any_of(allowed))]
}

/// Keys by which pods are spread or kept together, and the namespaces of those that they are kept together with.
fn topology(subject: &Subject<'_>, policy: &Policy, namespace: &str) -> Vec<Violation> {
    let keys = &policy.nodes.topology_keys;
    let mut found = Vec::new();
    let mut key_at = |field: String, key: &str| {
        if !covers(keys, key) {
            let shown = format!("{key:?}");
            found.push(Violation::of(rules::TOPOLOGY_KEYS, field, &shown, &policy.title(), &any_of(keys)));
        }
    };
    for (index, spread) in subject.spec.topology_spread_constraints.iter().enumerate() {
        key_at(format!("spec.topologySpreadConstraints[{index}].topologyKey"), &spread.topology_key);
    }
    let terms = terms(subject, policy);
    for (field, term) in &terms {
        let key = term.get("topologyKey").and_then(Value::as_str).unwrap_or_default();
        key_at(format!("{field}.topologyKey"), key);
    }
    for (field, term) in &terms {
        found.extend(other_namespaces(field, term, policy, namespace));
    }
    found
}

/// Terms about pods in affinities, but for the one of an Exclusive placement.
fn terms<'s>(subject: &'s Subject<'_>, policy: &Policy) -> Vec<(String, &'s Value)> {
    let own = (policy.placement() == Placement::Exclusive).then(|| crate::mutate::exclusion(&policy.name));
    let is_own = |kind: &str, term: &Value| {
        kind == "podAntiAffinity"
            && own.as_ref().is_some_and(|own| crate::mutate::is_same_exclusion(term, own))
    };
    let mut found = Vec::new();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let list = |when: &str| {
            let list = subject
                .raw
                .pointer(&format!("/spec/affinity/{kind}/{when}DuringSchedulingIgnoredDuringExecution"));
            list.and_then(Value::as_array).into_iter().flatten().enumerate()
        };
        let path = |when: &str, index: usize| {
            format!("spec.affinity.{kind}.{when}DuringSchedulingIgnoredDuringExecution[{index}]")
        };
        for (index, term) in list("required") {
            if !is_own(kind, term) {
                found.push((path("required", index), term));
            }
        }
        for (index, weighted) in list("preferred") {
            if let Some(term) = weighted.get("podAffinityTerm") {
                found.push((format!("{}.podAffinityTerm", path("preferred", index)), term));
            }
        }
    }
    found
}

/// A term about pods of other namespaces tells whether they are there, and keeps them off nodes.
fn other_namespaces(field: &str, term: &Value, policy: &Policy, namespace: &str) -> Option<Violation> {
    let named = term.get("namespaces").and_then(Value::as_array).into_iter().flatten();
    let other = named.filter_map(Value::as_str).find(|named| *named != namespace);
    let (field, shown) = match other {
        Some(other) => (format!("{field}.namespaces"), format!("{other:?} among others")),
        None if term.get("namespaceSelector").is_some_and(|selector| !selector.is_null()) => {
            (format!("{field}.namespaceSelector"), "set".to_owned())
        }
        None => return None,
    };
    let allowed = "only affinities to pods of the same namespace";
    Some(Violation::of(rules::AFFINITY, field, &shown, &policy.title(), allowed))
}

/// With an Exclusive placement, every pod keeps pods of other policies off its node.
fn placement(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    if policy.placement() != Placement::Exclusive {
        return Vec::new();
    }
    let wanted = crate::mutate::exclusion(&policy.name);
    let terms =
        subject.raw.pointer("/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    let terms = terms.and_then(Value::as_array).into_iter().flatten();
    if terms.into_iter().any(|term| crate::mutate::is_same_exclusion(term, &wanted)) {
        return Vec::new();
    }
    let field = "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution".to_owned();
    vec![Violation::of(
        rules::PLACEMENT,
        field,
        "without the term that keeps other tenants' pods off the node",
        &policy.title(),
        "only pods with it (nodes.placement Exclusive)",
    )]
}
