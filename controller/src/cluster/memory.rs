//! Which clusters need no second look: what was planned for them depends on nothing that has changed. Events of pods
//! and of the nested API then cost no request but that for the status.

use super::Context;
use super::build::{Kind, Site};
use super::pause::Step;
use super::plan::Servers;
use super::status::Settled;
use super::upgrade::Course;
use super::watch;
use k3k_api::v1beta1::Cluster;
use kube::ResourceExt;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a cluster goes without a second look: Secrets are not watched, and certificates expire.
pub const RESYNC: Duration = Duration::from_secs(5 * 60);

/// What went through, by the Cluster's UID.
#[derive(Debug, Default)]
pub struct Memory {
    settled: Mutex<HashMap<String, (u64, Instant, Settled)>>,
    surroundings: AtomicU64,
}

impl Memory {
    /// What was settled when everything was as `fingerprint` says, if it is recent.
    pub fn recall(&self, site: &Site, fingerprint: u64) -> Option<Settled> {
        let settled = self.lock();
        let (then, at, settled) = settled.get(&site.uid)?;
        (*then == fingerprint && at.elapsed() < RESYNC).then(|| settled.clone())
    }

    /// Remembers what went through. `fingerprint` was taken before.
    pub fn remember(&self, site: &Site, fingerprint: u64, settled: &Settled) {
        self.lock().insert(site.uid.clone(), (fingerprint, Instant::now(), settled.clone()));
    }

    /// Forgets a cluster.
    pub fn forget(&self, site: &Site) {
        self.lock().remove(&site.uid);
    }

    /// Forgets clusters that are not among `present`.
    pub fn keep(&self, present: &HashSet<String>) {
        self.lock().retain(|uid, _| present.contains(uid));
    }

    /// Something changed on which all clusters may depend: nodes or policies.
    pub fn surroundings_changed(&self) {
        self.surroundings.fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (u64, Instant, Settled)>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hash of all that is watched and that a cluster's objects are made of or compared with.
pub fn fingerprint(
    context: &Context,
    site: &Site,
    cluster: &Cluster,
    servers: &Servers,
    course: &Course,
    pause: &Step,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    servers.hash(&mut hasher);
    (&course.servers, course.partition, &course.agents).hash(&mut hasher);
    (pause.running, pause.stopped_until.as_ref().map(|until| until.0)).hash(&mut hasher);
    (cluster.metadata.generation, cluster.labels(), cluster.finalizers()).hash(&mut hasher);
    context.caches.namespace_labels(&site.namespace).hash(&mut hasher);
    for (name, hard) in context.caches.allowed(&site.namespace) {
        let hard: Vec<_> = hard.iter().map(|(resource, amount)| (resource, &amount.0)).collect();
        (name, hard).hash(&mut hasher);
    }
    context.memory.surroundings.load(Ordering::Relaxed).hash(&mut hasher);
    let names = site.names();
    let owned = [
        (Kind::Service, names.service()),
        (Kind::Ingress, names.ingress()),
        (Kind::Service, names.headless_service()),
        (Kind::Service, names.kubelet()),
        (Kind::Service, names.dns_service()),
        (Kind::StatefulSet, names.server()),
        (Kind::StatefulSet, names.agent()),
        (Kind::Deployment, names.kubelet()),
    ];
    for (kind, name) in owned {
        context.caches.owned(site, kind, &name).and_then(|object| watch::contents(&object)).hash(&mut hasher);
    }
    hasher.finish()
}
