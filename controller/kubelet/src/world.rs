//! What every part of the virtual kubelet shares: the two clients, the caches of pods, and who uses what.

use crate::cache::Cache;
use crate::sync::writers::Writers;
use crate::uses::Uses;
use crate::watch::{Name, origin};
use k3k_api::offered::Offered;
use k3k_api::v1beta1::SyncConfig;
use k3k_translate::{Origin, pod::Context};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::events::Recorder;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The resource of a core/v1 kind.
pub fn core(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind))
}

/// See the module.
pub struct World {
    /// Facts about the cluster.
    pub context: Context,
    /// Which kinds of objects are copied.
    pub sync: SyncConfig,
    /// What of the host tenants may name.
    pub offered: Offered,
    /// The host API.
    pub host: Client,
    /// The nested API.
    pub nested: Client,
    /// Nested pods bound to our node; with mirrored nodes, to any.
    pub nested_pods: Cache,
    /// All Services of the nested cluster.
    pub nested_services: Cache,
    /// Host pods of this cluster.
    pub host_pods: Cache,
    /// Which host pods use which copies.
    pub uses: Mutex<Uses>,
    /// Who writes these copies at the moment.
    pub writers: Writers,
    /// Nested pods by the name of their host pod, known from before the host pod exists.
    pub origins: Mutex<HashMap<String, Origin>>,
    /// Names of the host's nodes that nested nodes stand for; none while they are not known. Absent when there is one node for all.
    pub host_nodes: Option<Mutex<BTreeSet<String>>>,
    /// Pods that started before were ended by a pause of the cluster, if they are not there.
    pub stopped_until: Option<Timestamp>,
    /// Tells tenants what happens to their objects.
    pub recorder: Recorder,
}

/// Locks, whatever happened to an earlier holder: the data are caches that converge again.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Whether the pod is bound to a node of ours. Of nested nodes only the controller's word counts: a tenant can make Nodes, too.
    pub fn is_ours(&self, nested: &Value) -> bool {
        let Some(nodes) = &self.host_nodes else { return true };
        nested["spec"]["nodeName"].as_str().is_some_and(|node| lock(nodes).contains(node))
    }

    /// Objects of a core/v1 kind in our namespace of the host.
    pub fn host_api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.host.clone(), &self.context.owner.namespace, &core(kind))
    }

    /// Objects of a core/v1 kind in a namespace of the nested cluster.
    pub fn nested_api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.nested.clone(), namespace, &core(kind))
    }

    /// The nested object that a host copy of ours was made for.
    pub fn made_for(&self, host: &DynamicObject) -> Option<Name> {
        origin(&self.context.owner, host).map(Name::from)
    }

    /// The nested pod, if it is bound to our node.
    pub fn nested_pod(&self, name: &Name) -> Option<Value> {
        self.nested_pods.get(name)
    }

    /// The Services of a nested namespace.
    pub fn services_in(&self, namespace: &str) -> Vec<Value> {
        self.nested_services.within(namespace).collect()
    }

    /// The host pod under the name that belongs to a nested pod, and whom it was made for, if by us.
    pub fn host_pod(&self, name: &Name) -> Option<(Value, Option<Origin>)> {
        let owner = &self.context.owner;
        let host_name = owner.host_name(&name.namespace, &name.name);
        let pod = self.host_pods.get(&Name { namespace: owner.namespace.clone(), name: host_name })?;
        let origin = Origin::of_host(owner, &pod["metadata"]);
        Some((pod, origin))
    }

    /// Whom each of the host pods that are ours was made for.
    pub fn host_pods_of_ours(&self) -> impl Iterator<Item = (Value, Origin)> + use<'_> {
        let of_ours = |pod: Value| Some((Origin::of_host(&self.context.owner, &pod["metadata"])?, pod));
        self.host_pods.all().filter_map(of_ours).map(|(origin, pod)| (pod, origin))
    }
}
