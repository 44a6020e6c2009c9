//! What of a cluster is left in the host, and waiting until nothing is.

use super::interrupt::{asked_to_stop, deadline};
use crate::connect::Connection;
use crate::error::{Action, Error};
use crate::output::progress::{HEARTBEAT, Progress};
use futures::StreamExt as _;
use k3k_api::labels;
use kube::api::{Api, ApiResource, ListParams};
use kube::core::{DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use std::collections::BTreeSet;
use std::pin::{Pin, pin};

/// Kinds that a cluster leaves its traces in: what to call them, group, version, kind, plural. Pods come first:
/// they take longest, and the rest goes meanwhile.
const KINDS: &[(&str, &str, &str, &str, &str)] = &[
    ("Pods", "", "v1", "Pod", "pods"),
    ("StatefulSets", "apps", "v1", "StatefulSet", "statefulsets"),
    ("Deployments", "apps", "v1", "Deployment", "deployments"),
    ("Services", "", "v1", "Service", "services"),
    ("Secrets", "", "v1", "Secret", "secrets"),
    ("ConfigMaps", "", "v1", "ConfigMap", "configmaps"),
    ("Volumes", "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
];

/// Metadata of objects of any kind.
type Metadata = PartialObjectMeta<DynamicObject>;

fn resources() -> impl Iterator<Item = (&'static str, ApiResource)> {
    KINDS.iter().map(|(title, group, version, kind, plural)| {
        let kind = GroupVersionKind::gvk(group, version, kind);
        (*title, ApiResource::from_gvk_with_plural(&kind, plural))
    })
}

/// What the controller made for the cluster, and what the virtual kubelet made for its tenants.
pub(super) fn selectors(cluster: &str) -> [String; 2] {
    [
        format!("{},{}={cluster}", labels::COMPONENT, labels::CLUSTER),
        format!("{}={cluster}", labels::CLUSTER_NAME),
    ]
}

/// How a wait for something to go away ended early.
pub(super) enum Early {
    /// Time was up; what is left, in words.
    TimedOut(String),
    /// The user does not want to wait.
    Stopped,
    /// The host has something to say.
    Failed(Error),
}

/// When to stop waiting, for several waits in a row.
pub(super) struct Patience {
    timer: Pin<Box<tokio::time::Sleep>>,
    stop: Pin<Box<dyn Future<Output = ()>>>,
    heartbeat: tokio::time::Interval,
}

impl Patience {
    /// Starts now.
    pub(super) fn new(timeout: std::time::Duration) -> Self {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.reset();
        Self { timer: Box::pin(deadline(timeout)), stop: Box::pin(asked_to_stop()), heartbeat }
    }

    /// The next item of a stream; None if the stream is at its end.
    pub(super) async fn next<S>(
        &mut self,
        stream: &mut S,
        progress: &Progress,
    ) -> Result<Option<S::Item>, Option<()>>
    where
        S: futures::Stream + Unpin,
    {
        loop {
            tokio::select! {
                item = stream.next() => return Ok(item),
                () = &mut self.timer => return Err(None),
                () = &mut self.stop => return Err(Some(())),
                _ = self.heartbeat.tick() => progress.heartbeat(),
            }
        }
    }
}

/// Waits until no object of the cluster is left in the namespace. Kinds that the user may not see are left out; the
/// result names them.
pub(super) async fn gone(
    connection: &Connection,
    namespace: &str,
    cluster: &str,
    patience: &mut Patience,
    progress: &mut Progress,
) -> Result<Vec<&'static str>, Early> {
    let mut unseen = Vec::new();
    for (title, resource) in resources() {
        let mut seen = 0;
        for selector in selectors(cluster) {
            let api = Api::<Metadata>::namespaced_with(connection.client.clone(), namespace, &resource);
            let config = watcher::Config::default().labels(&selector);
            let mut events = pin!(watcher(api, config).default_backoff());
            let mut left = BTreeSet::new();
            loop {
                let event = match patience.next(&mut events, progress).await {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(None) => return Err(Early::TimedOut(words(title, &left))),
                    Err(Some(())) => return Err(Early::Stopped),
                };
                let name = |object: &Metadata| object.metadata.name.clone().unwrap_or_default();
                let complete = !matches!(event, Ok(Event::Init | Event::InitApply(_)));
                match event {
                    Ok(Event::Init) => left.clear(),
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        if left.insert(name(&object)) {
                            seen += 1;
                        }
                    }
                    Ok(Event::Delete(object)) => {
                        left.remove(&name(&object));
                    }
                    Ok(Event::InitDone) => {}
                    Err(error) => {
                        let action = Action::new("watch", &resource.plural).within(namespace);
                        match connection.explain_watch(action, &error) {
                            Error::Forbidden { .. } => {
                                unseen.push(title);
                                break;
                            }
                            error @ Error::Unauthorized { .. } => return Err(Early::Failed(error)),
                            error => progress.show("Connection", &format!("lost, trying again: {error}")),
                        }
                        continue;
                    }
                }
                if complete && left.is_empty() {
                    break;
                }
                if complete {
                    progress.show(title, &words(title, &left));
                }
            }
        }
        if seen > 0 {
            progress.done(title, &format!("{seen} removed"));
        }
    }
    unseen.dedup();
    Ok(unseen)
}

/// Names of objects in the namespace that nobody but people put there: what would be lost with the namespace.
///
/// # Errors
/// What the host said; nothing is known then.
pub(super) async fn foreign(connection: &Connection, namespace: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for (_, resource) in resources() {
        let api = Api::<Metadata>::namespaced_with(connection.client.clone(), namespace, &resource);
        let list = api.list(&ListParams::default()).await.map_err(|error| {
            connection.explain(Action::new("list", &resource.plural).within(namespace), &error)
        })?;
        for object in list.items {
            let name = object.metadata.name.unwrap_or_default();
            // The host's root certificate is in every namespace.
            let hosts_own = resource.kind == "ConfigMap" && name == "kube-root-ca.crt";
            let owned = object.metadata.owner_references.is_some_and(|owners| !owners.is_empty());
            if !hosts_own && !owned && object.metadata.deletion_timestamp.is_none() {
                found.push(format!("{}/{name}", resource.kind.to_ascii_lowercase()));
            }
        }
    }
    Ok(found)
}

/// How many objects of a kind match a selector; None if the user may not know.
pub(super) async fn count(
    connection: &Connection,
    namespace: &str,
    kind: &str,
    selector: &str,
) -> Option<usize> {
    let (_, resource) = resources().find(|(_, resource)| resource.kind == kind)?;
    let api = Api::<Metadata>::namespaced_with(connection.client.clone(), namespace, &resource);
    api.list(&ListParams::default().labels(selector)).await.ok().map(|list| list.items.len())
}

fn words(title: &str, left: &BTreeSet<String>) -> String {
    let names: Vec<&str> = left.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => format!("the list of {} did not arrive", title.to_ascii_lowercase()),
        [one] => format!("waiting for {one}"),
        [one, rest @ ..] => format!("waiting for {one} and {} more", rest.len()),
    }
}
