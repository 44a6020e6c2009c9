//! From flags to a running kubelet.

use crate::args::Args;
use crate::clients;
use crate::config::{Config, Files};
use crate::converge;
use crate::metrics::Metrics;
use crate::node::Heartbeat;
use crate::pods::Pods;
use crate::serving;
use crate::sync::{claims, data, events, services};
use crate::watch::{Change, Name, both, follow};
use crate::world::{World, core};
use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable};
use futures::{FutureExt, StreamExt};
use k3k_api::labels;
use k3k_runtime::ready::Readiness;
use k3k_runtime::shutdown;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::watcher;
use prometheus_client::registry::Registry;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pods that are worked on at once. Each waits for API servers most of the time.
const PODS_AT_ONCE: usize = 32;
const DATA_AT_ONCE: usize = 8;

/// Runs until a signal asks to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signal().context("cannot listen for signals")?;
    let config = Config::load(&args.config)?;
    let files = Files::beside(&args.config);
    let readiness = Readiness::default();
    let registered = readiness.latch("node");
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let registry = Arc::new(registry);
    let admin = tokio::spawn(args.admin.serve(registry.clone(), readiness, shutdown.clone()));

    let nested = clients::nested(&config, &files).await?;
    let (host, streaming) = clients::host()?;
    tokio::select! {
        () = until_admitted(&nested, &config.node_name) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    tracing::info!(node = config.node_name, "the nested API answers");

    let context = config.context();
    let sync = config.sync.clone();
    let pod = core("Pod");
    let on_our_node = watcher::Config::default().fields(&format!("spec.nodeName={}", config.node_name));
    let (nested_pods, nested_changes) = follow(Api::all_with(nested.clone(), &pod), &pod, on_our_node);
    let service = core("Service");
    let (nested_services, service_changes) =
        follow(Api::all_with(nested.clone(), &service), &service, watcher::Config::default());
    let ours =
        watcher::Config::default().labels(&format!("{}={}", labels::CLUSTER_NAME, config.cluster_name));
    let in_our_namespace = Api::namespaced_with(host.clone(), &config.cluster_namespace, &pod);
    let (host_pods, host_changes) = follow(in_our_namespace, &pod, ours);
    let reporter = Reporter { controller: "k3k-kubelet".into(), instance: Some(config.node_name.clone()) };
    let world = Arc::new(World {
        context,
        host,
        recorder: Recorder::new(nested.clone(), reporter),
        nested: nested.clone(),
        nested_pods,
        nested_services,
        host_pods,
        uses: Mutex::default(),
        origins: Mutex::default(),
    });

    let pods = Arc::new(Pods::new(world.clone()));
    let (requests, queue) = converge::queue::<Name>();
    let work = converge::run(queue, PODS_AT_ONCE, shutdown.clone(), {
        let pods = pods.clone();
        move |name| {
            let (pods, metrics) = (pods.clone(), metrics.clone());
            async move { pods.step(&name).await }.inspect(move |next| metrics.count(next)).boxed()
        }
    });
    let changes = both(nested_changes, host_changes);
    // Whether all host pods are known, sent anew whenever one changes.
    let (tell_of_pods, host_pods_changed) = tokio::sync::watch::channel(false);
    let follow_pods = changes.for_each(|(is_nested, change)| {
        pods.ask(&requests, is_nested, &change);
        if !is_nested {
            tell_of_pods.send_modify(|known| *known |= matches!(change, Change::Relisted));
        }
        futures::future::ready(())
    });
    let (data_requests, data_queue) = converge::queue();
    let copies = converge::run(data_queue, DATA_AT_ONCE, shutdown.clone(), {
        let world = world.clone();
        move |key| data::step(world.clone(), key).boxed()
    });
    let endpoints =
        serving::serve(world.clone(), streaming, &config, &files, registry, shutdown.clone()).await?;
    let mut endpoints = tokio::spawn(endpoints);
    let node = {
        let mut heartbeat = Heartbeat::new(nested, files.clone(), config, args.host_ip);
        let world = world.clone();
        async move {
            // A node that is Ready gets pods at once; first we must be able to see them.
            let _ = futures::join!(world.nested_pods.wait_until_ready(), world.host_pods.wait_until_ready());
            while let Err(error) = heartbeat.register().await {
                tracing::warn!(%error, "the node is not registered yet; trying again");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            registered.set();
            tracing::info!("the node is registered");
            heartbeat.beat().await;
        }
    };
    tokio::select! {
        () = work => {}
        () = follow_pods => {}
        () = copies => {}
        () = data::watch_nested(world.clone(), data_requests) => {}
        () = services::run(world.clone(), sync.clone(), service_changes, host_pods_changed, shutdown.clone()) => {}
        () = claims::run(world.clone(), sync, shutdown.clone()) => {}
        () = events::retell_all(world) => {}
        () = node => {}
        () = identity_change(&files, shutdown.clone()) => tracing::info!("our certificate was renewed; starting anew with it"),
        result = &mut endpoints => return Ok(result??),
        result = admin => result??,
        () = shutdown.cancelled() => {}
    }
    // Tenants' streams get a few seconds to end; whatever ended us, nothing else is done meanwhile.
    shutdown.cancel();
    Ok(endpoints.await??)
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
    let attempt = || async { pods.list_metadata(&params).await };
    let result = attempt
        .retry(often)
        .notify(|error, delay| tracing::debug!(node, %error, ?delay, "the nested API does not answer yet"))
        .await;
    if let Err(error) = result {
        tracing::warn!(%error, "the nested API does not answer; going on all the same");
    }
}

/// Resolves when the certificate that we show the nested API has been replaced.
async fn identity_change(files: &Files, shutdown: CancellationToken) {
    let current = crate::config::read(&files.client_certificate).ok();
    let mut ticks = tokio::time::interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let now = crate::config::read(&files.client_certificate).ok();
        if now.is_some() && now != current {
            return;
        }
    }
}
