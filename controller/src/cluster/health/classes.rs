//! Offering classes of the host inside nested clusters.

use crate::cluster::offered::{Class, is_offered};
use crate::cluster::restart;
use futures::{StreamExt as _, TryStreamExt as _};
use k3k_api::labels::{CLUSTER_NAME, SYNC_FROM_HOST, SYNC_SOURCE};
use k3k_api::managers;
use k3k_api::offered::Offered;
use k3k_api::v1beta1::SyncConfig;
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector};
use kube::{Api, Client, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a nested API that refused a class is left in peace.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// The host's classes of one kind; none while they have not been listed.
pub(super) type HostClasses<K> = watch::Receiver<Option<Vec<Arc<K>>>>;

/// The host's classes of one kind as they are known now, for all who follow a cluster.
struct Kept<K>(watch::Sender<Option<Vec<Arc<K>>>>);

/// All kinds.
#[derive(Default)]
pub(super) struct Known {
    storage: Kept<StorageClass>,
    ingress: Kept<IngressClass>,
    runtime: Kept<RuntimeClass>,
    priority: Kept<PriorityClass>,
}

/// The same, for one who follows them.
#[derive(Clone)]
pub(super) struct Classes {
    storage: HostClasses<StorageClass>,
    ingress: HostClasses<IngressClass>,
    runtime: HostClasses<RuntimeClass>,
    /// Those of the host's own, and copies of tenants'.
    pub(super) priority: HostClasses<PriorityClass>,
}

impl<K> Default for Kept<K> {
    fn default() -> Self {
        Self(watch::channel(None).0)
    }
}

impl<K: Class> Kept<K> {
    /// Follows the host. Never ends.
    async fn follow(&self, host: Client, changed: &impl Fn()) {
        let (reader, writer) = reflector::store::<K>();
        let stream = watcher(Api::all(host), watcher::Config::default())
            .backoff(restart::after_errors())
            .modify(|class: &mut K| class.meta_mut().managed_fields = None)
            .reflect(writer);
        stream
            .for_each(|event| {
                match event {
                    Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                        self.0.send_replace(Some(reader.state()));
                        changed();
                    }
                    Ok(Event::Init | Event::InitApply(_)) => {}
                    Err(error) => tracing::debug!(%error, "the watch on classes of the host broke"),
                }
                std::future::ready(())
            })
            .await;
    }
}

impl Known {
    /// As if the host had these, and was asked already.
    #[cfg(test)]
    pub(super) fn learn_priorities(&self, classes: Vec<Arc<PriorityClass>>) {
        self.priority.0.send_replace(Some(classes));
    }

    /// Learns of changes from now on.
    pub(super) fn subscribe(&self) -> Classes {
        Classes {
            storage: self.storage.0.subscribe(),
            ingress: self.ingress.0.subscribe(),
            runtime: self.runtime.0.subscribe(),
            priority: self.priority.0.subscribe(),
        }
    }

    /// Follows the host. `changed` is called when what clusters may be offered is another. Never ends.
    pub(super) async fn follow(&self, host: Client, changed: impl Fn()) {
        let classes = self.subscribe();
        let before = Mutex::new(None);
        let changed = || {
            let now = Some(classes.signature());
            let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
            if *before != now {
                *before = now;
                changed();
            }
        };
        tokio::join!(
            self.storage.follow(host.clone(), &|| {}),
            self.ingress.follow(host.clone(), &changed),
            self.runtime.follow(host.clone(), &changed),
            self.priority.follow(host, &changed),
        );
    }
}

impl Classes {
    /// What of the host the virtual kubelet lets tenants name. Waits until it is known, if anything is asked for.
    pub(super) async fn offered(&mut self, sync: &SyncConfig) -> Offered {
        Offered {
            ingress_classes: names(&mut self.ingress, sync).await,
            runtime_classes: names(&mut self.runtime, sync).await,
            priority_classes: names(&mut self.priority, sync).await,
        }
    }

    /// Changes when that may change.
    fn signature(&self) -> [Vec<(String, BTreeMap<String, String>)>; 3] {
        [labelled(&self.ingress), labelled(&self.runtime), labelled(&self.priority)]
    }
}

/// The names of the classes of one kind that are offered.
async fn names<K: Class>(host: &mut HostClasses<K>, sync: &SyncConfig) -> BTreeSet<String> {
    if !sync.copies(K::SYNCED) {
        return BTreeSet::new();
    }
    // An error means that nobody follows the host any more: the process is ending.
    let Ok(known) = host.wait_for(Option::is_some).await else { return BTreeSet::new() };
    let known = known.as_deref().unwrap_or_default();
    known.iter().filter(|class| is_offered(&***class, sync)).map(|class| class.name_any()).collect()
}

/// The classes of the host's own by their labels.
fn labelled<K: Class>(host: &HostClasses<K>) -> Vec<(String, BTreeMap<String, String>)> {
    let known = host.borrow();
    let own = known
        .as_deref()
        .unwrap_or_default()
        .iter()
        .filter(|class| !class.labels().contains_key(CLUSTER_NAME));
    let mut all: Vec<_> = own.map(|class| (class.name_any(), class.labels().clone())).collect();
    all.sort();
    all
}

/// Keeps the offered classes of one nested cluster as the host has them, until a watch of the nested ones breaks.
pub(super) async fn offer(client: Client, host: Classes, sync: &SyncConfig) {
    tokio::select! {
        () = offer_kind(client.clone(), host.storage, sync) => {}
        () = offer_kind(client.clone(), host.ingress, sync) => {}
        () = offer_kind(client.clone(), host.runtime, sync) => {}
        () = offer_kind(client, host.priority, sync) => {}
    }
}

async fn offer_kind<K: Class>(client: Client, mut host: HostClasses<K>, sync: &SyncConfig) {
    let api: Api<K> = Api::all(client);
    let ours = format!("{SYNC_SOURCE}={SYNC_FROM_HOST}");
    if !sync.copies(K::SYNCED) {
        return withdraw(&api, &ours).await;
    }
    let (present, writer) = reflector::store::<K>();
    let mut events = pin!(watcher(api.clone(), watcher::Config::default().labels(&ours)).reflect(writer));
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
        let offered = wanted.iter().filter(|class| is_offered(&***class, sync));
        let wanted: Vec<K> = offered.map(|class| class.nested()).collect();
        if let Err(error) = agree(&api, managers::CONTROLLER_NESTED, &present.state(), &wanted).await {
            tracing::debug!(kind = %K::kind(&()), %error, "the classes of a nested cluster are out of date");
            tokio::time::sleep(PAUSE).await;
            return;
        }
    }
}

/// Removes what was offered before, and stays.
async fn withdraw<K: Class>(api: &Api<K>, ours: &str) {
    let removed = async {
        let present = api.list(&ListParams::default().labels(ours)).await?;
        let present: Vec<_> = present.items.into_iter().map(Arc::new).collect();
        agree(api, managers::CONTROLLER_NESTED, &present, &[]).await
    };
    if let Err(error) = removed.await {
        tracing::debug!(kind = %K::kind(&()), %error, "classes that are not offered any more stay for now");
        return tokio::time::sleep(PAUSE).await;
    }
    std::future::pending::<()>().await;
}

/// Makes what is missing and removes what is wrong; what was wrong is made anew when it is seen to be gone, as most of a class
/// cannot be changed. A class of the tenant's own of the same name stays.
pub(super) async fn agree<K: Class>(
    api: &Api<K>,
    manager: &str,
    present: &[Arc<K>],
    wanted: &[K],
) -> Result<(), kube::Error> {
    for class in present {
        if wanted.iter().any(|wanted| wanted.name_any() == class.name_any() && class.is_current(wanted)) {
            continue;
        }
        let preconditions = Preconditions { uid: class.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(&class.name_any(), &params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            result => drop(result?),
        }
    }
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
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
        let step = tokio::spawn(async move {
            agree(&Api::all(client), managers::CONTROLLER_NESTED, &present, &[kept, changed, new]).await
        });
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

    #[tokio::test]
    async fn what_is_offered_is_waited_for_and_only_if_it_is_asked_for() {
        let known = Known::default();
        let silent = known.subscribe().offered(&SyncConfig::default()).await;
        assert_eq!(silent, Offered::default());
        let sync: SyncConfig =
            serde_json::from_value(json!({"hostPriorityClasses": {"enabled": true}})).unwrap();
        let mut classes = known.subscribe();
        let asked = tokio::spawn(async move { classes.offered(&sync).await });
        tokio::task::yield_now().await;
        let class = |name: &str, labels: &serde_json::Value| {
            let class = json!({"metadata": {"name": name, "labels": labels}, "value": 1});
            Arc::new(serde_json::from_value::<PriorityClass>(class).unwrap())
        };
        known.learn_priorities(vec![class("gold", &json!({})), class("x", &json!({CLUSTER_NAME: "other"}))]);
        assert_eq!(asked.await.unwrap().priority_classes, BTreeSet::from(["gold".to_owned()]));
    }

    #[tokio::test]
    async fn what_is_not_offered_any_more_is_withdrawn_once() {
        let (client, mut server) = scenario::client();
        let (_sender, host) = watch::channel(None);
        let step = tokio::spawn(async move {
            offer_kind::<PriorityClass>(client, host, &SyncConfig::default()).await;
        });
        let call = server.expect("GET", "/apis/scheduling.k8s.io/v1/priorityclasses").await;
        assert!(call.uri.contains("labelSelector=k3k.io%2Fsync-source%3Dhost"), "{}", call.uri);
        let class = json!({"metadata": {"name": "gold", "uid": "g"}, "value": 1});
        call.answer(200, &json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClassList", "metadata": {}, "items": [class]}));
        let call = server.expect("DELETE", "/apis/scheduling.k8s.io/v1/priorityclasses/gold").await;
        assert_eq!(call.body["preconditions"]["uid"], "g");
        call.accept();
        step.abort();
    }
}
