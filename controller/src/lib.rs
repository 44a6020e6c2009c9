//! The controller: reconciles Clusters and VirtualClusterPolicies of `k3k.io/v1beta1`.

pub mod args;
pub mod cluster;
pub mod metrics;
pub mod policy;

use anyhow::Context as _;
use args::Args;
use backon::{ExponentialBuilder, Retryable as _};
use cluster::events::Events;
use cluster::health::Registry as HealthRegistry;
use cluster::host::Host;
use cluster::memory::Memory;
use cluster::retry::Retries;
use cluster::{Context, watch};
use k3k_runtime::lease::{Lease, LeaseParams};
use k3k_runtime::ready::{Latch, Readiness};
use k3k_runtime::shutdown;
use kube::runtime::reflector::ObjectRef;
use metrics::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Name of the Lease that elects the one controller that acts.
const LEASE: &str = "k3k-controller";
/// How long a controller that is gone is waited for.
const LEASE_DURATION: Duration = Duration::from_secs(15);

/// Runs the process until a signal ends it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    args.log.init()?;
    let shutdown = shutdown::on_signal().context("listening for signals")?;
    let mut host = kube::Config::infer().await.context("no host cluster: no kubeconfig and not in a pod")?;
    // Who asks tries again by itself, and sooner: the client's own repetitions double without a limit of minutes.
    host.default_retry = false;
    let client = kube::Client::try_from(host).context("a client of the host")?;
    serve(args, client, shutdown).await
}

/// Does the work of the process until `shutdown`.
pub async fn serve(args: Args, client: kube::Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut registry);
    let readiness = Readiness::default();
    let latch = readiness.latch("host");
    let admin = tokio::spawn(args.admin.serve(Arc::new(registry), readiness, shutdown.clone()));
    let acting = act(&args, client, metrics, latch, &shutdown);
    tokio::pin!(acting);
    tokio::select! {
        ended = &mut acting => return ended,
        ended = admin => ended.context("the admin endpoints")?.context("the admin endpoints")?,
    }
    // The admin endpoints end first when the process is told to: the Lease is still to be given up.
    acting.await
}

/// Waits for the host, then acts whenever the Lease is held, until told to end. An outage of the host ends nothing: a process
/// that exits is started again later each time.
async fn act(
    args: &Args,
    client: kube::Client,
    metrics: Metrics,
    latch: Latch,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        () = host_answers(&client) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    // Ready is who could act at once: a second controller that waits for the Lease is ready too.
    latch.set();
    while !shutdown.is_cancelled() {
        Box::pin(lead(args, client.clone(), metrics.clone(), shutdown)).await?;
    }
    Ok(())
}

/// Waits until the host's API answers. It may be starting, as we are.
async fn host_answers(client: &kube::Client) {
    let intervals = ExponentialBuilder::default().with_min_delay(Duration::from_millis(200)).with_jitter();
    let intervals = intervals.with_max_delay(Duration::from_secs(5)).without_max_times();
    let answered = (|| client.apiserver_version())
        .retry(intervals)
        .notify(|error, wait| tracing::warn!(%error, ?wait, "the host's API does not answer yet"));
    // It is asked without end, so that there is no error.
    let _ = answered.await;
}

/// Waits for the Lease, then acts until it is lost or the process is told to end.
async fn lead(
    args: &Args,
    client: kube::Client,
    metrics: Metrics,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let identity = args.identity.clone().unwrap_or_else(|| format!("{LEASE}-{}", std::process::id()));
    let params = LeaseParams {
        namespace: args.namespace.clone(),
        name: LEASE.to_owned(),
        identity: identity.clone(),
        duration: LEASE_DURATION,
        owner: None,
    };
    // The Lease outlives the work: it is given up when nothing acts any more.
    let mut lease = Lease::spawn(client.clone(), params, CancellationToken::new());
    tokio::select! {
        acquired = lease.acquired() => acquired.context("waiting for the Lease")?,
        () = shutdown.cancelled() => {
            lease.release().await;
            return Ok(());
        }
    }
    tracing::info!(identity, "leading");
    tokio::select! {
        () = reconcile_clusters(args, client.clone(), metrics.clone(), identity.clone(), shutdown.child_token()) => {}
        () = reconcile_policies(args, client, metrics, identity, shutdown.child_token()) => {}
        // Another controller acts from now on: all stops at once, mid-reconcile.
        () = lease.lost() => tracing::warn!("stopped to act: the Lease {LEASE:?} in namespace {:?} was lost", args.namespace),
    }
    lease.release().await;
    Ok(())
}

/// Reconciles Clusters until `shutdown`.
pub async fn reconcile_clusters(
    args: &Args,
    client: kube::Client,
    metrics: Metrics,
    identity: String,
    shutdown: CancellationToken,
) {
    let memory = Arc::new(Memory::default());
    let (caches, controller) = watch::watches(&client, &memory);
    let (health, changes) = HealthRegistry::new();
    let context = Arc::new(Context {
        host: Host::new(client.clone(), args.namespace.clone()),
        events: Events::new(client.clone(), identity),
        retries: Retries::default(),
        images: args.images.clone(),
        kubelet_replicas: args.kubelet_replicas,
        client: client.clone(),
        caches,
        health,
        memory,
        metrics,
    });
    let running = watch::run(controller, context.clone(), changes, args.max_concurrent_reconciles, shutdown);
    tokio::select! {
        () = running => {}
        () = Box::pin(context.health.follow_classes(client, || classes_changed(&context))) => {}
    }
}

/// Clusters may be offered other classes of the host by now, which their virtual kubelets must be told.
fn classes_changed(context: &Context) {
    context.memory.surroundings_changed();
    for cluster in context.caches.clusters.state() {
        context.health.look_at(ObjectRef::from_obj(&*cluster));
    }
}

/// Reconciles `VirtualClusterPolicies` until `shutdown`.
pub async fn reconcile_policies(
    args: &Args,
    client: kube::Client,
    metrics: Metrics,
    identity: String,
    shutdown: CancellationToken,
) {
    let audit = Arc::new(policy::audit::Bell::default());
    let (caches, controller, sweep) = policy::watch::watches(&client, &args.namespace, &audit);
    let context = Arc::new(policy::Context {
        namespace: args.namespace.clone(),
        host: Host::new(client.clone(), args.namespace.clone()),
        events: Events::new(client.clone(), identity),
        audit,
        budgets: tokio::sync::Mutex::default(),
        retries: Retries::default(),
        client,
        caches,
        metrics,
    });
    Box::pin(policy::watch::run(controller, context, sweep, shutdown)).await;
}
