//! From flags to a running kubelet: one that leads, or one that stands by.

use crate::args::Args;
use crate::clients::{self, Access};
use crate::config::{Config, Files};
use crate::feed::{Feed, Filling, feed};
use crate::lead::lead;
use crate::metrics::Metrics;
use crate::serving;
use crate::sync::writers::Writers;
use crate::world::{World, core};
use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable};
use k3k_api::labels;
use k3k_api::names::ClusterNames;
use k3k_api::v1beta1::{GROUP, VERSION};
use k3k_runtime::lease::{Lease, LeaseParams, Tenure};
use k3k_runtime::ready::Readiness;
use k3k_runtime::shutdown;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ListParams};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::watcher;
use prometheus_client::registry::Registry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a leader that has gone silent is waited for. With the pauses between looks at the Lease a successor begins within 13 s.
const LEASE: Duration = Duration::from_secs(10);

/// How long the nested API may take for a small answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a virtual kubelet has, whether it leads or stands by.
pub(crate) struct Kubelet {
    pub(crate) config: Config,
    pub(crate) files: Files,
    pub(crate) metrics: Metrics,
    /// Address of the host node that we run on.
    pub(crate) host_ip: Option<IpAddr>,
    pub(crate) host: Access,
    pub(crate) nested: Access,
    pub(crate) nested_pods: Arc<Feed>,
    pub(crate) nested_services: Arc<Feed>,
    pub(crate) host_pods: Arc<Feed>,
    /// What the controller tells of the host's nodes, if they are mirrored.
    pub(crate) host_nodes: Option<Arc<Feed>>,
}

impl Kubelet {
    /// The world as seen through these clients. Nothing is remembered in it: who begins to lead finds out anew.
    pub(crate) fn world(&self, host: &kube::Client, nested: &kube::Client) -> Arc<World> {
        let instance = Some(self.config.node_name.clone());
        let reporter = Reporter { controller: "k3k-kubelet".into(), instance };
        Arc::new(World {
            context: self.config.context(),
            sync: self.config.sync.clone(),
            offered: self.config.offered.clone(),
            host: host.clone(),
            recorder: Recorder::new(nested.clone(), reporter),
            nested: nested.clone(),
            nested_pods: self.nested_pods.cache(),
            nested_services: self.nested_services.cache(),
            host_pods: self.host_pods.cache(),
            uses: Mutex::default(),
            writers: Writers::default(),
            origins: Mutex::default(),
            host_nodes: self.host_nodes.is_some().then(Mutex::default),
            stopped_until: self.config.stopped_until,
        })
    }

    fn lease(&self) -> LeaseParams {
        let name = &self.config.cluster_name;
        LeaseParams {
            namespace: self.config.cluster_namespace.clone(),
            name: ClusterNames(name).kubelet(),
            identity: std::env::var("POD_NAME")
                .unwrap_or_else(|_| format!("k3k-kubelet-{}", std::process::id())),
            duration: LEASE,
            owner: Some(OwnerReference {
                api_version: format!("{GROUP}/{VERSION}"),
                kind: "Cluster".into(),
                name: name.clone(),
                uid: self.config.cluster_uid.clone(),
                ..OwnerReference::default()
            }),
        }
    }
}

/// Runs until a signal asks to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal().context("cannot listen for signals")?;
    let config = Config::load(&args.config)?;
    let files = Files::beside(&args.config);
    let readiness = Readiness::default();
    let filled = readiness.latch("caches");
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let registry = Arc::new(registry);
    let admin = tokio::spawn(args.admin.serve(registry.clone(), readiness, shutdown.clone()));

    let tenure = Tenure::default();
    let nested = clients::nested(&config, &files, &tenure).await?;
    let host = clients::host(&tenure)?;
    tokio::select! {
        () = until_admitted(&nested.standing, &config.node_name) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    tracing::info!(node = config.node_name, "the nested API answers");

    let (pod, service) = (core("Pod"), core("Service"));
    let bound = if config.mirror_host_nodes {
        "spec.nodeName!=".to_owned()
    } else {
        format!("spec.nodeName={}", config.node_name)
    };
    let on_our_node = watcher::Config::default().fields(&bound);
    let (nested_pods, fill_nested_pods) =
        feed(Api::all_with(nested.standing.clone(), &pod), &pod, on_our_node);
    let (nested_services, fill_nested_services) =
        feed(Api::all_with(nested.standing.clone(), &service), &service, watcher::Config::default());
    let ours =
        watcher::Config::default().labels(&format!("{}={}", labels::CLUSTER_NAME, config.cluster_name));
    let in_our_namespace = Api::namespaced_with(host.leading.clone(), &config.cluster_namespace, &pod);
    let (host_pods, fill_host_pods) = feed(in_our_namespace, &pod, ours);
    let (host_nodes, fill_host_nodes) = config
        .mirror_host_nodes
        .then(|| told(&host, &config, &ClusterNames(&config.cluster_name).nodes()))
        .unzip();
    let fill_host_nodes = async {
        match fill_host_nodes {
            Some(filling) => filling.run().await,
            None => std::future::pending().await,
        }
    };
    let (told_policy, fill_told_policy) = told(&host, &config, &ClusterNames(&config.cluster_name).policy());
    let kubelet = Kubelet {
        config,
        files,
        metrics,
        host_ip: args.host_ip,
        host,
        nested,
        nested_pods,
        nested_services,
        host_pods,
        host_nodes,
    };

    // A standby answers, too: it knows where pods run, and the nested API says who may do what.
    let standing = kubelet.world(&kubelet.host.standing, &kubelet.nested.standing);
    let streaming = kubelet.host.standing.clone();
    let (config, files) = (&kubelet.config, &kubelet.files);
    let told = told_policy.cache();
    let endpoints =
        serving::serve(standing, streaming, config, files, registry, told, shutdown.clone()).await?;
    let mut endpoints = tokio::spawn(endpoints);
    let ready = async {
        kubelet.nested_pods.filled().await;
        kubelet.host_pods.filled().await;
        filled.set();
        std::future::pending::<()>().await;
    };
    let mut campaign = std::pin::pin!(campaign(&kubelet, tenure, &shutdown));
    let (mut is_released, mut is_served) = (false, false);
    let ended = tokio::select! {
        result = &mut campaign => {
            is_released = true;
            result
        }
        () = ready => Ok(()),
        () = fill_nested_pods.run() => Ok(()),
        () = fill_nested_services.run() => Ok(()),
        () = fill_host_pods.run() => Ok(()),
        () = fill_host_nodes => Ok(()),
        () = fill_told_policy.run() => Ok(()),
        result = &mut endpoints => {
            is_served = true;
            result.map_err(anyhow::Error::from).and_then(|result| Ok(result?))
        }
        result = admin => result.map_err(anyhow::Error::from).and_then(|result| Ok(result?)),
    };
    // Told to end, the endpoints for probes end first. The Lease is given back before anything else is waited for.
    shutdown.cancel();
    if !is_released {
        campaign.await?;
    }
    // Tenants' streams get a few seconds to end; nothing else is done meanwhile.
    if !is_served {
        endpoints.await??;
    }
    ended
}

/// A cache of the one ConfigMap `name`, by which the controller tells us something.
fn told(host: &Access, config: &Config, name: &str) -> (Arc<Feed>, Filling) {
    let kind = core("ConfigMap");
    let api = Api::namespaced_with(host.standing.clone(), &config.cluster_namespace, &kind);
    feed(api, &kind, watcher::Config::default().fields(&format!("metadata.name={name}")))
}

/// Leads whenever it is our turn, until `shutdown`. The Lease is given back as soon as nothing is written any more.
async fn campaign(kubelet: &Kubelet, tenure: Tenure, shutdown: &CancellationToken) -> anyhow::Result<()> {
    loop {
        let lease = Lease::spawn_noting(
            kubelet.host.standing.clone(),
            kubelet.lease(),
            tenure.clone(),
            CancellationToken::new(),
        );
        let mut lease = lease;
        tokio::select! {
            acquired = lease.acquired() => acquired.context("waiting for the Lease")?,
            () = identity_change(&kubelet.files) => shutdown.cancel(),
            () = shutdown.cancelled() => {}
        }
        if !shutdown.is_cancelled() {
            tracing::info!(node = kubelet.config.node_name, "leading");
            tokio::select! {
                () = lead(kubelet, shutdown.clone()) => {}
                () = lease.lost() => tracing::warn!("the Lease was lost; standing by"),
                () = identity_change(&kubelet.files) => shutdown.cancel(),
                () = shutdown.cancelled() => {}
            }
        }
        lease.release().await;
        if shutdown.is_cancelled() {
            return Ok(());
        }
        tokio::select! {
            () = until_admitted(&kubelet.nested.standing, &kubelet.config.node_name) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Waits until the nested API answers and lets us list pods. It starts beside us and grants us our rights once it is up, so
/// the first seconds are for trying often: every 140 ms after three seconds, every two seconds after a minute.
async fn until_admitted(nested: &kube::Client, node: &str) {
    let pods: Api<Pod> = Api::all(nested.clone());
    let params = ListParams::default().limit(1);
    let often = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_factor(1.03)
        .without_max_times();
    // A connection that nothing comes through must not be waited for as long as a watch.
    let attempt = || async {
        let answer = tokio::time::timeout(PATIENCE, pods.list_metadata(&params)).await;
        answer.unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into())))
    };
    let result = attempt
        .retry(often)
        .notify(|error, delay| tracing::debug!(node, %error, ?delay, "the nested API does not answer yet"))
        .await;
    if let Err(error) = result {
        tracing::warn!(%error, "the nested API does not answer; going on all the same");
    }
}

/// Resolves when the certificate that we show the nested API has been replaced: we start anew with it.
async fn identity_change(files: &Files) {
    let current = crate::config::read(&files.client_certificate).ok();
    let mut ticks = tokio::time::interval(Duration::from_secs(60));
    loop {
        ticks.tick().await;
        let now = crate::config::read(&files.client_certificate).ok();
        if now.is_some() && now != current {
            tracing::info!("our certificate was renewed; starting anew with it");
            return;
        }
    }
}
