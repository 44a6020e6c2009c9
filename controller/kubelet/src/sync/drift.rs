//! What others do to the host's copies of ConfigMaps and Secrets.
//!
//! Only metadata is read. The version of a copy says whether it is as we wrote it; who writes it otherwise, or deletes it, has it
//! written again. ConfigMaps are watched. Secrets are looked at one by one from time to time: we have no right to list those of the
//! namespace, among which are others than ours.

use super::data::discard;
use super::repair::{now_and_then, strays};
use crate::converge::Requests;
use crate::pods::Pods;
use crate::uses::Key;
use crate::watch::Name;
use crate::world::{World, lock};
use futures::StreamExt;
use k3k_api::labels;
use k3k_translate::Origin;
use k3k_translate::data::DataKind;
use k3k_translate::pod::pod_secret;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use std::collections::HashSet;

struct Drift<'a> {
    world: &'a World,
    /// Asks for a copy to be written.
    data: &'a Requests<Key>,
    /// Whose Secrets of tokens are among the copies.
    pods: &'a Pods,
    /// Asks for a pod.
    pod_requests: &'a Requests<Name>,
}

/// Follows both kinds and scans the pods that use them, for ever.
pub async fn follow(world: &World, data: &Requests<Key>, pods: &Pods, pod_requests: &Requests<Name>) {
    let drift = Drift { world, data, pods, pod_requests };
    let host_pods = world.host_api("Pod");
    futures::join!(
        drift.follow_config_maps(),
        drift.scan_config_maps(),
        now_and_then(async || drift.scan_secrets().await),
        now_and_then(async || {
            strays(&world.context.owner, &host_pods).await;
            pod_requests.send_all(pods.known());
        }),
    );
}

impl Drift<'_> {
    async fn follow_config_maps(&self) {
        let owner = &self.world.context.owner;
        let api: Api<PartialObjectMeta<ConfigMap>> =
            Api::namespaced(self.world.host.clone(), &owner.namespace);
        let ours = watcher::Config::default().labels(&format!("{}={}", labels::CLUSTER_NAME, owner.cluster));
        let mut events = std::pin::pin!(watch(api, ours).default_backoff());
        // Names, while a list comes in.
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(copy)) => {
                    listed.extend(copy.metadata.name.clone());
                    self.seen(&copy.metadata, true);
                }
                Ok(Event::Apply(copy)) => self.seen(&copy.metadata, true),
                Ok(Event::Delete(copy)) => self.seen(&copy.metadata, false),
                Ok(Event::InitDone) => self.listed(&std::mem::take(&mut listed)),
                Err(error) => {
                    tracing::warn!(%error, "the watch of the host's ConfigMaps broke; it is taken up again");
                }
            }
        }
    }

    /// A copy is there in this version, or gone, or out of sight for want of its labels.
    fn seen(&self, metadata: &ObjectMeta, is_there: bool) {
        let Some(origin) = self.origin(metadata) else { return };
        let version = metadata.resource_version.as_deref().filter(|_| is_there);
        self.seen_in((DataKind::ConfigMap, Name::from(origin)), version);
    }

    fn seen_in(&self, key: Key, version: Option<&str>) {
        let is_news = lock(&self.world.uses).seen(&key, version);
        if is_news {
            self.data.send(key);
        }
    }

    /// What is in use and not among `names` was deleted while nobody looked.
    fn listed(&self, names: &HashSet<String>) {
        let owner = &self.world.context.owner;
        let keys = lock(&self.world.uses).keys(DataKind::ConfigMap);
        for key in keys {
            if !names.contains(&owner.host_name(&key.1.namespace, &key.1.name)) {
                self.seen_in(key, None);
            }
        }
    }

    /// From time to time looks for copies that lost their labels, and for those that were made for a pod that was never made.
    async fn scan_config_maps(&self) {
        let owner = &self.world.context.owner;
        let api = self.world.host_api(DataKind::ConfigMap.kind());
        let mut unused: HashSet<String> = HashSet::new();
        now_and_then(async || {
            strays(owner, &api).await;
            unused = self.discard_unused(&unused).await;
        })
        .await;
    }

    /// Looks at every Secret that is in use, and at those of the pods themselves.
    async fn scan_secrets(&self) {
        let owner = &self.world.context.owner;
        let secrets = self.world.host_api(DataKind::Secret.kind());
        let version = async |name: &str| match secrets.get_metadata_opt(name).await {
            Ok(there) => Some(there.map(|there| there.metadata.resource_version.unwrap_or_default())),
            Err(error) => {
                tracing::warn!(name, %error, "a Secret in the host could not be looked at; it is done again later");
                None
            }
        };
        let keys = lock(&self.world.uses).keys(DataKind::Secret);
        for key in keys {
            if let Some(version) = version(&owner.host_name(&key.1.namespace, &key.1.name)).await {
                self.seen_in(key, version.as_deref());
            }
        }
        for pod in self.pods.with_secrets() {
            if let Some(version) = version(&pod_secret(&pod)).await {
                self.pod_requests.send_all(self.pods.secret_seen(&pod, version.as_deref()));
            }
        }
    }

    /// Discards the copies that no pod uses and that were as useless the last time, and returns the others.
    async fn discard_unused(&self, before: &HashSet<String>) -> HashSet<String> {
        let (kind, owner) = (DataKind::ConfigMap, &self.world.context.owner);
        let ours = format!("{}={}", labels::CLUSTER_NAME, owner.cluster);
        let params = kube::api::ListParams::default().labels(&ours);
        let copies = match self.world.host_api(kind.kind()).list_metadata(&params).await {
            Ok(copies) => copies,
            Err(error) => {
                tracing::warn!(%error, "the host's ConfigMaps could not all be looked at; it is done again later");
                return HashSet::new();
            }
        };
        let mut unused = HashSet::new();
        for copy in copies {
            let metadata = copy.metadata;
            // What a user owns goes with the user.
            let owners = metadata.owner_references.as_deref().unwrap_or_default();
            if owners.iter().any(|owner| owner.kind != "Cluster") {
                continue;
            }
            let (Some(origin), Some(uid)) = (self.origin(&metadata), metadata.uid) else { continue };
            let key = (kind, Name::from(origin));
            if lock(&self.world.uses).contains(&key) {
                continue;
            }
            if before.contains(&uid) {
                discard(self.world, &key).await;
            } else {
                unused.insert(uid);
            }
        }
        unused
    }

    fn origin(&self, metadata: &ObjectMeta) -> Option<Origin> {
        Origin::of_host(&self.world.context.owner, &serde_json::to_value(metadata).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::converge::{Queue, queue};
    use crate::fixture::{Seen, world};
    use std::sync::Arc;

    fn used(kind: DataKind) -> Key {
        (kind, Name { namespace: "default".into(), name: "conf".into() })
    }

    fn user() -> serde_json::Value {
        serde_json::json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "h-uid"})
    }

    fn copy_of(world: &World, version: &str) -> ObjectMeta {
        let origin = Origin { namespace: "default".into(), name: "conf".into(), uid: "c".into() };
        let mut metadata = world.context.owner.metadata(&origin, None);
        metadata["resourceVersion"] = version.into();
        serde_json::from_value(metadata).unwrap()
    }

    /// Whether `tell` has the copy written again, of which version 7 was written.
    fn is_asked_for(tell: impl FnOnce(&Drift<'_>)) -> bool {
        let (world, ..) = world(Seen::default());
        let world = Arc::new(world);
        {
            let mut uses = lock(&world.uses);
            let key = used(DataKind::ConfigMap);
            uses.add(&key, &user());
            let owners = uses.owners(&key);
            uses.written(&key, "1", &owners, "7");
        }
        let pods = Pods::new(world.clone());
        let ((data, mut incoming), (pod_requests, _)): ((_, Queue<Key>), (_, Queue<Name>)) =
            (queue(), queue());
        tell(&Drift { world: &world, data: &data, pods: &pods, pod_requests: &pod_requests });
        incoming.next_requested() == Some(used(DataKind::ConfigMap))
    }

    #[tokio::test]
    async fn what_others_write_or_delete_is_written_again() {
        assert!(!is_asked_for(|drift| drift.seen(&copy_of(drift.world, "7"), true)), "as we wrote it");
        assert!(is_asked_for(|drift| drift.seen(&copy_of(drift.world, "8"), true)), "written by others");
        assert!(is_asked_for(|drift| drift.seen(&copy_of(drift.world, "8"), false)), "deleted");
        assert!(is_asked_for(|drift| drift.listed(&HashSet::new())), "deleted while nobody looked");
        let name = |drift: &Drift<'_>| drift.world.context.owner.host_name("default", "conf");
        assert!(!is_asked_for(|drift| drift.listed(&HashSet::from([name(drift)]))), "it is there");
    }

    #[tokio::test]
    async fn secrets_are_looked_at_by_name() {
        for (version, is_news) in [(Some("7"), false), (Some("8"), true), (None, true)] {
            let (world, mut host, _nested) = world(Seen::default());
            let key = used(DataKind::Secret);
            {
                let mut uses = lock(&world.uses);
                uses.add(&key, &user());
                let owners = uses.owners(&key);
                uses.written(&key, "1", &owners, "7");
            }
            let scan = tokio::spawn(async move {
                let world = Arc::new(world);
                let pods = Pods::new(world.clone());
                let ((data, mut incoming), (pod_requests, _)): ((_, Queue<Key>), _) = (queue(), queue());
                let drift = Drift { world: &world, data: &data, pods: &pods, pod_requests: &pod_requests };
                drift.scan_secrets().await;
                incoming.next_requested()
            });
            let path = format!(
                "/api/v1/namespaces/k3k-dev/secrets/{}",
                crate::fixture::owner().host_name("default", "conf")
            );
            let call = host.expect("GET", &path).await;
            assert!(
                call.headers["accept"].to_str().unwrap().contains("PartialObjectMetadata"),
                "its content is not read"
            );
            match version {
                Some(version) => call.answer(200, &serde_json::json!({
                    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "x", "resourceVersion": version},
                })),
                None => call.refuse(404, "NotFound", "deleted"),
            }
            assert_eq!(scan.await.unwrap(), is_news.then_some(key), "{version:?}");
        }
    }

    #[tokio::test]
    async fn a_copy_that_was_made_for_no_pod_goes_the_second_time_it_is_seen() {
        let (world, mut host, _nested) = world(Seen::default());
        let scan = tokio::spawn(async move {
            let world = Arc::new(world);
            let pods = Pods::new(world.clone());
            let ((data, _), (pod_requests, _)) = (queue(), queue());
            let drift = Drift { world: &world, data: &data, pods: &pods, pod_requests: &pod_requests };
            let once = drift.discard_unused(&HashSet::new()).await;
            assert_eq!(once, HashSet::from(["m-uid".to_owned()]));
            drift.discard_unused(&once).await
        });
        for _ in 0..2 {
            let call = host.expect("GET", "/api/v1/namespaces/k3k-dev/configmaps?").await;
            let metadata = |name: &str| {
                let origin = Origin { namespace: "default".into(), name: name.into(), uid: "c".into() };
                let mut metadata = crate::fixture::owner().metadata(&origin, None);
                metadata["uid"] = "m-uid".into();
                metadata
            };
            let mut of_a_pod = metadata("other");
            of_a_pod["ownerReferences"] =
                serde_json::json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p"}]);
            let items = [metadata("conf"), of_a_pod].map(|metadata| {
                serde_json::json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata})
            });
            call.answer(200, &serde_json::json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items,
            }));
        }
        let copy = format!(
            "/api/v1/namespaces/k3k-dev/configmaps/{}",
            crate::fixture::owner().host_name("default", "conf")
        );
        host.expect("DELETE", &copy)
            .await
            .answer(200, &serde_json::json!({"kind": "Status", "status": "Success"}));
        assert!(scan.await.unwrap().is_empty());
    }
}
