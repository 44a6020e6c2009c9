//! One reconcile: observe → plan → apply → status.

use super::build::{Kind, Site};
use super::error::Error;
use super::health::{Identity, Target};
use super::status::{self, Parts, Settled};
use super::{Context, Guarded, apply, credentials, finalize, namespace, observe, plan, pods, validate};
use jiff::Timestamp;
use k3k_api::labels::{self, component};
use k3k_api::managers;
use k3k_api::v1beta1::{Cluster, ClusterStatus, GROUP, VERSION};
use k3k_runtime::certificates::{Leaf, Usage};
use kube::api::{PartialObjectMeta, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Resource as _, ResourceExt};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How often a cluster is looked at without a reason: for Secrets, which are not watched, and for certificates.
const RESYNC: Duration = Duration::from_secs(15 * 60);
/// Failures that may be a hiccup of the host are reported when they persist.
const HICCUPS: u32 = 3;
/// How long the controller's own certificate towards a nested API is valid. The next connection brings a new one.
const IDENTITY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Brings one Cluster a step further.
pub async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let measure = context.metrics.begin();
    context.caches.ready().await;
    let result = match &object.0 {
        _ if object.meta().deletion_timestamp.is_some() => finalize::finalize(&context, &object).await,
        Ok(cluster) => converge(&context, cluster).await,
        Err(invalid) => report(
            &context,
            &Site::of(&*object),
            &ClusterStatus::default(),
            object.meta().generation,
            Error::Malformed(invalid.error.clone()),
        )
        .await
        .map(|()| Action::await_change()),
    };
    measure.end(result.as_ref().map_or_else(Error::category, |_| "Ok"));
    if result.is_ok() {
        context.retries.reset(&object.uid().unwrap_or_default());
    }
    result
}

/// Decides when a failed reconcile is tried again.
pub fn error_policy(object: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let wait = context.retries.failed(&object.uid().unwrap_or_default());
    tracing::warn!(cluster = object.name_any(), namespace = object.namespace(), %error, ?wait, "reconcile failed");
    Action::requeue(wait)
}

async fn converge(context: &Context, cluster: &Cluster) -> Result<Action, Error> {
    let site = Site::of(cluster);
    let before = cluster.status.clone().unwrap_or_default();
    match provision(context, &site, cluster).await {
        Ok(settled) => {
            let after = status::settled(
                &before,
                cluster.metadata.generation,
                &settled,
                &parts(context, &site),
                Timestamp::now(),
            );
            status::publish(context, &site, &before, &after).await?;
            Ok(Action::requeue(RESYNC))
        }
        Err(error) => report(context, &site, &before, cluster.metadata.generation, error)
            .await
            .map(|()| Action::await_change()),
    }
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
        let after = status::failed(before, generation, &error, Timestamp::now());
        status::publish(context, site, before, &after).await?;
    }
    if error.is_terminal() { Ok(()) } else { Err(error) }
}

async fn provision(context: &Context, site: &Site, cluster: &Cluster) -> Result<Settled, Error> {
    let spec = &cluster.spec;
    // From here on the webhook judges the namespace's pods, and a deletion waits for us.
    let (labels, ()) = tokio::try_join!(namespace::claim(context, site), adopt(context, site, cluster))?;
    let observed = observe::observe(context, site, cluster, &labels).await?;
    let accepted = validate::cluster(site, spec, cluster.status.as_ref(), &observed)?;
    let foundation = plan::foundation(site, spec);
    let (credentials, live) = tokio::try_join!(
        credentials::ensure(&context.client, site, &observed, &accepted),
        apply::all(&context.client, site, &observed.live, foundation),
    )?;
    let addresses = plan::Addresses::read(site, &live)?;
    let workload = plan::workload(&plan::Inputs {
        site,
        spec,
        accepted: &accepted,
        observed: &observed,
        addresses: &addresses,
        authorities: &credentials.authorities,
        token: &credentials.token,
        images: &context.images,
        now: Timestamp::now(),
    })?;
    let settled = Settled::new(&accepted, &observed, &workload, addresses.endpoint());
    apply::all(&context.client, site, &observed.live, workload.configuration).await?;
    apply::all(&context.client, site, &observed.live, workload.runners).await?;
    follow(context, site, credentials, addresses.endpoint());
    Ok(settled)
}

/// The finalizer, and the label that upstream's tools look for.
async fn adopt(context: &Context, site: &Site, cluster: &Cluster) -> Result<(), Error> {
    let labelled =
        cluster.labels().get(labels::PROVIDER).is_some_and(|value| value == labels::PROVIDER_VALUE);
    if labelled && cluster.finalizers().iter().any(|finalizer| finalizer == labels::CLUSTER_FINALIZER) {
        return Ok(());
    }
    let patch = json!({ "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Cluster", "metadata": {
        "name": site.name, "namespace": site.namespace, "uid": site.uid,
        "finalizers": [labels::CLUSTER_FINALIZER], "labels": { labels::PROVIDER: labels::PROVIDER_VALUE },
    }});
    let clusters: Api<PartialObjectMeta<Cluster>> = Api::namespaced(context.client.clone(), &site.namespace);
    let parameters = PatchParams::apply(managers::CONTROLLER).force();
    let adopted = clusters.patch(&site.name, &parameters, &Patch::Apply(patch)).await;
    adopted
        .map(drop)
        .map_err(|source| Error::Write { what: format!("the finalizer of Cluster {:?}", site.name), source })
}

/// Lets the health of the cluster be watched.
fn follow(context: &Context, site: &Site, credentials: credentials::Credentials, endpoint: String) {
    let authorities = credentials.authorities;
    let target = Target {
        endpoint,
        server_ca: authorities.server.certificate_pem().to_owned(),
        client_ca: authorities.client.certificate_pem().to_owned(),
        node: site.names().node(),
        identity: Identity(Arc::new(move || {
            let leaf = Leaf {
                common_name: managers::CONTROLLER.to_owned(),
                organizations: vec!["system:masters".to_owned()],
                dns_names: Vec::new(),
                ip_addresses: Vec::new(),
                usages: vec![Usage::Client],
                lifetime: IDENTITY_LIFETIME,
            };
            authorities.client.issue(&leaf).map_err(|error| error.to_string())
        })),
    };
    context.health.follow(site, target, pods::signature(&context.caches.server_pods(site)));
}

fn parts(context: &Context, site: &Site) -> Parts {
    let judge = |part, kind: Kind, name: String| {
        pods::judge(&context.caches.pods(site, part), &format!("{kind} {name:?}"))
    };
    Parts {
        server: judge(component::SERVER, Kind::StatefulSet, site.names().server()),
        kubelet: judge(component::KUBELET, Kind::Deployment, site.names().kubelet()),
        health: context.health.of(&site.uid),
    }
}
