//! One reconcile: observe → plan → apply → status.

use super::build::{Kind, Owner, network, quota};
use super::caches::our_labels;
use super::error::Error;
use super::plan::{self, Inputs};
use super::status::{self, Outcome};
use super::{Context, Guarded, apply, mode, observe};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k3k_api::labels;
use k3k_api::v1beta1::policy::BoundNamespace;
use k3k_api::v1beta1::{VirtualClusterPolicy, VirtualClusterPolicySpec, VirtualClusterPolicyStatus};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Namespaces of one policy that are worked on at the same time.
const CONCURRENCY: usize = 4;
/// How long a policy goes without a second look at most.
const RESYNC: Duration = Duration::from_secs(10 * 60);
/// Failures that may be a hiccup of the host are reported when they persist.
const HICCUPS: u32 = 3;

/// Brings one policy a step further.
pub async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let measure = context.metrics.begin_policy();
    context.caches.ready().await;
    let result = match &object.0 {
        // What it made goes with it.
        _ if object.meta().deletion_timestamp.is_some() => Ok(Action::await_change()),
        Ok(policy) => converge(&context, policy).await,
        Err(invalid) => malformed(&context, &object, &invalid.error).await,
    };
    measure.end(result.as_ref().map_or_else(Error::category, |_| "Ok"));
    if result.is_ok() {
        context.retries.reset(&object.uid().unwrap_or_default());
    }
    result
}

/// Decides when a failed reconcile is tried again.
#[expect(clippy::needless_pass_by_value)] // the controller hands them over like this
pub fn error_policy(object: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let wait = context.retries.failed(&object.uid().unwrap_or_default());
    tracing::warn!(policy = object.name_any(), %error, ?wait, "reconcile failed");
    Action::requeue(wait)
}

/// What is in place stays: it follows an earlier policy, which is better than none.
async fn malformed(context: &Context, object: &Guarded, error: &str) -> Result<Action, Error> {
    let outcome = Outcome {
        invalid: Some(Error::Malformed(error.to_owned()).to_string()),
        namespaces: bound(context, &object.name_any()),
        ..Outcome::default()
    };
    let before = VirtualClusterPolicyStatus::default();
    let spec = VirtualClusterPolicySpec::default();
    let after = status::status(&before, object.meta().generation, &spec, &outcome, Timestamp::now());
    status::publish(context, &Owner::of(object), &before, &after).await?;
    Ok(Action::await_change())
}

fn bound(context: &Context, policy: &str) -> Vec<BoundNamespace> {
    let bound = context.caches.bound(policy);
    let told = bound.iter().map(|namespace| {
        let name = namespace.name_any();
        let clusters = u32::try_from(context.caches.clusters_in(&name)).unwrap_or(u32::MAX);
        BoundNamespace { name, clusters }
    });
    told.collect()
}

async fn converge(context: &Context, policy: &VirtualClusterPolicy) -> Result<Action, Error> {
    let (owner, now) = (Owner::of(policy), Timestamp::now());
    let mut outcome = Outcome {
        invalid: network::excepted(&policy.spec).err(),
        namespaces: bound(context, &owner.name),
        behind: context.caches.replicas.behind(&owner.name, policy.metadata.generation.unwrap_or_default()),
        ..Outcome::default()
    };
    let errors = follow(context, &owner, &policy.spec, &mut outcome, now).await;
    let all = outcome.namespaces.len();
    outcome.failure = status::failure(&errors, all);
    let persists = context.retries.failures(&owner.uid) >= HICCUPS;
    if persists || errors.iter().all(|(_, error)| !error.is_hiccup()) {
        let before = policy.status.clone().unwrap_or_default();
        let after = status::status(&before, policy.metadata.generation, &policy.spec, &outcome, now);
        status::publish(context, &owner, &before, &after).await?;
    }
    let failed = errors.len();
    match errors.into_iter().next() {
        Some((_, first)) if failed == 1 => Err(first),
        Some((_, first)) => Err(Error::Namespaces { failed, all, first: Box::new(first) }),
        None => {
            let ends = mode::next_end(&policy.spec, now).map(|end| end.duration_since(now));
            let ends = ends.and_then(|left| Duration::try_from(left).ok());
            Ok(Action::requeue(ends.map_or(RESYNC, |left| left.min(RESYNC))))
        }
    }
}

/// Brings all namespaces of the policy to what it says. Gives what went wrong, by namespace.
async fn follow(
    context: &Context,
    owner: &Owner,
    spec: &VirtualClusterPolicySpec,
    outcome: &mut Outcome,
    now: Timestamp,
) -> Vec<(String, Error)> {
    let observed = match observe::observe(context).await {
        Ok(observed) => observed,
        Err(error) => return vec![(String::new(), error)],
    };
    outcome.pod_ranges_known = !observed.around.pod_ranges.is_empty();
    let inputs = Inputs { owner, spec, around: &observed.around, storage_classes: &observed.storage_classes };
    let tenant = plan::tenant(&owner.name, &context.caches.specs());
    let namespaces = context.caches.bound(&owner.name);
    let mut errors = Vec::new();
    // Before a namespace is said to be in order.
    if let Some(tenant) = &tenant
        && let Err(error) = apply::shares(context, owner, tenant).await
    {
        errors.push((String::new(), error));
    }
    let shares = (tenant.is_some(), errors.is_empty());
    let step = namespaces.into_iter().map(|namespace| async move {
        let done = one(context, inputs, &namespace, shares, now).await;
        (namespace.name_any(), done)
    });
    let done: Vec<_> = stream::iter(step).buffer_unordered(CONCURRENCY).collect().await;
    for (namespace, done) in done {
        match done {
            Ok(of_others) => {
                let labels = of_others.into_iter().map(|label| format!("{namespace}: {label}"));
                outcome.labels_of_others.extend(labels);
            }
            Err(error) => errors.push((namespace, error)),
        }
    }
    outcome.labels_of_others.sort();
    errors.sort_by(|(one, _), (other, _)| one.cmp(other));
    errors
}

/// Brings one namespace to what the policy says. `shares` is whether it has a share of a budget, and whether that is in place.
/// Gives the labels that are others'.
async fn one(
    context: &Context,
    inputs: Inputs<'_>,
    namespace: &PartialObjectMeta<Namespace>,
    (has_share, share_is_given): (bool, bool),
    now: Timestamp,
) -> Result<Vec<String>, Error> {
    let (name, uid) = (namespace.name_any(), &inputs.owner.uid);
    let objects = plan::objects(&inputs, &name);
    let mut keep: BTreeSet<(Kind, String)> =
        objects.iter().map(|object| (object.kind, object.name.clone())).collect();
    let applied = apply::all(context, inputs.owner, objects).await;
    let present = apply::present_labels(namespace);
    let mut decision = plan::labels(inputs.spec, &present, &our_labels(namespace), now);
    // A failure later on does not stop the clusters that are there.
    if (applied.is_ok() && share_is_given) || namespace.labels().get(labels::POLICY_IN_FORCE) == Some(uid) {
        decision.labels.insert(labels::POLICY_IN_FORCE.to_owned(), uid.clone());
    }
    apply::labels(&context.client, namespace, &decision.labels).await?;
    applied?;
    if has_share {
        keep.insert((Kind::ResourceQuota, inputs.owner.object(quota::TENANT)));
    }
    // Last: what replaces it is there.
    apply::prune(context, inputs.owner, &name, &keep).await?;
    Ok(decision.of_others)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
