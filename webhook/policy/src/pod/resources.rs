//! How much a pod may use.

use super::{Container, Role, Subject};
use crate::policy::Policy;
use crate::rules;
use crate::violation::{Violation, any_of};
use k3k_api::quantity::Quantity;
use k3k_api::v1beta1::policy::RequiredResource;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What every pod may ask for.
const COMMON: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Less memory than this is a mistake of units: 128m is an eighth of a byte.
const LEAST_MEMORY: i64 = 1024;

/// Sums, numbers, names and presence.
pub(super) fn check(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    if role == Role::ControlPlane {
        return Vec::new();
    }
    let mut found = count(subject, policy);
    found.extend(readable(subject));
    found.extend(sums(subject, policy));
    found.extend(extended(subject, policy));
    found.extend(required(subject, policy));
    found
}

fn count(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(most) = policy.resources.per_pod.as_ref().and_then(|per_pod| per_pod.max_containers) else {
        return Vec::new();
    };
    let count = subject.containers().count();
    if u32::try_from(count).is_ok_and(|count| count <= most) {
        return Vec::new();
    }
    let found = format!("a list of {count} containers of all kinds");
    vec![Violation::of(
        rules::PER_POD,
        "spec.containers".to_owned(),
        &found,
        &policy.title(),
        &format!("at most {most}"),
    )]
}

/// Amounts, with their fields.
fn amounts<'s>(
    path: &Rc<str>,
    resources: &'s k8s_openapi::api::core::v1::ResourceRequirements,
) -> Vec<Asked<'s>> {
    let lists = [("requests", &resources.requests), ("limits", &resources.limits)];
    lists
        .into_iter()
        .flat_map(|(list, amounts)| amounts.iter().flatten().map(move |(name, amount)| (list, name, amount)))
        .map(|(list, name, amount)| Asked { path: path.clone(), list, name, amount })
        .collect()
}

/// An amount, and where it is; the field is written out only for who has to be told.
struct Asked<'s> {
    path: Rc<str>,
    list: &'static str,
    name: &'s str,
    amount: &'s Text,
}

impl Asked<'_> {
    fn field(&self) -> String {
        format!("{}.resources.{}[{}]", self.path, self.list, self.name)
    }
}

fn all<'s>(subject: &'s Subject<'_>) -> Vec<Asked<'s>> {
    let mut every: Vec<_> =
        subject.spec.resources.iter().flat_map(|resources| amounts(&Rc::from("spec"), resources)).collect();
    for container in subject.containers() {
        every.extend(
            container
                .resources
                .into_iter()
                .flat_map(|resources| amounts(&Rc::from(container.path.as_str()), resources)),
        );
    }
    every
}

/// Amounts that cannot be read, or cannot be meant.
fn readable(subject: &Subject<'_>) -> Vec<Violation> {
    all(subject)
        .into_iter()
        .filter_map(|one| match Quantity::try_from(one.amount) {
            Err(error) => {
                let field = one.field();
                Some(Violation::new(rules::PER_POD, field.clone(), format!("{field}: {error}")))
            }
            Ok(quantity) if quantity.is_negative() => {
                let field = one.field();
                let message = format!("{field} is {:?}, which is less than nothing", one.amount.0);
                Some(Violation::new(rules::PER_POD, field, message))
            }
            Ok(quantity)
                if one.name == "memory" && !quantity.is_zero() && quantity.to_integer() < LEAST_MEMORY =>
            {
                let field = one.field();
                let message = format!(
                    "{field} is {:?}, which is less than {LEAST_MEMORY} bytes; \"m\" means thousandths",
                    one.amount.0
                );
                Some(Violation::new(rules::PER_POD, field, message))
            }
            Ok(_) => None,
        })
        .collect()
}

/// What a pod uses at most, as the scheduler adds it up (KEP-753): its containers and sidecars together, or a greater init container with
/// the sidecars before it. An amount that says more of the pod as a whole counts as well.
fn used(subject: &Subject<'_>, resource: &str) -> Option<Quantity> {
    let of = |resources: Option<&k8s_openapi::api::core::v1::ResourceRequirements>| {
        let resources = resources?;
        let read = |list: &Option<BTreeMap<String, Text>>| {
            list.as_ref().and_then(|list| list.get(resource)).and_then(|text| Quantity::try_from(text).ok())
        };
        read(&resources.limits).max(read(&resources.requests))
    };
    let add = |one: Option<Quantity>, other: Option<Quantity>| match (one, other) {
        (Some(one), Some(other)) => one.checked_add(other).or(Some(one.max(other))),
        (one, other) => one.or(other),
    };
    let mut running =
        subject.spec.containers.iter().fold(None, |sum, one| add(sum, of(one.resources.as_ref())));
    for one in subject.spec.ephemeral_containers.iter().flatten() {
        running = add(running, of(one.resources.as_ref()));
    }
    let (mut sidecars, mut peak) = (None, None);
    for one in subject.spec.init_containers.iter().flatten() {
        let own = of(one.resources.as_ref());
        if one.restart_policy.as_deref() == Some("Always") {
            sidecars = add(sidecars, own);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(add(sidecars, own));
        }
    }
    add(running, sidecars).max(peak).max(of(subject.spec.resources.as_ref()))
}

fn sums(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    policy
        .most
        .iter()
        .filter_map(|(resource, most)| {
            let used = used(subject, resource)?;
            (used > *most).then(|| {
                let message = format!(
                    "spec.containers: all containers of the pod together may use {used} of {resource}, but {} allows at most {most}",
                    policy.title()
                );
                Violation::new(rules::PER_POD, "spec.containers", message)
            })
        })
        .collect()
}

fn extended(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(allowed) = &policy.resources.extended else { return Vec::new() };
    all(subject)
        .into_iter()
        .filter(|one| !COMMON.contains(&one.name) && !allowed.iter().any(|allowed| allowed == one.name))
        .map(|one| {
            let (field, name) = (one.field(), one.name);
            let others = if allowed.is_empty() {
                "only cpu, memory and ephemeral-storage".to_owned()
            } else {
                any_of(allowed)
            };
            Violation::of(rules::EXTENDED, field, &format!("an amount of {name:?}"), &policy.title(), &others)
        })
        .collect()
}

fn required(subject: &Subject<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(rule) = &policy.resources.containers else { return Vec::new() };
    let mut wanted: BTreeSet<(&str, &str)> = BTreeSet::new();
    for required in &rule.require {
        match required {
            RequiredResource::Requests => wanted.extend([("requests", "cpu"), ("requests", "memory")]),
            RequiredResource::CPULimit => wanted.extend([("limits", "cpu")]),
            RequiredResource::MemoryLimit => wanted.extend([("limits", "memory")]),
        }
    }
    let missing = |container: Container<'_>| {
        wanted
            .iter()
            .filter(|(list, resource)| {
                let list = container.resources.and_then(|all| {
                    if *list == "requests" { all.requests.as_ref() } else { all.limits.as_ref() }
                });
                !list.is_some_and(|list| list.contains_key(*resource))
            })
            .map(|(list, resource)| {
                let field = format!("{}.resources.{list}[{resource}]", container.path);
                Violation::of(
                    rules::REQUIRED,
                    field,
                    "not set",
                    &policy.title(),
                    "only containers that say it",
                )
            })
            .collect::<Vec<_>>()
    };
    // Ephemeral containers cannot say it.
    subject.containers().filter(|container| !container.is_ephemeral).flat_map(missing).collect()
}
