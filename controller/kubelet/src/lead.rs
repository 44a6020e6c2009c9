//! What the one virtual kubelet does that holds the Lease: all writing.

use crate::cache::Cache;
use crate::converge;
use crate::node::{Heartbeat, Mirrored};
use crate::pods::Pods;
use crate::run::Kubelet;
use crate::sync::{claims, copies, data, drift, events, services};
use crate::watch::{Change, Name, both};
use crate::world::{World, lock};
use futures::{FutureExt, StreamExt};
use k3k_api::host_node::{self, HostNode};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Pods that are worked on at once. Each waits for API servers most of the time.
const PODS_AT_ONCE: usize = 40;
const DATA_AT_ONCE: usize = 8;

/// Leads until `shutdown`, or until the nested API has been out of our reach for so long that another may do better. Dropped, it
/// stops at once. It begins as after a restart: what was remembered by whoever led before is found out anew.
pub(crate) async fn lead(kubelet: &Kubelet, shutdown: CancellationToken) {
    let world = kubelet.world(&kubelet.host.leading, &kubelet.nested.leading);
    let sync = kubelet.config.sync.clone();
    let nested_changes = kubelet.nested_pods.follow_anew();
    let host_changes = kubelet.host_pods.follow_anew();
    let service_changes = kubelet.nested_services.follow_anew();
    let pods = Arc::new(Pods::new(world.clone()));
    let (requests, queue) = converge::queue::<Name>();
    let work = {
        let shutdown = shutdown.clone();
        let (pods, metrics) = (pods.clone(), kubelet.metrics.clone());
        async move {
            // Containers are told of the Services that there are.
            kubelet.nested_services.filled().await;
            let step = move |name: Name| {
                let (pods, metrics) = (pods.clone(), metrics.clone());
                async move { pods.step(&name).await }.inspect(move |next| metrics.count(next)).boxed()
            };
            converge::run(queue, PODS_AT_ONCE, shutdown, step).await;
        }
    };
    // Whether all host pods are known, sent anew whenever one changes.
    let (tell_of_pods, host_pods_changed) = tokio::sync::watch::channel(false);
    let follow_pods = both(nested_changes, host_changes).for_each(|(is_nested, change)| {
        if !is_nested && matches!(change, Change::Relisted) {
            note_origins(&world);
        }
        pods.ask(&requests, is_nested, &change);
        if !is_nested {
            tell_of_pods.send_modify(|known| *known |= matches!(change, Change::Relisted));
        }
        futures::future::ready(())
    });
    let (data_requests, data_queue) = converge::queue();
    let copying = converge::run(data_queue, DATA_AT_ONCE, shutdown.clone(), {
        let world = world.clone();
        move |key| data::step(world.clone(), key).boxed()
    });
    let (tell_of_nodes, nodes) = tokio::sync::watch::channel(None);
    let follow_nodes = async {
        let Some(feed) = &kubelet.host_nodes else { return std::future::pending().await };
        feed.follow_anew()
            .for_each(|_| {
                if let Some(told) = host_nodes(&feed.cache()) {
                    if let Some(known) = &world.host_nodes {
                        *lock(known) = told.iter().map(|node| node.name.clone()).collect();
                    }
                    tell_of_nodes.send_replace(Some(told));
                    requests.send_all(world.nested_pods.names());
                }
                futures::future::ready(())
            })
            .await;
    };
    let node = async {
        // A node that is Ready gets pods at once; first we must be able to see them.
        kubelet.nested_pods.filled().await;
        kubelet.host_pods.filled().await;
        let config = kubelet.config.clone();
        if kubelet.host_nodes.is_some() {
            Mirrored::new(world.nested.clone(), config).keep(nodes).await;
        } else {
            Heartbeat::new(world.nested.clone(), kubelet.files.clone(), config, kubelet.host_ip).beat().await;
        }
    };
    let retell = async {
        kubelet.host_pods.filled().await;
        events::retell_all(&world).await;
    };
    tokio::select! {
        () = work => {}
        () = follow_pods => {}
        () = copying => {}
        () = data::watch_nested(world.clone(), data_requests.clone()) => {}
        () = drift::follow(&world, &data_requests, &pods, &requests) => {}
        () = services::run(world.clone(), sync.clone(), service_changes, host_pods_changed, shutdown.clone()) => {}
        () = claims::run(world.clone(), sync.clone(), shutdown.clone()) => {}
        () = copies::run(world.clone(), sync, shutdown) => {}
        () = retell => {}
        () = node => {}
        () = follow_nodes => {}
    }
}

/// Whose host pods there are, so that what the host says about them can be retold from the beginning.
fn note_origins(world: &World) {
    let mut origins = lock(&world.origins);
    for (pod, origin) in world.host_pods_of_ours() {
        origins.insert(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(), origin);
    }
}

/// What the controller tells of the host's nodes. None when it has not told, or not in words of this version.
fn host_nodes(told: &Cache) -> Option<Vec<HostNode>> {
    let told = told.all().next()?;
    let text = told["data"][host_node::KEY].as_str()?;
    match serde_json::from_str(text) {
        Ok(nodes) => Some(nodes),
        Err(error) => {
            tracing::error!(%error, "the list of the host's nodes cannot be read; the one before is kept");
            None
        }
    }
}
