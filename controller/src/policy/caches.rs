//! What the controller remembers of the host to follow policies, and of it only what it reads.

use super::Guarded;
use super::build::network::Surroundings;
use super::build::pod_security;
use super::build::{Kind, Owner};
use super::cidr::Cidr;
use super::replicas::Replicas;
use k3k_api::labels;
use k3k_api::managers;
use k3k_api::v1beta1::{Cluster, VirtualClusterPolicySpec};
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Read sides of the caches. `watch` holds the write sides.
pub struct Caches {
    /// All policies.
    pub policies: Store<Guarded>,
    /// All namespaces: which policy they name, and their Pod Security labels.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// All Clusters, by name only.
    pub clusters: Store<PartialObjectMeta<Cluster>>,
    /// Addresses of the host's nodes and of their pods.
    pub nodes: Store<Node>,
    /// Names of the host's StorageClasses.
    pub storage_classes: Store<PartialObjectMeta<StorageClass>>,
    /// Where the host's API is.
    pub endpoints: Store<EndpointSlice>,
    /// The webhook's replicas.
    pub replicas: Replicas,
    /// What was made of policies.
    pub owned: Vec<(Kind, Store<DynamicObject>)>,
    /// Whether each has been listed.
    pub ready: OnceCell<()>,
}

impl Caches {
    /// Waits for the first list of each.
    pub async fn ready(&self) {
        // A store wakes only the last of those who wait for it, so one waits for all of us.
        let all = async {
            // An error means that the watch has ended, which only happens at shutdown.
            let _ = self.policies.wait_until_ready().await;
            let _ = self.namespaces.wait_until_ready().await;
            let _ = self.clusters.wait_until_ready().await;
            let _ = self.nodes.wait_until_ready().await;
            let _ = self.storage_classes.wait_until_ready().await;
            let _ = self.endpoints.wait_until_ready().await;
            self.replicas.ready().await;
            for (_, store) in &self.owned {
                let _ = store.wait_until_ready().await;
            }
        };
        self.ready.get_or_init(|| all).await;
    }

    /// The policy of a name, if it can be followed: it is there and stays.
    pub fn policy(&self, name: &str) -> Option<Arc<Guarded>> {
        let policy = self.policies.get(&ObjectRef::new(name))?;
        policy.meta().deletion_timestamp.is_none().then_some(policy)
    }

    /// The policy that a namespace names.
    pub fn policy_of(&self, namespace: &str) -> Option<String> {
        let namespace = self.namespaces.get(&ObjectRef::new(namespace))?;
        bound_to(&namespace).map(str::to_owned)
    }

    /// Namespaces that name the policy and stay, sorted.
    pub fn bound(&self, policy: &str) -> Vec<Arc<PartialObjectMeta<Namespace>>> {
        let mut bound = self.namespaces.state_filter(|namespace| {
            bound_to(namespace) == Some(policy) && namespace.metadata.deletion_timestamp.is_none()
        });
        bound.sort_by_key(|namespace| namespace.name_any());
        bound
    }

    /// How many Clusters a namespace holds.
    pub fn clusters_in(&self, namespace: &str) -> usize {
        self.clusters.state_filter(|cluster| cluster.namespace().as_deref() == Some(namespace)).len()
    }

    /// One of the objects that were made of policies. None also if it is not, or too new to be known.
    pub fn owned(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let (_, store) = self.owned.iter().find(|(candidate, _)| *candidate == kind)?;
        store.get(&ObjectRef::new_with(name, kind.resource()).within(namespace))
    }

    /// All objects of a policy in a namespace.
    pub fn owned_by(&self, owner: &Owner, namespace: &str) -> Vec<(Kind, Arc<DynamicObject>)> {
        let of = |object: &DynamicObject| {
            object.namespace().as_deref() == Some(namespace)
                && controller_uid(object).is_some_and(|uid| uid == owner.uid)
        };
        let all = self.owned.iter().flat_map(|(kind, store)| {
            store.state_filter(|object| of(object)).into_iter().map(|object| (*kind, object))
        });
        all.collect()
    }

    /// Names of the host's StorageClasses, sorted.
    pub fn storage_classes(&self) -> Vec<String> {
        let mut names: Vec<_> = self.storage_classes.state().iter().map(|class| class.name_any()).collect();
        names.sort();
        names
    }

    /// What is known of the host's network, but for what is asked only once.
    pub fn surroundings(&self) -> Surroundings {
        surroundings(&self.nodes.state(), &self.endpoints.state())
    }

    /// The specs of policies that can be followed, by name.
    pub fn specs(&self) -> BTreeMap<String, VirtualClusterPolicySpec> {
        let stays = |policy: &Guarded| policy.meta().deletion_timestamp.is_none();
        let policies = self.policies.state_filter(|policy| stays(policy));
        let read = policies.iter().filter_map(|policy| {
            let read = policy.0.as_ref().ok()?;
            Some((read.name_any(), read.spec.clone()))
        });
        read.collect()
    }
}

/// The policy that a namespace names.
pub fn bound_to(namespace: &PartialObjectMeta<Namespace>) -> Option<&str> {
    namespace.labels().get(labels::POLICY_NAME).map(String::as_str).filter(|name| !name.is_empty())
}

/// UID of what controls an object, if it is a policy.
pub fn controller_uid(object: &DynamicObject) -> Option<&str> {
    let owners = object.metadata.owner_references.iter().flatten();
    let mut policies =
        owners.filter(|owner| owner.kind == "VirtualClusterPolicy" && owner.controller == Some(true));
    policies.next().map(|owner| owner.uid.as_str())
}

/// Keys of the labels of a namespace that we have set: of Pod Security, and [`labels::POLICY_IN_FORCE`].
pub fn our_labels(namespace: &PartialObjectMeta<Namespace>) -> BTreeSet<String> {
    let ours = namespace.managed_fields().iter().filter(|entry| {
        entry.manager.as_deref() == Some(managers::POLICY) && entry.operation.as_deref() == Some("Apply")
    });
    let keys = ours.filter_map(|entry| entry.fields_v1.as_ref()?.0["f:metadata"]["f:labels"].as_object());
    let keys = keys.flat_map(|labels| labels.keys()).filter_map(|key| key.strip_prefix("f:"));
    let is_known = |key: &&str| key.starts_with(pod_security::PREFIX) || *key == labels::POLICY_IN_FORCE;
    keys.filter(is_known).map(str::to_owned).collect()
}

/// What nodes and endpoints say. What cannot be read is left out.
pub fn surroundings(nodes: &[Arc<Node>], endpoints: &[Arc<EndpointSlice>]) -> Surroundings {
    let specs = nodes.iter().filter_map(|node| node.spec.as_ref());
    let ranges = specs.flat_map(|spec| spec.pod_cidr.iter().chain(spec.pod_cidrs.iter().flatten()));
    let addresses = nodes
        .iter()
        .filter_map(|node| node.status.as_ref())
        .flat_map(|status| status.addresses.iter().flatten());
    let mut api = BTreeSet::new();
    for slice in endpoints {
        let places = slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses);
        for address in places.filter_map(|address| address.parse::<IpAddr>().ok()) {
            let ports = slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok());
            api.extend(ports.map(|port| (address, port)));
        }
    }
    Surroundings {
        pod_ranges: ranges.filter_map(|range| range.parse::<Cidr>().ok()).collect(),
        nodes: addresses.filter_map(|address| address.address.parse().ok()).collect(),
        api,
        ..Surroundings::default()
    }
}
