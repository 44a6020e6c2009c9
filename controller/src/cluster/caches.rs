//! What the controller remembers of the host: only objects of clusters, and of those only what it reads.

use super::Guarded;
use super::build::capacity::Resources;
use super::build::{Kind, Site};
use k3k_api::labels::{self, component};
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod, ResourceQuota};
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Read sides of the caches. `watch` holds the write sides.
pub struct Caches {
    /// All Clusters.
    pub clusters: Store<Guarded>,
    /// Our Services, StatefulSets and Deployments.
    pub owned: Vec<(Kind, Store<DynamicObject>)>,
    /// Our server and kubelet pods, without their specs.
    pub pods: Store<Pod>,
    /// Namespaces that hold clusters.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// The host's nodes: labels and what they can hold.
    pub nodes: Store<Node>,
    /// The quotas of all namespaces: what each allows, not what is in use.
    pub quotas: Store<ResourceQuota>,
    /// Events of StatefulSets that could not make a pod.
    pub refusals: Store<Event>,
    ready: OnceCell<()>,
}

impl Caches {
    /// The read sides; nothing is known yet.
    pub fn new(
        clusters: Store<Guarded>,
        owned: Vec<(Kind, Store<DynamicObject>)>,
        pods: Store<Pod>,
        namespaces: Store<PartialObjectMeta<Namespace>>,
        nodes: Store<Node>,
        quotas: Store<ResourceQuota>,
        refusals: Store<Event>,
    ) -> Self {
        Self { clusters, owned, pods, namespaces, nodes, quotas, refusals, ready: OnceCell::new() }
    }

    /// Waits for the first list of each.
    pub async fn ready(&self) {
        // A store wakes only the last of those who wait for it, so one waits for all of us.
        let all = async {
            // An error means that the watch has ended, which only happens at shutdown.
            let _ = self.pods.wait_until_ready().await;
            let _ = self.namespaces.wait_until_ready().await;
            let _ = self.nodes.wait_until_ready().await;
            let _ = self.quotas.wait_until_ready().await;
            for (_, store) in &self.owned {
                let _ = store.wait_until_ready().await;
            }
        };
        self.ready.get_or_init(|| all).await;
    }

    /// One of our objects. None also if it is not ours, or too new to be known.
    pub fn owned(&self, site: &Site, kind: Kind, name: &str) -> Option<Arc<DynamicObject>> {
        let (_, store) = self.owned.iter().find(|(candidate, _)| *candidate == kind)?;
        store.get(&ObjectRef::new_with(name, kind.resource()).within(&site.namespace))
    }

    /// Pods of one part of a cluster, see [`component`].
    pub fn pods(&self, site: &Site, part: &str) -> Vec<Arc<Pod>> {
        let of = |pod: &Pod, key: &str| pod.labels().get(key).cloned().unwrap_or_default();
        let mut pods = self.pods.state_filter(|pod| {
            pod.namespace().as_deref() == Some(&site.namespace)
                && of(pod, labels::CLUSTER) == site.name
                && of(pod, labels::COMPONENT) == part
        });
        pods.sort_by_key(|pod| pod.name_any());
        pods
    }

    /// Server pods of a cluster.
    pub fn server_pods(&self, site: &Site) -> Vec<Arc<Pod>> {
        self.pods(site, component::SERVER)
    }

    /// Why one of our StatefulSets or Deployments cannot make its pods: what the host said last.
    pub fn refusal(&self, site: &Site, kind: Kind, name: &str) -> Option<String> {
        let object = self.owned(site, kind, name)?;
        // A Deployment says it in its status, a StatefulSet only in its Events.
        let conditions = object.data["status"]["conditions"].as_array().into_iter().flatten();
        let failure =
            conditions.filter(|condition| condition["type"] == "ReplicaFailure").find_map(|condition| {
                (condition["status"] == "True")
                    .then(|| condition["message"].as_str().map(str::to_owned))
                    .flatten()
            });
        failure.or_else(|| {
            let events = self.refusals.state_filter(|event| {
                event.involved_object.uid == object.metadata.uid && event.involved_object.uid.is_some()
            });
            let last = events.iter().max_by_key(|event| {
                let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
                let time = series.or(event.event_time.as_ref()).map(|time| time.0);
                time.max(event.last_timestamp.as_ref().map(|time| time.0))
            });
            last.and_then(|event| event.message.clone())
        })
    }

    /// What the quotas of a namespace allow, each under its name. Those that are about some pods only bound nothing that a node offers.
    pub fn allowed(&self, namespace: &str) -> BTreeMap<String, Resources> {
        let quotas = self.quotas.state_filter(|quota| quota.namespace().as_deref() == Some(namespace));
        let allowed = quotas.iter().filter_map(|quota| {
            let spec = quota.spec.as_ref()?;
            let is_of_all = spec.scopes.as_ref().is_none_or(Vec::is_empty) && spec.scope_selector.is_none();
            Some((quota.name_any(), spec.hard.clone().filter(|_| is_of_all)?))
        });
        allowed.collect()
    }

    /// Labels of a namespace that is known to hold clusters.
    pub fn namespace_labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.namespaces.get(&ObjectRef::new(name)).map(|namespace| namespace.labels().clone())
    }

    /// The oldest other cluster in the namespace, if it is older than `site`'s. Of two that were made in one second the name decides.
    pub fn older_cluster(&self, site: &Site) -> Option<String> {
        let clusters =
            self.clusters.state_filter(|cluster| cluster.namespace().as_deref() == Some(&site.namespace));
        let made = |cluster: &Guarded| {
            (cluster.meta().creation_timestamp.as_ref().map(|time| time.0), cluster.name_any())
        };
        let oldest = clusters.iter().min_by_key(|cluster| made(cluster))?;
        let is_known = clusters.iter().any(|cluster| cluster.uid().as_ref() == Some(&site.uid));
        (is_known && oldest.uid().as_ref() != Some(&site.uid)).then(|| oldest.name_any())
    }

    /// Names of the clusters in a namespace.
    pub fn clusters_in(&self, namespace: &str) -> Vec<ObjectRef<Guarded>> {
        let clusters =
            self.clusters.state_filter(|cluster| cluster.namespace().as_deref() == Some(namespace));
        clusters.iter().map(|cluster| ObjectRef::from_obj(&**cluster)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::reflector::{self, store::Writer};
    use kube::runtime::watcher;

    #[tokio::test]
    async fn everybody_who_waits_is_woken() {
        let (pods, mut pod_writer) = reflector::store::<Pod>();
        let (namespaces, mut namespace_writer) = reflector::store();
        let (nodes, mut node_writer) = reflector::store::<Node>();
        let (quotas, mut quota_writer) = reflector::store::<ResourceQuota>();
        let (refusals, _writer): (_, Writer<Event>) = reflector::store();
        let (clusters, _writer): (_, Writer<Guarded>) = reflector::store();
        let caches = Arc::new(Caches::new(clusters, Vec::new(), pods, namespaces, nodes, quotas, refusals));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let caches = caches.clone();
                tokio::spawn(async move { caches.ready().await })
            })
            .collect();
        // Lets them run until they wait.
        tokio::task::yield_now().await;
        pod_writer.apply_watcher_event(&watcher::Event::InitDone);
        namespace_writer.apply_watcher_event(&watcher::Event::InitDone);
        node_writer.apply_watcher_event(&watcher::Event::InitDone);
        quota_writer.apply_watcher_event(&watcher::Event::InitDone);
        let woken = futures::future::join_all(waiting);
        tokio::time::timeout(std::time::Duration::from_secs(60), woken).await.expect("all are woken");
    }
}
