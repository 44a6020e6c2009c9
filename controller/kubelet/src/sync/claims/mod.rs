//! Claims of tenants and the host claims that serve them: what an external provisioner does, with the host's claims as the
//! volumes.

mod converge;
mod events;

use crate::converge::{Next, queue};
use crate::sync::pairs::{self, Lists, Pairs};
use crate::sync::repair;
use crate::watch::{Name, follow, json, nested_name};
use crate::world::{World, core, lock};
use k3k_api::labels;
use k3k_api::v1beta1::{SyncConfig, SyncedKind};
use k3k_translate::storage::home;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

const AT_ONCE: usize = 8;

/// Caches of all that decides about a claim.
struct Claims {
    world: Arc<World>,
    sync: SyncConfig,
    nested: Store<DynamicObject>,
    host: Store<DynamicObject>,
    volumes: Store<DynamicObject>,
    classes: Store<DynamicObject>,
    /// Nested claims, host claims, nested volumes, nested classes.
    listed: Lists,
    /// UIDs of host claims of which the host says that they wait for a pod.
    waiting: Mutex<HashSet<String>>,
}

/// The resource of storage classes.
fn storage_class() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("storage.k8s.io", "v1", "StorageClass"))
}

/// Keeps host claims, nested claims and nested volumes in agreement until `shutdown`.
pub async fn run(world: Arc<World>, sync: SyncConfig, shutdown: CancellationToken) {
    let (claim, volume, class) = (core("PersistentVolumeClaim"), core("PersistentVolume"), storage_class());
    let ours = format!("{}={}", labels::CLUSTER_NAME, world.context.owner.cluster);
    let ours = watcher::Config::default().labels(&ours);
    let all = watcher::Config::default;
    let (host, host_changes) = follow(world.host_api("PersistentVolumeClaim"), &claim, ours);
    let (nested, nested_changes) = follow(Api::all_with(world.nested.clone(), &claim), &claim, all());
    let (volumes, volume_changes) = follow(Api::all_with(world.nested.clone(), &volume), &volume, all());
    let (classes, class_changes) = follow(Api::all_with(world.nested.clone(), &class), &class, all());
    let claims = Arc::new(Claims {
        world,
        sync,
        nested,
        host,
        volumes,
        classes,
        listed: Lists::new(4),
        waiting: Mutex::default(),
    });
    let (requests, queue) = queue();
    let all = |_: &DynamicObject| claims.known();
    tokio::select! {
        () = pairs::work(claims.clone(), queue, AT_ONCE, shutdown) => {}
        () = pairs::follow(&*claims, 0, nested_changes, &requests, nested_name) => {}
        () = pairs::follow(&*claims, 1, host_changes, &requests, |claim| claims.world.made_for(claim)) => {}
        () = pairs::follow(&*claims, 2, volume_changes, &requests, home_of) => {}
        // A class changes once in a blue moon, and any claim may name it.
        () = pairs::follow(&*claims, 3, class_changes, &requests, all) => {}
        () = claims.hear(&requests) => {}
        () = repair::pairs(&*claims, &claims.world.context.owner, claims.world.host_api("PersistentVolumeClaim"), &requests) => {}
    }
}

/// The claim that a nested volume of ours was made for.
fn home_of(volume: &DynamicObject) -> Option<Name> {
    let volume = json(volume);
    let (namespace, name) = home(&volume)?;
    Some(Name { namespace: namespace.to_owned(), name: name.to_owned() })
}

impl Pairs for Claims {
    fn lists(&self) -> &Lists {
        &self.listed
    }

    fn known(&self) -> Vec<Name> {
        let (nested, host, volumes) = (self.nested.state(), self.host.state(), self.volumes.state());
        let nested = nested.iter().filter_map(|claim| nested_name(claim));
        let host = host.iter().filter_map(|claim| self.world.made_for(claim));
        nested.chain(host).chain(volumes.iter().filter_map(|volume| home_of(volume))).collect()
    }

    async fn act(&self, name: &Name) -> Next {
        match self.converge(name).await {
            Ok(next) => next,
            Err(error) => self.tell(name, &error).await,
        }
    }
}

impl Claims {
    fn nested_claim(&self, name: &Name) -> Option<Value> {
        let key = ObjectRef::new_with(&name.name, core("PersistentVolumeClaim")).within(&name.namespace);
        self.nested.get(&key).map(|claim| json(&claim))
    }

    fn host_claim(&self, host_name: &str) -> Option<Arc<DynamicObject>> {
        let key = ObjectRef::new_with(host_name, core("PersistentVolumeClaim"));
        self.host.get(&key.within(&self.world.context.owner.namespace))
    }

    /// The nested class that a claim names.
    fn class_of(&self, nested: &Value) -> Option<Value> {
        let name = nested["spec"]["storageClassName"].as_str()?;
        self.classes.get(&ObjectRef::new_with(name, storage_class())).map(|class| json(&class))
    }

    /// Our nested volumes that were ever made for a claim of this name.
    fn volumes_of(&self, name: &Name) -> Vec<Value> {
        let volumes = self.volumes.state();
        volumes
            .iter()
            .filter(|volume| home_of(volume).as_ref() == Some(name))
            .map(|volume| json(volume))
            .collect()
    }

    fn is_waiting(&self, host: &Value) -> bool {
        host["metadata"]["uid"].as_str().is_some_and(|uid| lock(&self.waiting).contains(uid))
    }

    fn is_synced(&self, nested: &Value) -> bool {
        let labels =
            nested.pointer("/metadata/labels").and_then(|labels| serde_json::from_value(labels.clone()).ok());
        self.sync.selects(SyncedKind::PersistentVolumeClaim, &labels.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
