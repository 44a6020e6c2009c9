//! The watches that trigger reconciles, and the caches that they fill.

use super::build::Kind;
use super::build::network::Surroundings;
use super::caches::{Caches, bound_to, surroundings};
use super::replicas::Replicas;
use super::{Context, Guarded, audit, reconcile};
use crate::cluster::watch::contents;
use crate::cluster::{listing, restart};
use futures::channel::mpsc::{self, UnboundedSender};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k3k_api::labels;
use k3k_api::managers;
use k3k_api::v1beta1::Cluster;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, NodeSpec, NodeStatus};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube::runtime::{
    Config, Controller, Predicate as _, PredicateConfig, WatchStreamExt as _, predicates, watcher,
};
use kube::{Api, Client, Resource, ResourceExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;

/// What happens within so short a time is looked at once: a namespace and its objects change together.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// Who is told of changes, besides the policies that watches name themselves.
#[derive(Clone)]
struct Bell {
    policies: Store<Guarded>,
    more: UnboundedSender<ObjectRef<Guarded>>,
    sweep: Arc<Notify>,
    audit: Arc<audit::Bell>,
}

impl Bell {
    /// All policies are to be looked at.
    fn all(&self) -> Vec<ObjectRef<Guarded>> {
        self.policies.state().iter().map(|policy| ObjectRef::from_obj(&**policy)).collect()
    }

    /// Budgets may have to be dealt out anew.
    fn budgets(&self) -> Vec<ObjectRef<Guarded>> {
        let has_tenant = |policy: &Guarded| {
            policy.0.as_ref().is_ok_and(|policy| {
                let resources = policy.spec.resources.as_ref();
                policy.spec.tenancy.is_some()
                    || resources.is_some_and(|resources| !resources.per_tenant.is_empty())
            })
        };
        let policies = self.policies.state_filter(|policy| has_tenant(policy));
        policies.iter().map(|policy| ObjectRef::from_obj(&**policy)).collect()
    }
}

/// The caches, the controller that fills them when it runs, and what says that there may be something to sweep. `audit` is rung when what
/// breaks policies may be other things now.
pub fn watches(
    client: &Client,
    system: &str,
    audit: &Arc<audit::Bell>,
) -> (Caches, Controller<Guarded>, Arc<Notify>) {
    let (policies, writer) = reflector::store::<Guarded>();
    let (more, asked) = mpsc::unbounded();
    let sweep = Arc::new(Notify::new());
    let bell = Bell { policies: policies.clone(), more, sweep: sweep.clone(), audit: audit.clone() };

    let rung = bell.clone();
    let stream = watcher(Api::<Guarded>::all(client.clone()), listing::in_pages())
        .backoff(restart::after_errors())
        .modify(|policy: &mut Guarded| policy.meta_mut().managed_fields = None)
        .reflect(writer)
        .inspect_ok(policies_changed(rung))
        .applied_objects()
        // Our own writes to the status need no answer.
        .predicate_filter(predicates::generation.combine(predicates::finalizers), PredicateConfig::default());
    let controller = Controller::for_stream(stream, policies.clone()).trigger_backoff(restart::NoPause);
    let controller = controller.reconcile_on(asked);

    let (namespaces, controller) = watch_namespaces(client, controller, &bell);
    let (clusters, controller) = watch_clusters(client, controller, &namespaces);
    let (nodes, endpoints, controller) = watch_network(client, controller, &bell);
    let (storage_classes, controller) = watch_storage_classes(client, controller, &bell);
    let (replicas, controller) = watch_replicas(client, controller, &bell, system);
    let (owned, controller) = watch_owned(client, controller, &namespaces, &bell);
    let ready = OnceCell::new();
    (
        Caches { policies, namespaces, clusters, nodes, storage_classes, endpoints, replicas, owned, ready },
        controller,
        sweep,
    )
}

/// A policy that comes or goes or changes concerns the others of its tenant, and what is to be swept. Its status does not.
fn policies_changed(bell: Bell) -> impl FnMut(&watcher::Event<Guarded>) {
    let mut known: HashMap<String, Option<i64>> = HashMap::new();
    move |event| {
        let changed = match event {
            watcher::Event::Apply(policy) | watcher::Event::InitApply(policy) => {
                let generation = policy.meta().generation;
                known.insert(policy.name_any(), generation) != Some(generation)
                    || policy.meta().deletion_timestamp.is_some()
            }
            watcher::Event::Delete(policy) => {
                known.remove(&policy.name_any());
                true
            }
            watcher::Event::Init => false,
            // What went while nobody watched is told by no event of its own.
            watcher::Event::InitDone => true,
        };
        if changed {
            bell.sweep.notify_one();
            bell.audit.ring();
            for policy in bell.budgets() {
                // The receiver lives as long as the controller runs.
                let _ = bell.more.unbounded_send(policy);
            }
        }
    }
}

type Namespaces = Store<PartialObjectMeta<Namespace>>;

fn watch_namespaces(
    client: &Client,
    controller: Controller<Guarded>,
    bell: &Bell,
) -> (Namespaces, Controller<Guarded>) {
    let (namespaces, writer) = reflector::store::<PartialObjectMeta<Namespace>>();
    let stream = watcher(Api::<PartialObjectMeta<Namespace>>::all(client.clone()), listing::in_pages())
        .backoff(restart::after_errors())
        .modify(|namespace| trim_namespace(&mut namespace.metadata))
        .reflect(writer)
        .touched_objects();
    let (known, bell) = (namespaces.clone(), bell.clone());
    let before: Mutex<HashMap<String, String>> = Mutex::default();
    let controller = controller.watches_stream(stream, move |namespace: PartialObjectMeta<Namespace>| {
        let name = namespace.name_any();
        let present =
            known.get(&ObjectRef::new(&name)).filter(|known| known.metadata.deletion_timestamp.is_none());
        let now = present.as_deref().and_then(bound_to).map(str::to_owned);
        let mut bindings = before.lock().unwrap_or_else(PoisonError::into_inner);
        let then = match &now {
            Some(policy) => bindings.insert(name, policy.clone()),
            None => bindings.remove(&name),
        };
        bell.sweep.notify_one();
        if then == now {
            return now.iter().map(|policy| ObjectRef::new(policy)).collect();
        }
        bell.audit.ring();
        let mut concerned = bell.budgets();
        concerned.extend(then.iter().chain(&now).map(|policy| ObjectRef::new(policy)));
        concerned
    });
    (namespaces, controller)
}

fn watch_clusters(
    client: &Client,
    controller: Controller<Guarded>,
    namespaces: &Namespaces,
) -> (Store<PartialObjectMeta<Cluster>>, Controller<Guarded>) {
    let (clusters, writer) = reflector::store::<PartialObjectMeta<Cluster>>();
    let stream = watcher(Api::<PartialObjectMeta<Cluster>>::all(client.clone()), listing::in_pages())
        .backoff(restart::after_errors())
        .modify(|cluster| {
            trim_metadata(&mut cluster.metadata);
            cluster.metadata.labels = None;
        })
        .reflect(writer)
        .touched_objects();
    let (known, namespaces) = (clusters.clone(), namespaces.clone());
    let before: Mutex<HashMap<ObjectRef<PartialObjectMeta<Cluster>>, String>> = Mutex::default();
    let controller = controller.watches_stream(stream, move |cluster: PartialObjectMeta<Cluster>| {
        let reference = ObjectRef::from_obj(&cluster);
        let now = known.get(&reference).and_then(|known| known.uid());
        let mut counted = before.lock().unwrap_or_else(PoisonError::into_inner);
        let then = match &now {
            Some(uid) => counted.insert(reference, uid.clone()),
            None => counted.remove(&reference),
        };
        // Only how many there are is told.
        if then == now {
            return None;
        }
        let namespace = namespaces.get(&ObjectRef::new(&cluster.namespace()?))?;
        bound_to(&namespace).map(ObjectRef::new)
    });
    (clusters, controller)
}

fn watch_network(
    client: &Client,
    mut controller: Controller<Guarded>,
    bell: &Bell,
) -> (Store<Node>, Store<EndpointSlice>, Controller<Guarded>) {
    let (nodes, node_writer) = reflector::store::<Node>();
    let (endpoints, endpoint_writer) = reflector::store::<EndpointSlice>();
    let last: Arc<Mutex<Surroundings>> = Arc::default();
    let (known_nodes, known_endpoints) = (nodes.clone(), endpoints.clone());
    let changed = move || {
        let now = surroundings(&known_nodes.state(), &known_endpoints.state());
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *last != now;
        *last = now;
        changed
    };
    let stream = watcher(Api::<Node>::all(client.clone()), listing::in_pages())
        .backoff(restart::after_errors())
        .modify(trim_node)
        .reflect(node_writer)
        .touched_objects();
    let (rung, moved) = (bell.clone(), changed.clone());
    controller =
        controller.watches_stream(stream, move |_: Node| if moved() { rung.all() } else { Vec::new() });

    let slices = listing::in_pages().fields("metadata.name=kubernetes");
    let stream = watcher(Api::<EndpointSlice>::namespaced(client.clone(), "default"), slices)
        .backoff(restart::after_errors())
        .modify(|slice| trim_metadata(&mut slice.metadata))
        .reflect(endpoint_writer)
        .touched_objects();
    let rung = bell.clone();
    controller = controller
        .watches_stream(stream, move |_: EndpointSlice| if changed() { rung.all() } else { Vec::new() });
    (nodes, endpoints, controller)
}

fn watch_storage_classes(
    client: &Client,
    controller: Controller<Guarded>,
    bell: &Bell,
) -> (Store<PartialObjectMeta<StorageClass>>, Controller<Guarded>) {
    let (classes, writer) = reflector::store::<PartialObjectMeta<StorageClass>>();
    let all = Api::<PartialObjectMeta<StorageClass>>::all(client.clone());
    let stream = watcher(all, listing::in_pages())
        .backoff(restart::after_errors())
        .modify(|class| trim_metadata(&mut class.metadata))
        .reflect(writer)
        .touched_objects();
    let bell = bell.clone();
    let controller = controller.watches_stream(stream, move |_: PartialObjectMeta<StorageClass>| bell.all());
    (classes, controller)
}

type Owned = Vec<(Kind, Store<DynamicObject>)>;

/// A policy counts as observed when every replica of the webhook decides by it.
fn watch_replicas(
    client: &Client,
    controller: Controller<Guarded>,
    bell: &Bell,
    system: &str,
) -> (Replicas, Controller<Guarded>) {
    let (leases, lease_writer) = reflector::store::<PartialObjectMeta<Lease>>();
    let theirs = listing::in_pages().labels(&format!("{}=true", labels::WEBHOOK_REPLICA));
    let said = watcher(Api::<PartialObjectMeta<Lease>>::namespaced(client.clone(), system), theirs)
        .backoff(restart::after_errors())
        .modify(|lease| lease.metadata.managed_fields = None)
        .reflect(lease_writer)
        .touched_objects();
    let rung = bell.clone();
    let controller = controller.watches_stream(said, move |_: PartialObjectMeta<Lease>| rung.all());

    let (slices, slice_writer) = reflector::store::<EndpointSlice>();
    let service = listing::in_pages().labels("kubernetes.io/service-name=k3k-webhook");
    let there = watcher(Api::<EndpointSlice>::namespaced(client.clone(), system), service)
        .backoff(restart::after_errors())
        .modify(|slice| trim_metadata(&mut slice.metadata))
        .reflect(slice_writer)
        .touched_objects();
    let rung = bell.clone();
    let controller = controller.watches_stream(there, move |_: EndpointSlice| rung.all());
    (Replicas { leases, slices }, controller)
}

fn watch_owned(
    client: &Client,
    mut controller: Controller<Guarded>,
    namespaces: &Namespaces,
    bell: &Bell,
) -> (Owned, Controller<Guarded>) {
    let mut owned = Vec::new();
    for kind in Kind::ALL {
        let (store, stream) = owned_objects(client, kind);
        let (known, namespaces, bell) = (store.clone(), namespaces.clone(), bell.clone());
        let before: Mutex<BTreeMap<(String, String), Option<u64>>> = Mutex::default();
        controller = controller.watches_stream_with(
            stream,
            move |object: DynamicObject| {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                let reference = ObjectRef::new_with(&name, kind.resource()).within(&namespace);
                let now = known.get(&reference).map(|object| contents(&object));
                let mut seen = before.lock().unwrap_or_else(PoisonError::into_inner);
                let key = (namespace.clone(), name);
                let then = match now {
                    Some(hash) => seen.insert(key, hash),
                    None => seen.remove(&key),
                };
                // What is in use of most quotas is not our business.
                if then == now {
                    return Vec::new();
                }
                bell.sweep.notify_one();
                let mut concerned =
                    if object.labels().contains_key(labels::TENANT) { bell.budgets() } else { Vec::new() };
                let bound = namespaces.get(&ObjectRef::new(&namespace));
                concerned.extend(bound.as_deref().and_then(bound_to).map(ObjectRef::new));
                concerned
            },
            kind.resource(),
        );
        owned.push((kind, store));
    }
    (owned, controller)
}

fn owned_objects(
    client: &Client,
    kind: Kind,
) -> (Store<DynamicObject>, impl Stream<Item = Result<DynamicObject, watcher::Error>> + Send + use<>) {
    let writer = Writer::<DynamicObject>::new(kind.resource());
    let store = writer.as_reader();
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
    let ours = format!("{}={}", labels::MANAGED_BY, labels::MANAGED_BY_POLICY);
    let stream = watcher(api, listing::in_pages().labels(&ours))
        .backoff(restart::after_errors())
        .modify(trim_object)
        .reflect(writer)
        .touched_objects();
    (store, stream)
}

/// The status is read of shares of a budget only.
fn trim_object(object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    if !object.labels().contains_key(labels::TENANT)
        && let Some(fields) = object.data.as_object_mut()
    {
        fields.remove("status");
    }
}

/// A namespace's labels, and which of them are ours.
fn trim_namespace(metadata: &mut ObjectMeta) {
    metadata.annotations = None;
    if let Some(entries) = &mut metadata.managed_fields {
        entries.retain(|entry| entry.manager.as_deref() == Some(managers::POLICY));
    }
}

fn trim_metadata(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.annotations = None;
}

/// Where a node and its pods are.
fn trim_node(node: &mut Node) {
    trim_metadata(&mut node.metadata);
    node.metadata.labels = None;
    if let Some(spec) = &mut node.spec {
        *spec = NodeSpec {
            pod_cidr: spec.pod_cidr.take(),
            pod_cidrs: spec.pod_cidrs.take(),
            ..NodeSpec::default()
        };
    }
    if let Some(status) = &mut node.status {
        *status = NodeStatus { addresses: status.addresses.take(), ..NodeStatus::default() };
    }
}

/// Runs until `shutdown`. What is being reconciled then is cut off, as by a crash.
pub async fn run(
    controller: Controller<Guarded>,
    context: Arc<Context>,
    sweep: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let running = controller
        .with_config(Config::default().debounce(DEBOUNCE))
        .run(reconcile::reconcile, reconcile::error_policy, context.clone())
        .for_each(|result| {
            // Failed reconciles are logged where their retry is decided. Namespaces may name policies that do not exist.
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
        () = super::sweep::run(&context, &sweep) => {}
        () = audit::run(&context) => {}
        () = super::glass::run(&context) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Counts the policies and their namespaces, and drops what is kept for those that are gone.
fn take_stock(context: &Context) {
    let policies = context.caches.policies.state();
    context.retries.keep(&policies.iter().filter_map(|policy| policy.uid()).collect());
    let bound = context.caches.namespaces.state_filter(|namespace| {
        bound_to(namespace).is_some_and(|policy| context.caches.policy(policy).is_some())
    });
    context.metrics.set_policies(policies.len(), bound.len());
}
