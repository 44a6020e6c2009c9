//! Kinds whose host copy is a translation of the nested object and no more: Ingresses, PodDisruptionBudgets, NetworkPolicies.

mod converge;
mod kinds;
mod secrets;

use crate::converge::{Next, queue};
use crate::sync::pairs::{self, Lists, Pairs};
use crate::sync::told::{Told, notice};
use crate::sync::{copy, data, repair};
use crate::watch::{Change, Name, follow, json, nested_name};
use crate::world::World;
use backon::{ExponentialBuilder, Retryable};
use converge::Error;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::BoxStream;
use k3k_api::labels;
use k3k_api::v1beta1::{SyncConfig, SyncedKind};
use k3k_translate::copy::Desired;
use k3k_translate::{Origin, Refusal};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::runtime::events::EventType;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use serde_json::Value;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const AT_ONCE: usize = 4;
/// The lists, before those of the kind.
const NESTED: usize = 0;
const HOST: usize = 1;

/// What is particular to one kind.
trait Kind: Send + Sync + 'static {
    /// The resource, the same on both sides.
    fn resource(&self) -> ApiResource;

    /// What the nested object needs in the host. `others` are the host's objects of this kind that are not our copies.
    fn translate(&self, world: &World, nested: &Value, others: &[Value]) -> Result<Desired, Refusal>;

    /// Whether objects of the host that are not our copies decide about ours.
    fn minds_others(&self) -> bool {
        false
    }

    /// Fields of the spec that the host fills in where the copy is silent.
    fn host_fills(&self) -> &'static [&'static str] {
        &[]
    }

    /// What the nested status does not say yet of the host's, as a merge patch.
    fn told_status(&self, _nested: &Value, _host: &Value) -> Option<Value> {
        None
    }
}

/// One kind of copies.
struct Copies<K> {
    world: Arc<World>,
    sync: SyncConfig,
    synced: SyncedKind,
    kind: K,
    nested: Store<DynamicObject>,
    host: Store<DynamicObject>,
    listed: Lists,
    told: Told,
}

/// Keeps the host copies of all these kinds in agreement with the nested objects until `shutdown`.
pub async fn run(world: Arc<World>, sync: SyncConfig, shutdown: CancellationToken) {
    let namespaces = kinds::namespaces();
    let (known, namespace_changes) =
        follow(Api::all_with(world.nested.clone(), &namespaces), &namespaces, watcher::Config::default());
    let policies = kinds::NetworkPolicies { namespaces: known };
    let ingresses = kinds::Ingresses { rules: kinds::ingress_rules(&world) };
    futures::join!(
        keep(&world, &sync, SyncedKind::Ingress, ingresses, Vec::new(), &shutdown),
        keep(&world, &sync, SyncedKind::PodDisruptionBudget, kinds::Budgets, Vec::new(), &shutdown),
        keep(&world, &sync, SyncedKind::NetworkPolicy, policies, vec![namespace_changes.boxed()], &shutdown),
    );
}

/// Keeps one kind. Any change in `surroundings` may concern every object of it.
async fn keep<K: Kind>(
    world: &Arc<World>,
    sync: &SyncConfig,
    synced: SyncedKind,
    kind: K,
    surroundings: Vec<BoxStream<'static, Change>>,
    shutdown: &CancellationToken,
) {
    let resource = kind.resource();
    let in_host = Api::namespaced_with(world.host.clone(), &world.context.owner.namespace, &resource);
    let ours = format!("{}={}", labels::CLUSTER_NAME, world.context.owner.cluster);
    if !sync.copies(synced) {
        // They may have been copied before.
        tokio::select! {
            () = remove_all(world, &in_host, &ours) => {}
            () = shutdown.cancelled() => {}
        }
        return shutdown.cancelled().await;
    }
    let watched = watcher::Config::default();
    let watched = if kind.minds_others() { watched } else { watched.labels(&ours) };
    let (host, host_changes) = follow(in_host, &resource, watched);
    let everywhere = Api::all_with(world.nested.clone(), &resource);
    let (nested, nested_changes) = follow(everywhere, &resource, watcher::Config::default());
    let copies = Arc::new(Copies {
        world: world.clone(),
        sync: sync.clone(),
        synced,
        kind,
        nested,
        host,
        listed: Lists::new(2 + surroundings.len()),
        told: Told::default(),
    });
    let (requests, queue) = queue();
    let around = surroundings.into_iter().enumerate().map(|(index, changes)| {
        pairs::follow(&*copies, HOST + 1 + index, changes, &requests, |_: &DynamicObject| copies.known())
    });
    tokio::select! {
        () = pairs::work(copies.clone(), queue, AT_ONCE, shutdown.clone()) => {}
        () = pairs::follow(&*copies, NESTED, nested_changes, &requests, nested_name) => {}
        () = pairs::follow(&*copies, HOST, host_changes, &requests, |host| copies.concerned_by(host)) => {}
        () = repair::pairs(&*copies, &copies.world.context.owner, copies.host_api(), &requests) => {}
        () = async { drop(join_all(around).await); futures::future::pending().await } => {}
    }
}

/// Removes all our copies of a kind that is not copied any more.
async fn remove_all(world: &World, api: &Api<DynamicObject>, ours: &str) {
    let attempt = || async {
        for object in api.list(&ListParams::default().labels(ours)).await? {
            if world.made_for(&object).is_some() {
                copy::remove(api, &json(&object)).await?;
            }
        }
        Ok::<_, kube::Error>(())
    };
    let patiently = ExponentialBuilder::default().without_max_times();
    let notify = |error: &kube::Error, _| tracing::warn!(%error, "copies that are not wanted any more stay in the host for now");
    // It is tried until it succeeds.
    let _ = attempt.retry(patiently).notify(notify).await;
}

impl<K: Kind> Copies<K> {
    /// The pairs that a change of a host object concerns.
    fn concerned_by(&self, host: &DynamicObject) -> Vec<Name> {
        match self.world.made_for(host) {
            Some(name) => vec![name],
            None if self.kind.minds_others() => self.known(),
            None => Vec::new(),
        }
    }

    fn nested_object(&self, name: &Name) -> Option<Value> {
        let key = ObjectRef::new_with(&name.name, self.kind.resource()).within(&name.namespace);
        self.nested.get(&key).map(|object| json(&object))
    }

    fn is_selected(&self, nested: &Value) -> bool {
        let labels = serde_json::from_value(nested["metadata"]["labels"].clone()).unwrap_or_default();
        self.sync.selects(self.synced, &labels)
    }

    /// The host's object under the name of the copy, and whom it was made for.
    fn host_object(&self, host_name: &str) -> Option<(Value, Option<Origin>)> {
        let owner = &self.world.context.owner;
        let key = ObjectRef::new_with(host_name, self.kind.resource()).within(&owner.namespace);
        let host = self.host.get(&key)?;
        Some((json(&host), crate::watch::origin(owner, &host)))
    }

    /// Objects of the host that are not our copies, if they decide.
    fn others(&self) -> Vec<Value> {
        if !self.kind.minds_others() {
            return Vec::new();
        }
        let all = self.host.state();
        all.iter().filter(|host| self.world.made_for(host).is_none()).map(|host| json(host)).collect()
    }

    fn host_api(&self) -> Api<DynamicObject> {
        let namespace = &self.world.context.owner.namespace;
        Api::namespaced_with(self.world.host.clone(), namespace, &self.kind.resource())
    }

    /// Tells the tenant what keeps an object from being copied. Gives what follows.
    async fn tell(&self, name: &Name, error: &Error) -> Next {
        let kind = self.kind.resource();
        let (reason, next) = match error {
            Error::Data(data::Error::LeftOut { .. }) => ("NotSynced", Next::Refused),
            Error::Api { .. } | Error::Data(_) => {
                tracing::warn!(kind = kind.kind, object = %name, %error, "a copy is out of date");
                return Next::Retry;
            }
            // The object itself must change, and a change brings us back.
            Error::Refused(_) => ("NotSupported", Next::Done),
            Error::Taken(_) => ("HostNameTaken", Next::Refused),
            Error::Denied(denied) => (denied.reason, Next::Refused),
        };
        let message = error.to_string();
        tracing::info!(kind = kind.kind, object = %name, reason, message, "an object is not copied as its tenant asked");
        if let Some(nested) = self.nested_object(name) {
            notice(&self.world, &kind, &nested, reason, EventType::Warning, &message).await;
        }
        next
    }
}

impl<K: Kind> Pairs for Copies<K> {
    fn lists(&self) -> &Lists {
        &self.listed
    }

    fn known(&self) -> Vec<Name> {
        let (nested, host) = (self.nested.state(), self.host.state());
        let nested = nested.iter().filter_map(|object| nested_name(object));
        nested.chain(host.iter().filter_map(|object| self.world.made_for(object))).collect()
    }

    async fn act(&self, name: &Name) -> Next {
        match self.converge(name).await {
            Ok(next) => next,
            Err(error) => self.tell(name, &error).await,
        }
    }
}

#[cfg(test)]
mod tests;
