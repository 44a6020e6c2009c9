//! One reconcile: observe → plan → apply → status.

use super::build::exposure::{self, Wanted};
use super::build::mode::Nodes;
use super::build::{Kind, Site, kubelet};
use super::error::Error;
use super::health::{Members, Target};
use super::pause::{Running, Step};
use super::plan::Servers;
use super::status::{self, Parts, Settled};
use super::{
    Context, Guarded, apply, credentials, etcd, finalize, finalizer, memory, namespace, observe, pause, plan,
    pods, upgrade, validate,
};
use jiff::Timestamp;
use k3k_api::labels::{self, component};
use k3k_api::v1beta1::{Cluster, ClusterStatus};
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt};
use std::sync::Arc;

/// Failures that may be a hiccup of the host are reported when they persist.
const HICCUPS: u32 = 3;

/// Brings one Cluster a step further.
pub async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let measure = context.metrics.begin();
    context.caches.ready().await;
    let result = match &object.0 {
        _ if object.meta().deletion_timestamp.is_some() => finalize::finalize(&context, &object).await,
        Ok(cluster) => Box::pin(converge(&context, cluster)).await,
        Err(invalid) => {
            let error = Error::Malformed(invalid.error.clone());
            let before = ClusterStatus::default();
            let reported =
                report(&context, &Site::of(&*object), &before, object.meta().generation, error).await;
            reported.map(|()| Action::await_change())
        }
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
    tracing::warn!(cluster = object.name_any(), namespace = object.namespace(), %error, ?wait, "reconcile failed");
    Action::requeue(wait)
}

async fn converge(context: &Context, cluster: &Cluster) -> Result<Action, Error> {
    let site = Site::of(cluster);
    let (before, generation) = (cluster.status.clone().unwrap_or_default(), cluster.metadata.generation);
    let (is_settled, has_all) =
        (status::has_settled(&before, Timestamp::now()), has_all_kubelets(context, &site, cluster));
    if is_settled && !has_all {
        context.memory.forget(&site);
    }
    let (etcd, course, pause) = match look(context, &site, cluster).await {
        Ok(seen) => seen,
        Err(error) => {
            return report(context, &site, &before, generation, error).await.map(|()| Action::await_change());
        }
    };
    let fingerprint = memory::fingerprint(context, &site, cluster, &etcd.servers, &course, &pause);
    let settled = match context.memory.recall(&site, fingerprint) {
        Some(settled) => Ok(settled),
        // Remembered from the look itself: what is recalled does not become younger.
        None => provision(context, &site, cluster, &etcd.servers, &course, &pause)
            .await
            .inspect(|settled| context.memory.remember(&site, fingerprint, settled)),
    };
    match settled {
        Ok(settled) => {
            context.health.servers_are(&site.uid, pods::signature(&context.caches.server_pods(&site)));
            if Nodes::of(cluster.spec.mode()).are_pods() {
                context.health.members_are(&site.uid, members(context, &site, cluster));
            }
            let again = etcd.again.into_iter().chain(pause.again()).min();
            let has_all = has_all || pause.running == Running::Nothing;
            let parts = Parts {
                etcd: Some(etcd),
                upgrade: Some(course),
                pause: Some(pause),
                ..observe::parts(context, &site, &cluster.spec)
            };
            let after = status::settled(&before, generation, &settled, &parts, Timestamp::now());
            status::publish(context, &site, &before, &after).await?;
            let look = if is_settled || has_all { memory::RESYNC } else { status::SETTLING };
            Ok(Action::requeue(again.map_or(look, |again| again.min(look))))
        }
        Err(error) => {
            context.memory.forget(&site);
            report(context, &site, &before, generation, error).await.map(|()| Action::await_change())
        }
    }
}

/// What the servers are and do now: how many there are, what they run, and whether they do.
async fn look(
    context: &Context,
    site: &Site,
    cluster: &Cluster,
) -> Result<(etcd::Outcome, upgrade::Course, Step), Error> {
    let etcd = etcd::step(context, site, cluster).await?;
    let course = upgrade::step(context, site, cluster, &etcd).await?;
    let pause = pause::step(context, site, cluster, &etcd).await?;
    Ok((etcd, course, pause))
}

/// Puts a failure into the status. Gives it back if trying again may help.
async fn report(
    context: &Context,
    site: &Site,
    before: &ClusterStatus,
    generation: Option<i64>,
    error: Error,
) -> Result<(), Error> {
    if !error.is_transient() || context.retries.failures(&site.uid) >= HICCUPS {
        let mut after = status::failed(before, generation, &error, Timestamp::now());
        // Also a cluster that its policy refuses says whose word that is.
        if let Some(labels) = context.caches.namespace_labels(&site.namespace) {
            after.policy_name = labels.get(labels::POLICY_NAME).filter(|name| !name.is_empty()).cloned();
        }
        status::publish(context, site, before, &after).await?;
    }
    if error.is_terminal() { Ok(()) } else { Err(error) }
}

/// The nodes that are pods.
fn members(context: &Context, site: &Site, cluster: &Cluster) -> Members {
    let pods = [component::SERVER, component::AGENT].map(|part| context.caches.pods(site, part));
    let present = pods.iter().flatten().map(|pod| pod.name_any()).collect();
    Members::new(site, cluster.spec.servers(), cluster.spec.agents(), present)
}

fn has_all_kubelets(context: &Context, site: &Site, cluster: &Cluster) -> bool {
    if !Nodes::of(cluster.spec.mode()).are_shown() {
        return true;
    }
    let deployment = context.caches.owned(site, Kind::Deployment, &site.names().kubelet());
    deployment.and_then(|found| kubelet::present_replicas(&found)) == Some(context.kubelet_replicas)
}

async fn provision(
    context: &Context,
    site: &Site,
    cluster: &Cluster,
    servers: &Servers,
    course: &upgrade::Course,
    pause: &Step,
) -> Result<Settled, Error> {
    let (client, spec) = (&context.client, &cluster.spec);
    // From here on the webhook judges the namespace's pods, and a deletion waits for us.
    let (labels, ()) =
        tokio::try_join!(namespace::claim(context, site), finalizer::add(context, site, cluster))?;
    let observed = observe::observe(context, site, cluster, &labels, servers).await?;
    let accepted = validate::cluster(site, spec, cluster.status.as_ref(), &observed)?;
    let (credentials, live) = tokio::try_join!(
        credentials::ensure(client, site, &observed, &accepted),
        apply::all(client, site, &observed.live, plan::foundation(site, spec, servers)),
    )?;
    let nodes = Nodes::of(spec.mode());
    let addresses = plan::Addresses::read(site, nodes, &live)?;
    if let Some((kind, name)) = plan::unwanted(site, spec)
        && observed.live.get(kind, &name).is_some()
    {
        finalize::delete(context, site, kind, &name).await?;
    }
    let service = live.get(Kind::Service, &site.names().service());
    let told = cluster.status.as_ref().and_then(|status| status.endpoint.as_deref());
    let exposure = exposure::of(site, &Wanted::of(spec), service, &observed.node_addresses, told);
    let present = observed.live.get(Kind::Deployment, &site.names().kubelet());
    let present = present.and_then(kubelet::present_replicas);
    let settled = cluster.status.as_ref().is_some_and(|status| status::has_settled(status, Timestamp::now()));
    let workload = plan::workload(&plan::Inputs {
        site,
        spec,
        accepted: &accepted,
        observed: &observed,
        addresses: &addresses,
        exposure: &exposure,
        credentials: &credentials,
        images: &context.images,
        servers,
        course,
        pause,
        kubelet_replicas: kubelet::replicas(context.kubelet_replicas, present, settled),
        now: Timestamp::now(),
    })?;
    let settled = Settled::new(&accepted, &observed, &workload, exposure);
    apply::all(client, site, &observed.live, workload.configuration).await?;
    apply::all(client, site, &observed.live, workload.runners).await?;
    if pause.running == Running::Nothing {
        context.health.forget(&site.uid);
        return Ok(settled);
    }
    let mut target = Target::new(site, nodes, &addresses, credentials.authorities);
    if nodes.are_shown() {
        target = target
            .exchanging(observed.sync(spec), client.clone())
            .mirroring(spec.mirror_host_nodes())
            .asking(workload.admission);
    }
    let target = target.advertising(workload.advertised);
    context.health.follow(site, target);
    Ok(settled)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
