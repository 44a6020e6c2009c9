//! The watches that trigger reconciles, and the caches that they fill.

use super::build::{Kind, nodes};
use super::caches::Caches;
use super::memory::Memory;
use super::{Context, Guarded, listing, reconcile, restart};
use futures::channel::mpsc::{self, UnboundedReceiver};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k3k_api::labels;
use k3k_api::names::ClusterNames;
use k3k_api::v1beta1::{Phase, VirtualClusterPolicy};
use k8s_openapi::api::core::v1::{
    Container, Event, Namespace, Node, NodeSpec, NodeStatus, Pod, PodSpec, ResourceQuota,
};
use kube::api::{DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube::runtime::{
    Config, Controller, Predicate as _, PredicateConfig, WatchStreamExt as _, predicates, watcher,
};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::Map;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Kinds whose objects trigger reconciles of their owner.
const OWNED: [Kind; 4] = [Kind::Service, Kind::Ingress, Kind::StatefulSet, Kind::Deployment];

/// The caches, and the controller that fills them when it runs.
pub fn watches(client: &Client, memory: &Arc<Memory>) -> (Caches, Controller<Guarded>) {
    let (clusters, writer) = reflector::store::<Guarded>();
    let (gone, siblings) = mpsc::unbounded();
    let known = clusters.clone();
    let stream = watcher(Api::<Guarded>::all(client.clone()), listing::in_pages())
        .backoff(restart::after_errors())
        .modify(|cluster: &mut Guarded| cluster.meta_mut().managed_fields = None)
        .reflect(writer)
        .inspect_ok(move |event| {
            // A namespace may have room for one cluster only, and another waits for that.
            if let watcher::Event::Delete(deleted) = event {
                for sibling in refs(&known, |cluster| cluster.namespace() == deleted.namespace()) {
                    // The receiver lives as long as the controller runs.
                    let _ = gone.unbounded_send(sibling);
                }
            }
        })
        .applied_objects()
        // Our own writes to the status need no answer.
        .predicate_filter(
            predicates::generation.combine(predicates::finalizers).combine(predicates::labels),
            PredicateConfig::default(),
        );
    let mut controller = Controller::for_stream(stream, clusters.clone()).trigger_backoff(restart::NoPause);
    controller = controller.reconcile_on(siblings);

    let mut owned = Vec::new();
    for kind in OWNED {
        let (store, stream) = owned_objects(client, kind);
        controller = controller.owns_stream_with(stream, kind.resource());
        owned.push((kind, store));
    }

    let (pods, writer) = reflector::store::<Pod>();
    let stream = watcher(Api::<Pod>::all(client.clone()), ours())
        .backoff(restart::after_errors())
        .modify(trim_pod)
        .reflect(writer);
    controller = controller.watches_stream(stream.touched_objects(), |pod: Pod| {
        let name = pod.labels().get(labels::CLUSTER).cloned();
        name.zip(pod.namespace()).map(|(name, namespace)| ObjectRef::new(&name).within(&namespace))
    });

    let (namespaces, writer) = reflector::store::<PartialObjectMeta<Namespace>>();
    let claimed = listing::in_pages().labels(&format!("{}=true", labels::CLUSTER_NAMESPACE));
    let stream = watcher(Api::<PartialObjectMeta<Namespace>>::all(client.clone()), claimed)
        .backoff(restart::after_errors())
        .modify(|namespace| trim_metadata(&mut namespace.metadata))
        .reflect(writer);
    let known = clusters.clone();
    controller = controller.watches_stream(
        stream.touched_objects(),
        move |namespace: PartialObjectMeta<Namespace>| {
            let name = namespace.name_any();
            refs(&known, move |cluster| cluster.namespace().as_deref() == Some(&name))
        },
    );

    let (host_nodes, writer) = reflector::store::<Node>();
    let stream = watcher(Api::<Node>::all(client.clone()), listing::in_pages())
        .backoff(restart::after_errors())
        .modify(trim_node)
        .reflect(writer);
    let (known, offered, remembered) = (clusters.clone(), host_nodes.clone(), memory.clone());
    let last = AtomicU64::new(0);
    controller = controller.watches_stream(stream.touched_objects(), move |_: Node| {
        // Heartbeats change nothing for anybody. A predicate on the stream would hide that a node is gone.
        let now = offers(&offered.state());
        if last.swap(now, Ordering::Relaxed) == now {
            return Vec::new();
        }
        remembered.surroundings_changed();
        refs(&known, |_| true)
    });

    let (quotas, writer) = reflector::store::<ResourceQuota>();
    let stream = watcher(Api::<ResourceQuota>::all(client.clone()), listing::in_pages())
        .backoff(restart::after_errors())
        .modify(trim_quota)
        .reflect(writer);
    let known = clusters.clone();
    // Most changes are of what is in use; a look that finds nothing new ends at the fingerprint.
    controller = controller.watches_stream(stream.touched_objects(), move |quota: ResourceQuota| {
        let namespace = quota.namespace();
        refs(&known, move |cluster| cluster.namespace() == namespace)
    });

    controller = watch_policies(client, controller, &clusters, &namespaces, memory);

    let (refusals, writer) = reflector::store::<Event>();
    let failed = listing::in_pages().fields("reason=FailedCreate,involvedObject.kind=StatefulSet");
    let stream = watcher(Api::<Event>::all(client.clone()), failed)
        .backoff(restart::after_errors())
        .modify(|event| trim_metadata(&mut event.metadata))
        .reflect(writer);
    let known = clusters.clone();
    controller = controller.watches_stream(stream.applied_objects(), move |event: Event| {
        let (name, namespace) = (event.involved_object.name, event.involved_object.namespace);
        refs(&known, move |cluster| {
            let cluster_name = cluster.name_any();
            let names = ClusterNames(&cluster_name);
            let owners = [names.server(), names.agent()];
            cluster.namespace() == namespace && name.as_ref().is_some_and(|name| owners.contains(name))
        })
    });

    (Caches::new(clusters, owned, pods, namespaces, host_nodes, quotas, refusals), controller)
}

/// UID and generation of a policy.
type State = (Option<String>, Option<i64>);

/// Clusters of the namespaces that name a policy follow it.
fn watch_policies(
    client: &Client,
    controller: Controller<Guarded>,
    clusters: &Store<Guarded>,
    namespaces: &Store<PartialObjectMeta<Namespace>>,
    memory: &Arc<Memory>,
) -> Controller<Guarded> {
    let bound = (clusters.clone(), namespaces.clone());
    let remembered = memory.clone();
    let (policies, writer) = reflector::store::<PartialObjectMeta<VirtualClusterPolicy>>();
    let all = Api::<PartialObjectMeta<VirtualClusterPolicy>>::all(client.clone());
    let stream = watcher(all, listing::in_pages())
        .backoff(restart::after_errors())
        .modify(|policy| trim_metadata(&mut policy.metadata))
        .reflect(writer)
        .touched_objects();
    let before: Mutex<HashMap<String, State>> = Mutex::default();
    controller.watches_stream(stream, move |policy: PartialObjectMeta<VirtualClusterPolicy>| {
        // Its status, which we write ourselves, changes nothing for clusters.
        let now =
            policies.get(&ObjectRef::from_obj(&policy)).map(|known| (known.uid(), known.metadata.generation));
        let mut seen = before.lock().unwrap_or_else(PoisonError::into_inner);
        let then = match &now {
            Some(state) => seen.insert(policy.name_any(), state.clone()),
            None => seen.remove(&policy.name_any()),
        };
        if then == now {
            return Vec::new();
        }
        remembered.surroundings_changed();
        let (clusters, namespaces) = &bound;
        let name = policy.name_any();
        let names = |namespace: &PartialObjectMeta<Namespace>| {
            namespace.labels().get(labels::POLICY_NAME) == Some(&name)
        };
        let bound: Vec<String> =
            namespaces.state_filter(names).iter().map(|namespace| namespace.name_any()).collect();
        refs(clusters, |cluster| cluster.namespace().is_some_and(|namespace| bound.contains(&namespace)))
    })
}

/// Runs until `shutdown`. What is being reconciled then is cut off: whoever acts next does it again, as after a
/// crash. The controller's own graceful shutdown would wait for all repetitions that are due in the future.
pub async fn run(
    controller: Controller<Guarded>,
    context: Arc<Context>,
    changes: UnboundedReceiver<ObjectRef<Guarded>>,
    concurrency: u16,
    shutdown: CancellationToken,
) {
    let running = controller
        .with_config(Config::default().concurrency(concurrency))
        .reconcile_on(changes)
        .run(reconcile::reconcile, reconcile::error_policy, context.clone())
        .for_each(|result| {
            // Failed reconciles are logged where their retry is decided.
            if let Err(error) = result
                && !matches!(error, kube::runtime::controller::Error::ReconcilerFailed(..))
            {
                tracing::debug!(%error, "controller");
            }
            take_stock(&context);
            std::future::ready(())
        });
    tokio::select! {
        () = running => {}
        () = shutdown.cancelled() => {}
    }
}

/// Counts the clusters by phase, and drops what is kept for those that are gone.
fn take_stock(context: &Context) {
    let mut present = HashSet::new();
    let mut phases: HashMap<&'static str, i64> = [
        Phase::Pending,
        Phase::Provisioning,
        Phase::Ready,
        Phase::Failed,
        Phase::Terminating,
        Phase::Unknown,
    ]
    .into_iter()
    .map(|phase| (phase.as_str(), 0))
    .collect();
    for cluster in context.caches.clusters.state() {
        present.extend(cluster.uid());
        let status = cluster.0.as_ref().ok().and_then(|cluster| cluster.status.as_ref());
        *phases.entry(status.map_or(Phase::Unknown, |status| status.phase).as_str()).or_default() += 1;
    }
    context.metrics.set_clusters(phases.into_iter());
    context.health.keep(&present);
    context.memory.keep(&present);
    context.retries.keep(&present);
}

/// Objects that the controller made.
fn ours() -> watcher::Config {
    listing::in_pages().labels(labels::COMPONENT)
}

fn owned_objects(
    client: &Client,
    kind: Kind,
) -> (Store<DynamicObject>, impl Stream<Item = Result<DynamicObject, watcher::Error>> + Send + use<>) {
    let writer = Writer::<DynamicObject>::new(kind.resource());
    let store = writer.as_reader();
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
    let stream = watcher(api, ours())
        .backoff(restart::after_errors())
        .modify(|object| {
            object.metadata.managed_fields = None;
            trim_status(object);
        })
        .reflect(writer)
        .touched_objects();
    (store, stream)
}

/// Of the status only that is kept that tells why there are no pods, which pods themselves tell more exactly, and where
/// a load balancer is.
fn trim_status(object: &mut DynamicObject) {
    let Some(fields) = object.data.as_object_mut() else { return };
    let Some(mut status) = fields.remove("status") else { return };
    let mut kept = Map::new();
    if let Some(balancer) = status.get("loadBalancer").filter(|balancer| balancer["ingress"].is_array()) {
        kept.insert("loadBalancer".to_owned(), balancer.clone());
    }
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] == "ReplicaFailure");
        if !conditions.is_empty() {
            kept.insert("conditions".to_owned(), conditions.clone().into());
        }
    }
    if !kept.is_empty() {
        fields.insert("status".to_owned(), kept.into());
    }
}

/// A hash of everything but the status and the counters of the API server.
pub fn contents(object: &DynamicObject) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let metadata = &object.metadata;
    (&metadata.uid, &metadata.labels, &metadata.annotations, metadata.deletion_timestamp.is_some())
        .hash(&mut hasher);
    serde_json::to_string(&metadata.owner_references).ok()?.hash(&mut hasher);
    object.data.to_string().hash(&mut hasher);
    Some(hasher.finish())
}

fn refs(clusters: &Store<Guarded>, wanted: impl Fn(&Guarded) -> bool) -> Vec<ObjectRef<Guarded>> {
    clusters
        .state_filter(|cluster| wanted(cluster))
        .iter()
        .map(|cluster| ObjectRef::from_obj(&**cluster))
        .collect()
}

fn trim_metadata(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.annotations = None;
}

/// Judging a pod needs its labels and its status, and what it was made for is said by its image.
fn trim_pod(pod: &mut Pod) {
    trim_metadata(&mut pod.metadata);
    pod.spec = pod.spec.take().map(|spec| PodSpec {
        containers: spec.containers.into_iter().take(1).map(image_only).collect(),
        ..PodSpec::default()
    });
}

fn image_only(container: Container) -> Container {
    Container { name: container.name, image: container.image, ..Container::default() }
}

/// Capacity needs a node's labels and what it can hold. Its list of images alone would fill the memory.
fn trim_node(node: &mut Node) {
    trim_metadata(&mut node.metadata);
    if let Some(spec) = &mut node.spec {
        *spec =
            NodeSpec { unschedulable: spec.unschedulable, taints: spec.taints.take(), ..NodeSpec::default() };
    }
    if let Some(status) = &mut node.status {
        *status = NodeStatus {
            addresses: status.addresses.take(),
            allocatable: status.allocatable.take(),
            capacity: status.capacity.take(),
            conditions: status.conditions.take().map(|mut all| {
                all.retain(|condition| nodes::CONDITIONS.contains(&condition.type_.as_str()));
                all
            }),
            node_info: status.node_info.take(),
            ..NodeStatus::default()
        };
    }
}

fn trim_quota(quota: &mut ResourceQuota) {
    trim_metadata(&mut quota.metadata);
    quota.status = None;
}

/// A hash of what clusters are told of nodes.
fn offers(all: &[Arc<Node>]) -> u64 {
    let shown = nodes::eligible(all.iter().map(|node| &**node), &BTreeMap::new(), &[]);
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&shown).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
