//! Asking each nested API whether it is well, and following its node. One task per cluster.
//!
//! Before the API answers there is nothing to watch, so the task asks again and again, soon. From then on a watch
//! tells. When the watch breaks or a server pod changes, it asks again.

mod access;
mod admission;
mod classes;
mod endpoints;
mod members;
mod nested;
mod priority_classes;

use super::Guarded;
use super::build::Site;
use super::build::certificates::Authorities;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use k3k_api::offered::Offered;
use k3k_api::v1beta1::SyncConfig;
use kube::Client;
use kube::runtime::reflector::ObjectRef;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

pub use members::Members;
pub use nested::Target;
pub use priority_classes::remove_copies;

/// What is known of one nested cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The API server.
    pub api: Report,
    /// The nodes.
    pub node: Report,
}

/// Well, or not and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Well.
    pub ok: bool,
    /// One CamelCase word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Report {
    /// All is well.
    pub fn well(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ok: true, reason, message: message.into() }
    }

    /// Something is missing.
    pub fn missing(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ok: false, reason, message: message.into() }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            api: Report::missing("NotAsked", "the nested API has not been asked yet"),
            node: Report::missing("NotAsked", "the nested API has not been asked yet"),
        }
    }
}

/// The health of all clusters.
pub struct Registry {
    followed: Mutex<HashMap<String, Followed>>,
    changed: UnboundedSender<ObjectRef<Guarded>>,
    classes: classes::Known,
}

/// One cluster's entry. Dropping it ends its task.
struct Followed {
    target: Target,
    servers: String,
    members: watch::Sender<Option<Members>>,
    health: Arc<Mutex<Health>>,
    recheck: Arc<Notify>,
    task: AbortHandle,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    /// An empty registry, and the Clusters whose health changes from now on.
    pub fn new() -> (Self, UnboundedReceiver<ObjectRef<Guarded>>) {
        let (changed, receiver) = unbounded();
        (Self { followed: Mutex::default(), changed, classes: classes::Known::default() }, receiver)
    }

    /// Follows the host's classes, which clusters may be offered. `changed` is called when the virtual kubelets must be told. Never ends.
    pub async fn follow_classes(&self, host: Client, changed: impl Fn()) {
        self.classes.follow(host, changed).await;
    }

    /// Asks for a look at a cluster.
    pub fn look_at(&self, cluster: ObjectRef<Guarded>) {
        // The receiver lives as long as the controller runs.
        let _ = self.changed.unbounded_send(cluster);
    }

    /// What of the host the tenants of a cluster may name. Waits until the host's classes are known.
    pub async fn offered(&self, sync: &SyncConfig) -> Offered {
        self.classes.subscribe().offered(sync).await
    }

    /// Begins to follow a cluster, or goes on.
    pub fn follow(&self, site: &Site, target: Target) {
        let mut followed = lock(&self.followed);
        if followed.get(&site.uid).is_some_and(|entry| entry.target == target) {
            return;
        }
        let health = Arc::new(Mutex::new(Health::default()));
        let recheck = Arc::new(Notify::new());
        let publish = {
            let (health, changed) = (health.clone(), self.changed.clone());
            let object = ObjectRef::new(&site.name).within(&site.namespace);
            move |update: &dyn Fn(&mut Health)| {
                let mut health = lock(&health);
                let before = health.clone();
                update(&mut health);
                if *health != before {
                    // The receiver lives as long as the controller runs.
                    let _ = changed.unbounded_send(object.clone());
                }
            }
        };
        let members = watch::Sender::new(None);
        let surroundings = nested::Surroundings {
            recheck: recheck.clone(),
            classes: self.classes.subscribe(),
            members: members.subscribe(),
        };
        let task = tokio::spawn(nested::follow(target.clone(), surroundings, publish)).abort_handle();
        let servers = String::new();
        followed.insert(site.uid.clone(), Followed { target, servers, members, health, recheck, task });
    }

    /// Tells what the server pods look like. When that changes, the API is asked at once.
    pub fn servers_are(&self, uid: &str, servers: String) {
        if let Some(entry) = lock(&self.followed).get_mut(uid)
            && entry.servers != servers
        {
            entry.servers = servers;
            entry.recheck.notify_one();
        }
    }

    /// Tells which nodes there shall be, and of which there are pods.
    pub fn members_are(&self, uid: &str, members: Members) {
        if let Some(entry) = lock(&self.followed).get(uid) {
            entry.members.send_if_modified(|before| {
                let is_news = before.as_ref() != Some(&members);
                *before = Some(members);
                is_news
            });
        }
    }

    /// What is known of a cluster now.
    pub fn of(&self, uid: &str) -> Health {
        lock(&self.followed).get(uid).map(|entry| lock(&entry.health).clone()).unwrap_or_default()
    }

    /// The authorities of a cluster that is followed.
    pub fn authorities(&self, uid: &str) -> Option<Arc<Authorities>> {
        lock(&self.followed).get(uid).map(|entry| entry.target.authorities())
    }

    /// Stops following clusters that are not among `present`: somebody took their finalizer off.
    pub fn keep(&self, present: &HashSet<String>) {
        lock(&self.followed).retain(|uid, _| present.contains(uid));
    }

    /// Stops following a cluster.
    pub fn forget(&self, uid: &str) {
        lock(&self.followed).remove(uid);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks; the data is whole in any case.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
