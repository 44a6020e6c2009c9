//! Looking at what runs, and ending tenants' pods.

use super::decide::{Situation, Step, Tenants, decide};
use crate::cluster::build::mode::Nodes;
use crate::cluster::build::{Kind, Site, kubelet, server};
use crate::cluster::error::Error;
use crate::cluster::{Context, etcd, finalize};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k3k_api::labels::component;
use k3k_api::v1beta1::{Cluster, TenantPods};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PartialObjectMeta, Preconditions};
use kube::{Api, ResourceExt as _};

/// Pods that have not ended. Those that have hold nothing but how they ended, which the nested side may not have heard of yet.
const RUNNING: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// How long the servers wait for tenants' pods that were told to end: less than the time after which the nested cluster would take its
/// node, of which nobody tells any more, for lost.
const PATIENCE: SignedDuration = SignedDuration::from_secs(20);

/// Requests on their way at the same time for one cluster.
const CONCURRENCY: usize = 6;

/// Looks at a cluster that is paused or was, and brings the pause a step further.
pub async fn step(
    context: &Context,
    site: &Site,
    cluster: &Cluster,
    etcd: &etcd::Outcome,
) -> Result<Step, Error> {
    let spec = &cluster.spec;
    let before = cluster.status.clone().unwrap_or_default();
    let now = Timestamp::now();
    let Some(pause) = spec.pause else { return Ok(decide(spec, &before, Situation::default(), now)) };
    let names = site.names();
    let nodes = Nodes::of(spec.mode());
    let is_left = |part: &str| finalize::longest_wait(&context.caches.pods(site, part), now).is_some();
    let deployment = context.caches.owned(site, Kind::Deployment, &names.kubelet());
    let has_kubelets = deployment.and_then(|found| kubelet::present_replicas(&found)).is_some_and(|n| n > 0);
    let kubelets = nodes.are_shown() && (has_kubelets || is_left(component::KUBELET));
    let is_paused = |name: String| {
        let set = context.caches.owned(site, Kind::StatefulSet, &name);
        set.map(|set| server::is_paused(&set))
    };
    let servers = is_paused(names.server());
    let (runs, down) = (servers == Some(false), servers == Some(true));
    let agents = nodes.are_pods() && spec.agents() > 0 && is_paused(names.agent()) == Some(false);
    let runners = runs || agents || is_left(component::SERVER) || is_left(component::AGENT);
    let stops = nodes.are_shown() && pause.tenant_pods() == TenantPods::Stop;
    let running = if stops && !kubelets { tenants(context, site).await? } else { Vec::new() };
    let overdue = running.iter().all(|pod| asked_at(pod).is_some_and(|at| now.duration_since(at) > PATIENCE));
    let unfit = etcd.unfit_for_pause().filter(|_| runs);
    let tenants = Tenants { pods: running.len(), overdue };
    let situation = Situation { unfit: unfit.as_deref(), kubelets, tenants, down, runners };
    let step = decide(spec, &before, situation, now);
    if step.ends_pods {
        end(context, site, running).await?;
    }
    Ok(step)
}

/// The host pods of the cluster's tenants. By their owner, which nobody takes off them, and not by labels.
async fn tenants(context: &Context, site: &Site) -> Result<Vec<PartialObjectMeta<Pod>>, Error> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &site.namespace);
    let list = pods.list_metadata(&ListParams::default().fields(RUNNING)).await;
    let list = list.map_err(|source| Error::Read { what: "tenants' pods".to_owned(), source })?;
    let is_ours = |pod: &PartialObjectMeta<Pod>| {
        pod.owner_references().iter().any(|owner| owner.uid == site.uid && owner.kind == "Cluster")
    };
    Ok(list.items.into_iter().filter(is_ours).collect())
}

/// When the pod was told to end, if it was.
fn asked_at(pod: &PartialObjectMeta<Pod>) -> Option<Timestamp> {
    let deadline = pod.metadata.deletion_timestamp.as_ref()?.0;
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
    deadline.checked_sub(SignedDuration::from_secs(grace)).ok()
}

/// Has the pods end, each in the time that it asks for.
async fn end(context: &Context, site: &Site, pods: Vec<PartialObjectMeta<Pod>>) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &site.namespace);
    let left = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let ended = left.map(|pod| {
        let api = api.clone();
        async move {
            let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let name = pod.name_any();
            match api.delete(&name, &parameters).await {
                Ok(_) => Ok(()),
                // Gone, or another of that name: the next look sees.
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
                Err(source) => Err(Error::Delete { what: format!("Pod {name:?}"), source }),
            }
        }
    });
    stream::iter(ended).buffer_unordered(CONCURRENCY).try_collect().await
}
