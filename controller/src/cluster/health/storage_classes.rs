//! Offering the host's storage classes inside nested clusters.

use crate::cluster::storage_class::{is_current, is_offered, nested};
use futures::{StreamExt as _, TryStreamExt as _};
use k3k_api::labels::{SYNC_FROM_HOST, SYNC_SOURCE};
use k3k_api::managers;
use k3k_api::v1beta1::SyncConfig;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector};
use kube::{Api, Client, ResourceExt as _};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a nested API that refused a class is left in peace.
const PAUSE: Duration = Duration::from_secs(10);

/// The host's classes; none while they have not been listed.
pub(super) type HostClasses = watch::Receiver<Option<Vec<Arc<StorageClass>>>>;

/// The host's classes as they are known now, for all who follow a cluster.
pub(super) struct Known(watch::Sender<Option<Vec<Arc<StorageClass>>>>);

impl Default for Known {
    fn default() -> Self {
        Self(watch::channel(None).0)
    }
}

impl Known {
    /// Learns of changes from now on.
    pub(super) fn subscribe(&self) -> HostClasses {
        self.0.subscribe()
    }

    /// Follows the host. Never ends.
    pub(super) async fn follow(&self, host: Client) {
        let (reader, writer) = reflector::store::<StorageClass>();
        let stream = watcher(Api::all(host), watcher::Config::default())
            .default_backoff()
            .modify(|class: &mut StorageClass| class.metadata.managed_fields = None)
            .reflect(writer);
        stream
            .for_each(|event| {
                match event {
                    Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                        self.0.send_replace(Some(reader.state()));
                    }
                    Ok(Event::Init | Event::InitApply(_)) => {}
                    Err(error) => tracing::debug!(%error, "the watch on the host's storage classes broke"),
                }
                std::future::ready(())
            })
            .await;
    }
}

/// Keeps the offered classes of one nested cluster as the host has them, until the watch of the nested ones breaks.
pub(super) async fn offer(client: Client, mut host: HostClasses, sync: &SyncConfig) {
    let api: Api<StorageClass> = Api::all(client);
    let ours = watcher::Config::default().labels(&format!("{SYNC_SOURCE}={SYNC_FROM_HOST}"));
    let (present, writer) = reflector::store::<StorageClass>();
    let mut events = pin!(watcher(api.clone(), ours).reflect(writer));
    let mut listed = false;
    loop {
        tokio::select! {
            event = events.try_next() => match event {
                Ok(Some(Event::InitDone | Event::Apply(_) | Event::Delete(_))) => listed = true,
                Ok(Some(Event::Init | Event::InitApply(_))) => continue,
                Ok(None) | Err(_) => return,
            },
            changed = host.changed() => if changed.is_err() { return },
        }
        let wanted = host.borrow_and_update().clone();
        let Some(wanted) = wanted.filter(|_| listed) else { continue };
        let wanted: Vec<_> =
            wanted.iter().filter(|class| is_offered(class, sync)).map(|class| nested(class)).collect();
        if let Err(error) = agree(&api, &present.state(), &wanted).await {
            tracing::debug!(%error, "the storage classes of a nested cluster are out of date");
            tokio::time::sleep(PAUSE).await;
            return;
        }
    }
}

/// Makes what is missing and removes what is wrong; what was wrong is made anew when it is seen to be gone, as most of a class
/// cannot be changed. A class of the tenant's own of the same name stays.
async fn agree(
    api: &Api<StorageClass>,
    present: &[Arc<StorageClass>],
    wanted: &[StorageClass],
) -> Result<(), kube::Error> {
    for class in present {
        if wanted.iter().any(|wanted| wanted.name_any() == class.name_any() && is_current(class, wanted)) {
            continue;
        }
        let preconditions = Preconditions { uid: class.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(&class.name_any(), &params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            result => drop(result?),
        }
    }
    let params =
        PostParams { field_manager: Some(managers::CONTROLLER_NESTED.to_owned()), ..PostParams::default() };
    for class in wanted {
        if present.iter().any(|present| present.name_any() == class.name_any()) {
            continue;
        }
        match api.create(&params, class).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            result => drop(result?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k3k_runtime::scenario;
    use serde_json::json;

    fn class(name: &str, provisioner: &str) -> StorageClass {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "provisioner": provisioner}))
            .unwrap()
    }

    #[tokio::test]
    async fn what_is_wrong_goes_and_what_is_missing_comes() {
        let (client, mut server) = scenario::client();
        let (kept, changed, new) = (class("kept", "host"), class("changed", "host"), class("new", "host"));
        let present = [
            Arc::new(kept.clone()),
            Arc::new(class("changed", "tampered")),
            Arc::new(class("stale", "host")),
        ];
        let step =
            tokio::spawn(async move { agree(&Api::all(client), &present, &[kept, changed, new]).await });
        for name in ["changed", "stale"] {
            let call =
                server.expect("DELETE", &format!("/apis/storage.k8s.io/v1/storageclasses/{name}")).await;
            assert_eq!(call.body["preconditions"]["uid"], name);
            call.accept();
        }
        let call = server.expect("POST", "/apis/storage.k8s.io/v1/storageclasses").await;
        assert_eq!(call.body["metadata"]["name"], "new");
        call.refuse(409, "AlreadyExists", "the tenant has one of that name");
        step.await.unwrap().unwrap();
        assert!(server.next().await.is_none(), "the changed one is made when it is seen to be gone");
    }
}
