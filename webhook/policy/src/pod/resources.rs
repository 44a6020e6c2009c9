//! How much a pod may use.

use super::{Placed, Role, Subject};
use crate::policy::Policy;
use crate::rules;
use crate::violation::{Violation, any_of};
use k3k_api::quantity::{ParseQuantityError, Quantity};
use k3k_api::v1beta1::policy::RequiredResource;
use std::collections::BTreeSet;

/// What every pod may ask for.
const COMMON: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Less memory than this is a mistake of units: 128m is an eighth of a byte.
const LEAST_MEMORY: i64 = 1024;

/// What one container asks for, or the pod as a whole, read once for all rules.
struct Asking<'s> {
    /// Nothing for the pod as a whole.
    container: Option<Placed<'s>>,
    amounts: Vec<Amount<'s>>,
}

/// An amount.
struct Amount<'s> {
    list: &'static str,
    resource: &'s str,
    text: &'s str,
    quantity: Result<Quantity, ParseQuantityError>,
}

/// Sums, numbers, names and presence.
pub(super) fn check(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    if role == Role::ControlPlane {
        return Vec::new();
    }
    let asking = asking(subject);
    let mut found = count(subject, policy);
    found.extend(readable(&asking));
    found.extend(sums(&asking, policy));
    found.extend(extended(&asking, policy));
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

/// The pod as a whole, and then each container.
fn asking<'s>(subject: &'s Subject<'_>) -> Vec<Asking<'s>> {
    let read = |(list, resource, text): (&'static str, &'s str, &'s str)| Amount {
        list,
        resource,
        text,
        quantity: text.parse(),
    };
    let amounts = |resources: Option<&'s super::view::Resources<'_>>| -> Vec<Amount<'s>> {
        let lists = resources.map(|all| [("requests", &all.requests), ("limits", &all.limits)]);
        let lists = lists.into_iter().flatten();
        lists
            .flat_map(|(list, amounts)| amounts.iter().map(move |(resource, text)| (list, resource, text)))
            .map(read)
            .collect()
    };
    let pod = Asking { container: None, amounts: amounts(subject.spec.resources.as_ref()) };
    let containers = subject
        .containers()
        .map(|container| Asking { container: Some(container), amounts: amounts(container.resources()) });
    std::iter::once(pod).chain(containers).collect()
}

impl Asking<'_> {
    /// The field of `amount`, written out only for who has to be told.
    fn field(&self, amount: &Amount<'_>) -> String {
        let Amount { list, resource, .. } = amount;
        match self.container {
            None => format!("spec.resources.{list}[{resource}]"),
            Some(container) => format!("{container}.resources.{list}[{resource}]"),
        }
    }

    /// The most of `resource` that is asked for or let.
    fn most(&self, resource: &str) -> Option<Quantity> {
        let own = self.amounts.iter().filter(|amount| amount.resource == resource);
        // Of equal ones that of the requests, as it is written.
        own.rev().filter_map(|amount| amount.quantity.as_ref().ok()).copied().max()
    }
}

/// Amounts that cannot be read, or cannot be meant.
fn readable(asking: &[Asking<'_>]) -> Vec<Violation> {
    let mut found = Vec::new();
    for one in asking {
        for amount in &one.amounts {
            let text = amount.text;
            let wrong = match &amount.quantity {
                Err(error) => format!(": {error}"),
                Ok(quantity) if quantity.is_negative() => format!(" is {text:?}, which is less than nothing"),
                Ok(quantity)
                    if amount.resource == "memory"
                        && !quantity.is_zero()
                        && quantity.to_integer() < LEAST_MEMORY =>
                {
                    format!(" is {text:?}, which is less than {LEAST_MEMORY} bytes; \"m\" means thousandths")
                }
                Ok(_) => continue,
            };
            let field = one.field(amount);
            let message = format!("{field}{wrong}");
            found.push(Violation::new(rules::PER_POD, field, message));
        }
    }
    found
}

/// What a pod uses at most, as the scheduler adds it up (KEP-753): its containers and sidecars together, or a greater init container with
/// the sidecars before it. An amount that says more of the pod as a whole counts as well.
fn used(asking: &[Asking<'_>], resource: &str) -> Option<Quantity> {
    let add = |one: Option<Quantity>, other: Option<Quantity>| match (one, other) {
        (Some(one), Some(other)) => one.checked_add(other).or(Some(one.max(other))),
        (one, other) => one.or(other),
    };
    let (mut whole, mut running, mut sidecars, mut peak) = (None, None, None, None);
    for one in asking {
        let own = one.most(resource);
        match one.container {
            None => whole = own,
            Some(container) if !container.is_init() => running = add(running, own),
            Some(container) if container.is_sidecar() => {
                sidecars = add(sidecars, own);
                peak = peak.max(sidecars);
            }
            Some(_) => peak = peak.max(add(sidecars, own)),
        }
    }
    add(running, sidecars).max(peak).max(whole)
}

fn sums(asking: &[Asking<'_>], policy: &Policy) -> Vec<Violation> {
    policy
        .most
        .iter()
        .filter_map(|(resource, most)| {
            let used = used(asking, resource)?;
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

fn extended(asking: &[Asking<'_>], policy: &Policy) -> Vec<Violation> {
    let Some(allowed) = &policy.resources.extended else { return Vec::new() };
    let amounts = asking.iter().flat_map(|one| one.amounts.iter().map(move |amount| (one, amount)));
    amounts
        .filter(|(_, amount)| {
            !COMMON.contains(&amount.resource) && !allowed.iter().any(|allowed| allowed == amount.resource)
        })
        .map(|(one, amount)| {
            let others = if allowed.is_empty() {
                "only cpu, memory and ephemeral-storage".to_owned()
            } else {
                any_of(allowed)
            };
            let found = format!("an amount of {:?}", amount.resource);
            Violation::of(rules::EXTENDED, one.field(amount), &found, &policy.title(), &others)
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
    let missing = |container: Placed<'_>| {
        wanted
            .iter()
            .filter(|(list, resource)| {
                let resources = container.resources();
                let list = resources.map(|all| if *list == "requests" { &all.requests } else { &all.limits });
                list.is_none_or(|list| list.get(resource).is_none())
            })
            .map(|(list, resource)| {
                let field = format!("{container}.resources.{list}[{resource}]");
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
    subject.containers().filter(|container| !container.is_ephemeral()).flat_map(missing).collect()
}
