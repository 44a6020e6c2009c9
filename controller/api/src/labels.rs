//! Label, annotation and finalizer keys. Everything under `k3k.io/` is ours: a tenant's key with that prefix
//! never reaches the host, so selectors on these keys cannot be spoofed from inside a cluster.

/// On Clusters, set by the controller (kept for compatibility with upstream's manifests and tools).
pub const PROVIDER: &str = "provider.cattle.io";
/// The value of [`PROVIDER`].
pub const PROVIDER_VALUE: &str = "k3k";

/// On everything the controller makes for a cluster: the cluster's name. A convenience for people's selectors;
/// never select on it alone, a tenant may carry it too.
pub const CLUSTER: &str = "cluster";
/// On server pods and their volumes: `server`. See [`CLUSTER`] on trusting it.
pub const ROLE: &str = "role";
/// The value of [`ROLE`] on server pods.
pub const ROLE_SERVER: &str = "server";
/// On agent workloads: `agent`.
pub const TYPE: &str = "type";
/// The value of [`TYPE`] on agent workloads.
pub const TYPE_AGENT: &str = "agent";
/// On agent workloads: the cluster's mode.
pub const MODE: &str = "mode";

/// On every host object the controller makes for a cluster: which part of it, see [`component`].
/// Reserved, hence safe to select on.
pub const COMPONENT: &str = "k3k.io/component";
/// Values of [`COMPONENT`].
pub mod component {
    /// The k3s server and its Services, Secrets and volumes.
    pub const SERVER: &str = "server";
    /// The virtual kubelet.
    pub const KUBELET: &str = "kubelet";
    /// The k3s agents of a cluster in mode virtual.
    pub const AGENT: &str = "agent";
}

/// Annotation on the controller's objects: a hash of what it last applied, so that a reconcile writes only what
/// changed.
pub const APPLIED_HASH: &str = "k3k.io/applied-hash";
/// On the servers' StatefulSet: what they store in, if not each in a file of its own.
pub const DATASTORE: &str = "k3k.io/datastore";
/// On the servers' StatefulSet: the ID of the etcd that they keep. Where it is, no server begins another.
pub const ETCD_CLUSTER: &str = "k3k.io/etcd-cluster";
/// On the servers' StatefulSet of a paused cluster: how many servers there were, and will be again.
pub const PAUSED_SERVERS: &str = "k3k.io/paused-servers";
/// Annotation on pod templates: a hash of the configuration that the pod reads when it starts, so that a change
/// replaces the pod.
pub const CONFIG_HASH: &str = "k3k.io/config-hash";

/// On every host copy of a tenant's object: the cluster that owns it.
pub const CLUSTER_NAME: &str = "k3k.io/clusterName";
/// On copies that are of the whole host, so that no namespace tells whose they are: the UID of the cluster.
pub const CLUSTER_UID: &str = "k3k.io/clusterUID";
/// On host copies of pods: the virtual node that runs them.
pub const AGENT_NAME: &str = "k3k.io/agentName";
/// Annotation on host copies: the object's name in the nested cluster.
pub const VIRTUAL_NAME: &str = "k3k.io/name";
/// Annotation on host copies: the object's namespace in the nested cluster.
pub const VIRTUAL_NAMESPACE: &str = "k3k.io/namespace";
/// Annotation on host copies: the object's UID in the nested cluster. A host copy whose UID differs belongs to
/// an earlier object of the same name.
pub const VIRTUAL_UID: &str = "k3k.io/uid";
/// Annotation on host copies of pods: the generation of the nested pod that was carried over last.
pub const VIRTUAL_GENERATION: &str = "k3k.io/generation";
/// Label on host copies of namespaced objects: [`crate::names::label_value`] of the nested namespace.
/// Service selectors are narrowed by it.
pub const VIRTUAL_NAMESPACE_LABEL: &str = "k3k.io/virtual-namespace";

/// On objects of a nested cluster that stand for something of the host, see [`SYNC_FROM_HOST`].
pub const SYNC_SOURCE: &str = "k3k.io/sync-source";
/// The value of [`SYNC_SOURCE`].
pub const SYNC_FROM_HOST: &str = "host";
/// On classes of the host: any value but `true` keeps a class from being offered to clusters.
pub const SYNC_ENABLED: &str = "k3k.io/sync-enabled";

/// On nested Nodes that stand for nodes of the host: `true`.
pub const MIRRORED_NODE: &str = "k3k.io/mirrored-node";

/// On a Namespace that holds clusters: `true`. The webhook is registered for these namespaces only.
pub const CLUSTER_NAMESPACE: &str = "k3k.io/cluster-namespace";
/// On a Namespace: the VirtualClusterPolicy that governs its clusters.
pub const POLICY_NAME: &str = "policy.k3k.io/policy-name";
/// On a Namespace, by the controller: UID of the policy of which everything is in place there. Clusters begin only then.
pub const POLICY_IN_FORCE: &str = "policy.k3k.io/in-force";
/// On ResourceQuotas that are a tenant's share: the tenant of the policy.
pub const TENANT: &str = "policy.k3k.io/tenant";
/// On a Namespace of the host, by its administrator: `true` if its pods pass on what comes from outside, as ingress controllers
/// and load balancers do, and so may reach pods of clusters that a policy isolates.
pub const GATEWAY: &str = "policy.k3k.io/gateway";

/// On the Leases of the webhook's replicas: `true`.
pub const WEBHOOK_REPLICA: &str = "k3k.io/webhook-replica";
/// Annotation on the Leases of the webhook's replicas: a JSON object of the generations by which the replica decides, by the names of
/// policies.
pub const POLICY_GENERATIONS: &str = "k3k.io/policy-generations";
/// The Lease in which the replica of the webhook in pod `pod` says by which policies it decides.
pub fn webhook_lease(pod: &str) -> String {
    format!("policies-{pod}")
}

/// Annotation on the registration of the webhook, by an administrator: a [`crate::break_glass::BreakGlass`] as JSON.
pub const BREAK_GLASS: &str = "k3k.io/break-glass";

/// Recommended label: who manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`] on the controller's objects.
pub const MANAGED_BY_CONTROLLER: &str = "k3k";
/// Value of [`MANAGED_BY`] on what the controller makes of a policy.
pub const MANAGED_BY_POLICY: &str = "k3k-policy-controller";
/// Value of [`MANAGED_BY`] on namespaces that `kubectl k3k create` made, and may therefore delete.
pub const MANAGED_BY_PLUGIN: &str = "kubectl-k3k";

/// On Clusters: the controller still has to stop what runs in the host.
pub const CLUSTER_FINALIZER: &str = "cluster.k3k.io/finalizer";

/// Whether `key` lies in a name space reserved for k3k: `k3k.io/…` or `….k3k.io/…`.
pub fn is_reserved(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| prefix == "k3k.io" || prefix.ends_with(".k3k.io"))
}

#[cfg(test)]
mod tests {
    use super::is_reserved;

    #[test]
    fn reserved_keys_are_ours_and_only_ours() {
        for key in [super::CLUSTER_NAME, super::COMPONENT, super::POLICY_NAME, "pod.k3k.io/pseudoPV"] {
            assert!(is_reserved(key), "{key}");
        }
        for key in [super::CLUSTER, super::PROVIDER, "app", "notk3k.io/x", "k3k.io.example.com/x", "k3k.io"] {
            assert!(!is_reserved(key), "{key}");
        }
    }
}
