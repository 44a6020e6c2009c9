//! Where pods run.

use super::{Role, Subject};
use crate::policy::{Policy, covers};
use crate::rules;
use crate::violation::{Violation, any_of};
use k3k_api::v1beta1::policy::Placement;
use k8s_openapi::api::core::v1::{Affinity, Toleration};

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
        found.extend(topology(subject, policy));
    }
    found.extend(placement(subject, policy));
    found
}

fn selector(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let own = subject.spec.node_selector.as_ref();
    policy
        .nodes
        .required_selector
        .iter()
        .filter_map(|(key, value)| {
            let found = own.and_then(|own| own.get(key));
            (found != Some(value)).then(|| {
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
    let allowed = |toleration: &Toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let equal = toleration.operator.as_deref() != Some("Exists");
        let value = equal.then(|| toleration.value.as_deref().unwrap_or_default());
        rule.required.iter().any(|required| {
            required.key == key
                && required.value.as_deref() == value
                && required.effect.is_none_or(|effect| toleration.effect.as_deref() == Some(effect.as_str()))
        }) || rule.allowed.iter().any(|allowed| {
            allowed.key == key && allowed.value.as_deref().is_none_or(|wanted| value == Some(wanted))
        })
    };
    refused(subject, policy, &allowed)
}

fn refused(subject: &Subject<'_>, policy: &Policy, allowed: &dyn Fn(&Toleration) -> bool) -> Vec<Violation> {
    let list = subject.spec.tolerations.iter().flatten().enumerate();
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
        let title = policy.title();
        Violation::of(
            rules::TOLERATIONS,
            format!("spec.tolerations[{index}]"),
            &found,
            &title,
            &format!("only {}", any_of(&keys)),
        )
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

fn topology(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let keys = &policy.nodes.topology_keys;
    let mut named: Vec<(String, &str)> = Vec::new();
    for (index, spread) in subject.spec.topology_spread_constraints.iter().flatten().enumerate() {
        named.push((format!("spec.topologySpreadConstraints[{index}].topologyKey"), &spread.topology_key));
    }
    named.extend(subject.spec.affinity.as_ref().map(affinity_keys).unwrap_or_default());
    named
        .into_iter()
        .filter(|(_, key)| !covers(keys, key))
        .map(|(field, key)| {
            Violation::of(rules::TOPOLOGY_KEYS, field, &format!("{key:?}"), &policy.title(), &any_of(keys))
        })
        .collect()
}

/// The keys of affinities to pods. Ours, of an Exclusive placement, is by host name and stands first; it is allowed wherever pods run.
fn affinity_keys(affinity: &Affinity) -> Vec<(String, &str)> {
    let mut named = Vec::new();
    let pod = affinity.pod_affinity.as_ref();
    let anti = affinity.pod_anti_affinity.as_ref();
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let lists = [
        (
            "podAffinity",
            pod.map(|one| {
                (
                    &one.required_during_scheduling_ignored_during_execution,
                    &one.preferred_during_scheduling_ignored_during_execution,
                )
            }),
        ),
        (
            "podAntiAffinity",
            anti.map(|one| {
                (
                    &one.required_during_scheduling_ignored_during_execution,
                    &one.preferred_during_scheduling_ignored_during_execution,
                )
            }),
        ),
    ];
    for (kind, terms) in lists {
        let Some((hard, soft)) = terms else { continue };
        for (index, term) in hard.iter().flatten().enumerate() {
            if !is_exclusion(term) {
                named.push((
                    format!("spec.affinity.{kind}.{required}[{index}].topologyKey"),
                    term.topology_key.as_str(),
                ));
            }
        }
        for (index, term) in soft.iter().flatten().enumerate() {
            named.push((
                format!("spec.affinity.{kind}.{preferred}[{index}].podAffinityTerm.topologyKey"),
                term.pod_affinity_term.topology_key.as_str(),
            ));
        }
    }
    named
}

fn is_exclusion(term: &k8s_openapi::api::core::v1::PodAffinityTerm) -> bool {
    let expressions =
        term.namespace_selector.as_ref().and_then(|selector| selector.match_expressions.as_ref());
    expressions
        .into_iter()
        .flatten()
        .any(|one| one.key == k3k_api::labels::POLICY_NAME && one.operator == "NotIn")
}

/// With an Exclusive placement, every pod keeps pods of other policies off its node.
fn placement(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    if policy.placement() != Placement::Exclusive {
        return Vec::new();
    }
    let wanted = crate::mutate::exclusion(&policy.name);
    let terms =
        subject.raw.pointer("/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    let terms = terms.and_then(serde_json::Value::as_array).into_iter().flatten();
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
