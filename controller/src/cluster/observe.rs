//! Reading what a reconcile needs to know, mostly from caches. Secrets are read one by one, by name: the controller
//! has no right to list them.

use super::Context;
use super::apply::{self, Live};
use super::build::capacity::{self, Resources};
use super::build::mode::Nodes;
use super::build::{Kind, Site, certificates, kubelet, nodes, policy};
use super::error::Error;
use super::plan::Servers;
use super::pods;
use super::status::{Below, Parts};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k3k_api::host_node::HostNode;
use k3k_api::labels::{self, component};
use k3k_api::offered::Offered;
use k3k_api::told_policy::ToldPolicy;
use k3k_api::v1beta1::{Cluster, ClusterSpec, SyncConfig, VirtualClusterPolicy, VirtualClusterPolicySpec};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt};
use std::collections::{BTreeMap, HashMap};

/// Requests on their way at the same time for one cluster.
const CONCURRENCY: usize = 6;

/// What is known about a cluster and its surroundings before anything is decided.
#[derive(Debug)]
pub struct Observed {
    /// Version of the host.
    pub host_version: String,
    /// The host's Service address range.
    pub host_service_cidr: String,
    /// The policy that the namespace names.
    pub policy_name: Option<String>,
    /// That policy, if it exists.
    pub policy: Option<VirtualClusterPolicySpec>,
    /// Its generation.
    pub policy_generation: i64,
    /// Whether everything that is made of the policy is in the namespace.
    pub policy_in_force: bool,
    /// A cluster of the same namespace that was there before.
    pub older: Option<String>,
    /// What the host can hold.
    pub capacity: Resources,
    /// The host's nodes on which its pods may run.
    pub nodes: Vec<HostNode>,
    /// Addresses of the host's usable nodes, in the order of the nodes' names.
    pub node_addresses: Vec<String>,
    /// Addresses of all of the host's nodes, in the same order.
    pub all_node_addresses: Vec<String>,
    /// The cluster's objects.
    pub live: Live,
    /// Secrets that the spec names and that exist, by name.
    pub named_secrets: HashMap<String, kube::api::DynamicObject>,
    /// What of the host tenants may name.
    pub offered: Offered,
}

impl Observed {
    /// What is copied between the cluster and the host: as the policy says, else as the Cluster says.
    pub fn sync(&self, spec: &ClusterSpec) -> SyncConfig {
        let policy = self.policy.as_ref().and_then(|policy| policy.sync.clone());
        policy.unwrap_or_else(|| spec.sync())
    }

    /// What the virtual kubelet of `cluster` is told of the policy.
    pub fn told_policy(&self, cluster: &str) -> ToldPolicy {
        match (&self.policy_name, &self.policy) {
            (None, _) => ToldPolicy::Default,
            (Some(_), None) => ToldPolicy::Missing,
            (Some(name), Some(spec)) => policy::told(name, self.policy_generation, spec, cluster),
        }
    }
}

/// Reads everything. `namespace_labels` are those of the cluster's namespace.
pub async fn observe(
    context: &Context,
    site: &Site,
    cluster: &Cluster,
    namespace_labels: &BTreeMap<String, String>,
    servers: &Servers,
) -> Result<Observed, Error> {
    let policy_name = namespace_labels.get(labels::POLICY_NAME).filter(|name| !name.is_empty()).cloned();
    let status = cluster.status.as_ref();
    let host_version = async {
        // What a cluster began with is kept: a newer host must not upgrade it behind its owner's back.
        match status.and_then(|status| status.host_version.clone()) {
            Some(version) => Ok(version),
            None => context.host.version().await.map(str::to_owned),
        }
    };
    let host_service_cidr = async {
        let began_with = status.and_then(|status| status.service_cidr.clone());
        // Elsewhere the cluster's range is not the host's.
        match began_with.filter(|_| Nodes::of(cluster.spec.mode()).are_shown()) {
            Some(range) => Ok(range),
            None => context.host.service_cidr().await.map(str::to_owned),
        }
    };
    let (host_version, host_service_cidr, policy, live, named_secrets) = tokio::try_join!(
        host_version,
        host_service_cidr,
        named_policy(context, policy_name.as_deref()),
        live(context, site, cluster, servers),
        named_secrets(context, site, cluster),
    )?;
    let in_force = namespace_labels.get(labels::POLICY_IN_FORCE);
    let of_policy = policy.as_ref().map(|policy| &policy.metadata);
    let policy_in_force =
        of_policy.is_some_and(|policy| policy.uid.is_some() && policy.uid.as_ref() == in_force);
    let policy_generation = of_policy.and_then(|policy| policy.generation).unwrap_or_default();
    let policy = policy.map(|policy| policy.spec);
    let selector = &kubelet::node_selector(&cluster.spec, policy.as_ref());
    let capacity = capacity_for(context, site, selector);
    let nodes = mirrored_nodes(context, site, selector);
    let mut observed = Observed {
        host_version,
        host_service_cidr,
        policy_name,
        policy,
        policy_generation,
        policy_in_force,
        older: context.caches.older_cluster(site),
        capacity,
        nodes,
        node_addresses: node_addresses(context, is_usable),
        all_node_addresses: node_addresses(context, |_| true),
        live,
        named_secrets,
        offered: Offered::default(),
    };
    observed.offered = context.health.offered(&observed.sync(&cluster.spec)).await;
    Ok(observed)
}

/// The states of the cluster's parts, from what is remembered.
pub fn parts(context: &Context, site: &Site, spec: &ClusterSpec) -> Parts {
    let judge = |part, kind: Kind, name: String, wanted: usize| {
        let refusal = context.caches.refusal(site, kind, &name);
        let pods = context.caches.pods(site, part);
        pods::judge_all(&pods, wanted, &format!("{kind} {name:?}"), refusal)
    };
    let names = site.names();
    let agents = usize::try_from(spec.agents()).unwrap_or_default();
    let below = match Nodes::of(spec.mode()) {
        Nodes::Shown => Below::Kubelet(judge(component::KUBELET, Kind::Deployment, names.kubelet(), 1)),
        Nodes::Pods => Below::Agents(judge(component::AGENT, Kind::StatefulSet, names.agent(), agents)),
        Nodes::Outside => Below::Nothing,
    };
    let server = judge(component::SERVER, Kind::StatefulSet, names.server(), 1);
    Parts { server, below, health: context.health.of(&site.uid), etcd: None, upgrade: None, pause: None }
}

async fn named_policy(context: &Context, name: Option<&str>) -> Result<Option<VirtualClusterPolicy>, Error> {
    let Some(name) = name else { return Ok(None) };
    let policies: Api<VirtualClusterPolicy> = Api::all(context.client.clone());
    let found = policies.get_opt(name).await;
    found.map_err(|source| Error::Read { what: format!("VirtualClusterPolicy {name:?}"), source })
}

fn capacity_for(context: &Context, site: &Site, selector: &BTreeMap<String, String>) -> Resources {
    let nodes = context.caches.nodes.state_filter(|node| {
        let labels = node.labels();
        is_usable(node) && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    });
    let allocatable = nodes.iter().filter_map(|node| node.status.as_ref()?.allocatable.as_ref());
    let total = capacity::sum(allocatable);
    capacity::limited(total, context.caches.allowed(&site.namespace).values())
}

fn mirrored_nodes(context: &Context, site: &Site, selector: &BTreeMap<String, String>) -> Vec<HostNode> {
    let quotas: Vec<Resources> = context.caches.allowed(&site.namespace).into_values().collect();
    nodes::eligible(context.caches.nodes.state().iter().map(|node| &**node), selector, &quotas)
}

/// Where a node port is reached: nodes' addresses for the outside, else those for the inside.
fn node_addresses(context: &Context, counts: impl Fn(&Node) -> bool) -> Vec<String> {
    let mut nodes = context.caches.nodes.state_filter(counts);
    nodes.sort_by_key(|node| node.name_any());
    let address = |node: &Node, kind: &str| {
        let addresses = node.status.as_ref()?.addresses.as_ref()?;
        addresses.iter().find(|address| address.type_ == kind).map(|address| address.address.clone())
    };
    let of = |node: &Node| address(node, "ExternalIP").or_else(|| address(node, "InternalIP"));
    nodes.iter().filter_map(|node| of(node)).collect()
}

/// Whether pods can be placed on the node now.
pub fn is_usable(node: &Node) -> bool {
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    !unschedulable
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The cluster's objects. What is not cached is asked for: it may exist and be somebody else's.
async fn live(context: &Context, site: &Site, cluster: &Cluster, servers: &Servers) -> Result<Live, Error> {
    let names = site.names();
    let mut wanted = vec![
        (Kind::Secret, names.certificates()),
        (Kind::Secret, names.token()),
        (Kind::Secret, names.init_server_config()),
        (Kind::Secret, names.kubeconfig()),
        (Kind::Service, names.service()),
        (Kind::Ingress, names.ingress()),
        (Kind::Service, names.headless_service()),
        (Kind::StatefulSet, names.server()),
    ];
    match Nodes::of(cluster.spec.mode()) {
        Nodes::Shown => wanted.extend([
            (Kind::Secret, names.agent_config()),
            (Kind::Service, names.kubelet()),
            (Kind::Service, names.dns_service()),
            (Kind::ServiceAccount, names.kubelet()),
            (Kind::RoleBinding, names.kubelet()),
            (Kind::Deployment, names.kubelet()),
            (Kind::ConfigMap, names.policy()),
        ]),
        Nodes::Pods => {
            wanted.extend([(Kind::Secret, names.agent_config()), (Kind::StatefulSet, names.agent())]);
        }
        Nodes::Outside => wanted.push((Kind::Secret, names.agent_config())),
    }
    if cluster.spec.mirror_host_nodes() {
        wanted.push((Kind::ConfigMap, names.nodes()));
    }
    if servers.etcd {
        wanted.push((Kind::PodDisruptionBudget, names.server()));
    }
    let read = wanted.into_iter().map(|(kind, name)| async move {
        let object = match context.caches.owned(site, kind, &name) {
            Some(cached) => Some((*cached).clone()),
            None => get(context, site, kind, &name).await?,
        };
        Ok::<_, Error>(object.map(|object| ((kind, name), object)))
    });
    let read: Vec<_> = stream::iter(read).buffer_unordered(CONCURRENCY).try_collect().await?;
    Ok(Live(read.into_iter().flatten().collect()))
}

async fn named_secrets(
    context: &Context,
    site: &Site,
    cluster: &Cluster,
) -> Result<HashMap<String, kube::api::DynamicObject>, Error> {
    let mut names: Vec<&str> = Vec::new();
    if let Some(reference) = &cluster.spec.token_secret_ref
        && reference.namespace.as_ref().is_none_or(|namespace| *namespace == site.namespace)
    {
        names.extend(reference.name.as_deref());
    }
    if let Some(custom) = cluster.spec.custom_cas.as_ref().filter(|custom| custom.enabled) {
        names.extend(certificates::sources(&custom.sources).map(|(_, name)| name));
    }
    let mut found = HashMap::new();
    for name in names {
        if !name.is_empty()
            && !found.contains_key(name)
            && let Some(secret) = get(context, site, Kind::Secret, name).await?
        {
            found.insert(name.to_owned(), secret);
        }
    }
    Ok(found)
}

async fn get(
    context: &Context,
    site: &Site,
    kind: Kind,
    name: &str,
) -> Result<Option<kube::api::DynamicObject>, Error> {
    let object = apply::api(&context.client, site, kind).get_opt(name).await;
    object.map_err(|source| Error::Read { what: format!("{kind} {name:?}"), source })
}
