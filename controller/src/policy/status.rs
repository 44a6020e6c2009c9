//! What is reported about a policy. Pure, but for [`publish`].

use super::build::Owner;
use super::error::Error;
use super::{Context, build::network};
use jiff::Timestamp;
use k3k_api::conditions::{
    self, ACCEPTED, ENFORCED, ISOLATED, NATIVE_OBJECTS_READY, Status, condition, policy_reason as reason,
};
use k3k_api::managers;
use k3k_api::v1beta1::policy::BoundNamespace;
use k3k_api::v1beta1::{
    GROUP, VERSION, VirtualClusterPolicy, VirtualClusterPolicySpec, VirtualClusterPolicyStatus,
};
use k3k_runtime::apply;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Api;
use kube::api::PartialObjectMeta;
use kube::runtime::events::{Event, EventType};
use serde_json::json;

/// How many namespaces a status lists.
const MOST_NAMESPACES: usize = 100;
/// How many of several complaints of one kind a message spells out.
const MOST_TOLD: usize = 3;

/// What a reconcile came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is wrong with the policy itself.
    pub invalid: Option<String>,
    /// Its namespaces.
    pub namespaces: Vec<BoundNamespace>,
    /// What went wrong, with the reason of the condition.
    pub failure: Option<(&'static str, String)>,
    /// Pod Security labels of others, as `namespace: key=value`.
    pub labels_of_others: Vec<String>,
    /// Whether the ranges of pod addresses are known.
    pub pod_ranges_known: bool,
    /// Replicas of the webhook that do not decide by this generation yet.
    pub behind: Vec<String>,
}

/// The generation from which on nothing is admitted that the policy refuses.
///
/// Everything that the promise rests on comes together here: that all objects are in place, and that every replica of the webhook that may be
/// asked decides by it. Otherwise the earlier promise is kept as it is.
pub fn observed_generation(before: Option<i64>, generation: Option<i64>, outcome: &Outcome) -> Option<i64> {
    let kept = outcome.failure.is_none() && outcome.invalid.is_none() && outcome.behind.is_empty();
    if kept { generation } else { before }
}

/// The status after a reconcile.
pub fn status(
    before: &VirtualClusterPolicyStatus,
    generation: Option<i64>,
    spec: &VirtualClusterPolicySpec,
    outcome: &Outcome,
    now: Timestamp,
) -> VirtualClusterPolicyStatus {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let made = |kind: &str, status: Status, reason: &str, message: String| {
        condition(kind, status, reason, message, generation, Time(now))
    };
    let accepted = match &outcome.invalid {
        None => made(ACCEPTED, Status::True, reason::VALID, "The policy can be followed".to_owned()),
        Some(message) => made(ACCEPTED, Status::False, reason::INVALID, message.clone()),
    };
    let (status, word, message) = native(outcome);
    let ready = made(NATIVE_OBJECTS_READY, status, word, message);
    let (status, word, message) = isolated(spec, outcome);
    let isolated = made(ISOLATED, status, word, message);
    let enforced = match outcome.behind.as_slice() {
        [] => (
            Status::True,
            reason::ENFORCED,
            "Every replica of the webhook decides by this generation".to_owned(),
        ),
        behind => (
            Status::False,
            reason::REPLICAS_BEHIND,
            format!("Still deciding by an earlier generation: {}", several(behind)),
        ),
    };
    let enforced = made(ENFORCED, enforced.0, enforced.1, enforced.2);
    let clusters: u32 = outcome.namespaces.iter().map(|namespace| namespace.clusters).sum();
    let count = outcome.namespaces.len();
    let problem = [&accepted, &ready].into_iter().find(|condition| condition.status != "True");
    let summary = format!(
        "{count} {}, {clusters} {}{}",
        if count == 1 { "namespace" } else { "namespaces" },
        if clusters == 1 { "cluster" } else { "clusters" },
        problem.map(|condition| format!("; {}", condition.reason)).unwrap_or_default(),
    );
    let mut after = VirtualClusterPolicyStatus {
        observed_generation: observed_generation(before.observed_generation, generation, outcome),
        last_update_time: before.last_update_time.clone(),
        summary: Some(summary),
        conditions: conditions::merge(&before.conditions, [accepted, ready, isolated, enforced]),
        namespaces: outcome.namespaces.iter().take(MOST_NAMESPACES).cloned().collect(),
        // Somebody else's to count.
        violations: before.violations.clone(),
    };
    if after != *before {
        after.last_update_time = Some(now.to_string());
    }
    after
}

fn native(outcome: &Outcome) -> (Status, &'static str, String) {
    if let Some((reason, message)) = &outcome.failure {
        return (Status::False, reason, message.clone());
    }
    if outcome.namespaces.is_empty() {
        let message = "No namespace carries the label policy.k3k.io/policy-name of this policy".to_owned();
        return (Status::True, reason::UNBOUND, message);
    }
    if !outcome.labels_of_others.is_empty() {
        let labels = several(&outcome.labels_of_others);
        let message = format!("Pod Security labels that somebody else has set stay as they are: {labels}");
        return (Status::True, reason::LABEL_OF_OTHERS, message);
    }
    (Status::True, reason::APPLIED, "Quotas, limits, NetworkPolicies and labels are in place".to_owned())
}

fn isolated(spec: &VirtualClusterPolicySpec, outcome: &Outcome) -> (Status, &'static str, String) {
    if spec.disable_network_policy() {
        return (Status::False, reason::DISABLED, "spec.disableNetworkPolicy is set".to_owned());
    }
    if !outcome.pod_ranges_known && network::needs_pod_ranges(spec) {
        let message = "The host's nodes have no spec.podCIDRs, so that pods of other namespaces cannot be told from what is outside; \
             name their ranges in spec.network.isolation.egressExcept, and set isolation.ingress to SameNamespace";
        return (Status::False, reason::POD_RANGES_UNKNOWN, message.to_owned());
    }
    let message = "NetworkPolicies are in place; the host's network plug-in has to enforce them";
    (Status::True, reason::NETWORK_POLICIES, message.to_owned())
}

/// The first of several, and how many more there are.
fn several(all: &[String]) -> String {
    let told = all.iter().take(MOST_TOLD).cloned().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(MOST_TOLD) {
        Some(more) if more > 0 => format!("{told} and {more} more"),
        _ => told,
    }
}

/// The failure of several namespaces in words: the first, and how many there are.
pub fn failure(errors: &[(String, Error)], all: usize) -> Option<(&'static str, String)> {
    let (_, first) = errors.first()?;
    let more =
        if errors.len() > 1 { format!(" ({} of {all} namespaces)", errors.len()) } else { String::new() };
    // A condition's message is for people.
    let message: String = first.to_string().chars().take(1000).collect();
    Some((first.reason(), format!("{message}{more}")))
}

/// The event for a change, if it deserves one.
fn event(before: &VirtualClusterPolicyStatus, after: &VirtualClusterPolicyStatus) -> Option<Event> {
    let changed = |kind: &str| -> Option<Condition> {
        let (old, new) =
            (conditions::find(&before.conditions, kind), conditions::find(&after.conditions, kind)?);
        let same = old.is_some_and(|old| old.status == new.status && old.reason == new.reason);
        (!same).then(|| new.clone())
    };
    let news = [ACCEPTED, NATIVE_OBJECTS_READY].into_iter().filter_map(changed);
    // A failure is told first; that all is well again, only if it was not.
    let was_well = before.conditions.iter().all(|condition| {
        matches!(condition.type_.as_str(), ISOLATED | ENFORCED) || condition.status == "True"
    });
    let mut news: Vec<Condition> = news.filter(|condition| condition.status != "True" || !was_well).collect();
    news.sort_by_key(|condition| condition.status == "True");
    let news = news.into_iter().next()?;
    Some(Event {
        type_: if news.status == "True" { EventType::Normal } else { EventType::Warning },
        reason: news.reason,
        note: Some(news.message.clone()),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}

/// Writes the status if it differs from the one that the policy has, and tells of transitions.
pub async fn publish(
    context: &Context,
    owner: &Owner,
    before: &VirtualClusterPolicyStatus,
    after: &VirtualClusterPolicyStatus,
) -> Result<(), Error> {
    if before == after {
        return Ok(());
    }
    let mut told = after.clone();
    // Somebody else's to count, see `audit`.
    told.violations = None;
    let patch = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "VirtualClusterPolicy",
        // With the UID, a policy that is gone is not brought back.
        "metadata": { "name": owner.name, "uid": owner.uid },
        "status": told,
    });
    let policies: Api<PartialObjectMeta<VirtualClusterPolicy>> = Api::all(context.client.clone());
    match apply::apply_status(&policies, managers::POLICY, &owner.name, patch).await {
        Ok(_) => {
            if let Some(event) = event(before, after) {
                context.events.publish(event, &reference(owner)).await;
            }
            Ok(())
        }
        // It is gone: there is nobody to tell.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => {
            Err(Error::Write { what: format!("the status of VirtualClusterPolicy {:?}", owner.name), source })
        }
    }
}

/// Names a policy in an event.
pub fn reference(owner: &Owner) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some("VirtualClusterPolicy".to_owned()),
        name: Some(owner.name.clone()),
        uid: Some(owner.uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
