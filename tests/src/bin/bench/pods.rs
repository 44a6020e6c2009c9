//! How long pods take: one alone, and many at once.

use crate::{LIMIT, object};
use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const POD_IMAGE: &str = "docker.io/library/busybox:1.36";
/// What the pods of a crowd have in common.
const CROWD: &str = "k3k-bench=crowd";
/// How many of them are asked for at the same time.
const AT_ONCE: usize = 32;

fn wanted(name: &str) -> Result<Pod> {
    object(json!({"metadata": {"name": name, "labels": {"k3k-bench": "crowd"}}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": POD_IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"]}],
    }}))
}

fn runs(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// Time from asking for a pod to seeing it Running.
pub(crate) async fn one(client: &Client, namespace: &str, index: usize) -> Result<Duration> {
    let name = format!("bench-{index}");
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    // The watch runs before the clock does.
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = watcher(api.clone(), config).touched_objects().boxed();
    let poll = tokio::time::timeout(Duration::from_millis(100), changes.try_next()).await;
    if let Ok(Ok(Some(_))) = poll {
        bail!("a pod {name} is there already");
    }
    let start = Instant::now();
    api.create(&PostParams::default(), &wanted(&name)?).await?;
    loop {
        let pod = tokio::time::timeout(LIMIT, changes.try_next()).await??.context("the watch ended")?;
        if runs(&pod) {
            break;
        }
    }
    let elapsed = start.elapsed();
    api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    Ok(elapsed)
}

/// Time from asking for `count` pods to seeing the last of them Running. They stay.
pub(crate) async fn crowd(client: &Client, namespace: &str, count: usize) -> Result<Duration> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut changes =
        watcher(api.clone(), watcher::Config::default().labels(CROWD)).touched_objects().boxed();
    let poll = tokio::time::timeout(Duration::from_millis(500), changes.try_next()).await;
    if let Ok(Ok(Some(_))) = poll {
        bail!("pods with {CROWD} are there already");
    }
    let start = Instant::now();
    let ask = stream::iter(0..count).map(|index| {
        let api = api.clone();
        async move {
            api.create(&PostParams::default(), &wanted(&format!("crowd-{index}"))?)
                .await
                .map_err(anyhow::Error::from)
        }
    });
    let ask = ask.buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) });
    let mut running = BTreeSet::new();
    let see = async {
        while running.len() < count {
            let pod = tokio::time::timeout(LIMIT, changes.try_next()).await??.context("the watch ended")?;
            if runs(&pod) {
                running.extend(pod.metadata.name);
            }
        }
        anyhow::Ok(start.elapsed())
    };
    Ok(futures::try_join!(ask, see)?.1)
}

/// Removes a crowd, and waits until it has gone.
pub(crate) async fn disperse(client: &Client, namespace: &str) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let crowd = ListParams::default().labels(CROWD);
    api.delete_collection(&DeleteParams::default().grace_period(0), &crowd).await?;
    let start = Instant::now();
    while !api.list_metadata(&crowd).await?.items.is_empty() {
        if start.elapsed() > LIMIT {
            bail!("the pods do not go away");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
