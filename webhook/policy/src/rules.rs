//! The names of all rules.

/// What of another's a virtual kubelet writes, and what tenants write that is k3k's: labels and annotations.
pub const LABELS: &str = "guard.labels";
/// Objects of a cluster's control plane are written by k3k alone, and a cluster's copies by its own virtual kubelet.
pub const OWNERSHIP: &str = "guard.ownership";
/// A pod names only what belongs to its cluster.
pub const REFERENCES: &str = "guard.references";
/// Nobody goes past the host's scheduler.
pub const NODE_NAME: &str = "guard.nodeName";
/// No tenant gets a token of the host.
pub const TOKENS: &str = "guard.tokens";
/// Nobody gets into a control plane's pods, and a virtual kubelet only into its own cluster's.
pub const EXEC: &str = "guard.exec";
/// What binds a namespace to its policy.
pub const NAMESPACES: &str = "guard.namespaces";
/// What isolates clusters is not loosened.
pub const NETWORK_POLICIES: &str = "guard.networkPolicies";
/// Kubernetes' own priorities are not for tenants.
pub const PRIORITY: &str = "guard.priority";
/// The controller lends nobody its rights.
pub const CLUSTER: &str = "guard.cluster";
/// What this version does not know, it does not let in.
pub const UNKNOWN: &str = "guard.unknown";
/// k3k's roles are bound by k3k.
pub const ROLES: &str = "guard.roles";
/// Services select pods of their own cluster.
pub const SELECTORS: &str = "guard.selectors";
/// Nobody takes over other people's addresses.
pub const EXTERNAL_IPS: &str = "guard.externalIPs";
/// Policies can be understood.
pub const POLICY: &str = "guard.policy";

/// hostUsers.
pub const USER_NAMESPACES: &str = "podSecurity.userNamespaces";
/// Privileged servers and agents.
pub const CONTROL_PLANE: &str = "podSecurity.controlPlane";
/// Types of volumes that a policy lists, and drivers of csi volumes.
pub const ALLOWED_VOLUMES: &str = "podSecurity.allowedVolumes";
/// Digests.
pub const DIGEST: &str = "images.digest";
/// Registries and repositories.
pub const REGISTRIES: &str = "images.registries";
/// Pull policies.
pub const PULL_POLICY: &str = "images.pullPolicy";
/// Node selectors.
pub const SELECTOR: &str = "nodes.selector";
/// Tolerations.
pub const TOLERATIONS: &str = "nodes.tolerations";
/// Schedulers.
pub const SCHEDULER: &str = "nodes.scheduler";
/// Labels of nodes in affinities and spreading.
pub const TOPOLOGY_KEYS: &str = "nodes.topologyKeys";
/// Affinities to pods of other namespaces.
pub const AFFINITY: &str = "nodes.affinity";
/// Nodes of one tenant alone.
pub const PLACEMENT: &str = "nodes.placement";
/// What one pod may use.
pub const PER_POD: &str = "resources.perPod";
/// What containers must say.
pub const REQUIRED: &str = "resources.required";
/// Resources that policies list.
pub const EXTENDED: &str = "resources.extended";
/// PriorityClasses.
pub const PRIORITY_CLASS: &str = "workloads.priorityClass";
/// RuntimeClasses.
pub const RUNTIME_CLASS: &str = "workloads.runtimeClass";
/// StorageClasses.
pub const STORAGE_CLASS: &str = "workloads.storageClass";
/// Where a claim's contents come from.
pub const DATA_SOURCE: &str = "workloads.dataSource";
/// Annotations.
pub const ANNOTATIONS: &str = "workloads.annotations";
/// Labels.
pub const METADATA_LABELS: &str = "workloads.labels";
/// How long a pod may take to end.
pub const GRACE_PERIOD: &str = "workloads.terminationGracePeriod";
/// Types of Services.
pub const SERVICE_TYPE: &str = "network.serviceType";
/// Load balancers' classes and addresses.
pub const LOAD_BALANCER: &str = "network.loadBalancer";
/// Ports of the nodes.
pub const NODE_PORTS: &str = "network.nodePorts";
/// Host names of Ingresses.
pub const INGRESS_HOSTS: &str = "network.ingressHosts";
/// IngressClasses.
pub const INGRESS_CLASS: &str = "network.ingressClass";
/// Annotations of Ingresses and Services.
pub const INGRESS_ANNOTATIONS: &str = "network.ingressAnnotations";
/// The mode of a Cluster, and how many a namespace may hold.
pub const CLUSTERS: &str = "tenancy.clusters";

/// Every rule whose mode a policy can choose.
pub const ALL: &[&str] = &[
    USER_NAMESPACES,
    CONTROL_PLANE,
    ALLOWED_VOLUMES,
    DIGEST,
    REGISTRIES,
    PULL_POLICY,
    SELECTOR,
    TOLERATIONS,
    SCHEDULER,
    TOPOLOGY_KEYS,
    AFFINITY,
    PLACEMENT,
    PER_POD,
    REQUIRED,
    EXTENDED,
    PRIORITY_CLASS,
    RUNTIME_CLASS,
    STORAGE_CLASS,
    DATA_SOURCE,
    ANNOTATIONS,
    METADATA_LABELS,
    GRACE_PERIOD,
    SERVICE_TYPE,
    LOAD_BALANCER,
    NODE_PORTS,
    INGRESS_HOSTS,
    INGRESS_CLASS,
    INGRESS_ANNOTATIONS,
    CLUSTERS,
    // In step with `pod_security::RULES`, which a test holds.
    "podSecurity.privileged",
    "podSecurity.hostNamespaces",
    "podSecurity.hostPath",
    "podSecurity.hostPorts",
    "podSecurity.hostProcess",
    "podSecurity.hostProbes",
    "podSecurity.capabilities",
    "podSecurity.procMount",
    "podSecurity.sysctls",
    "podSecurity.seLinux",
    "podSecurity.appArmor",
    "podSecurity.seccomp",
    "podSecurity.volumeTypes",
    "podSecurity.allowPrivilegeEscalation",
    "podSecurity.runAsNonRoot",
    "podSecurity.runAsUser",
];

/// Every guard rule.
pub const GUARDS: &[&str] = &[
    LABELS,
    OWNERSHIP,
    REFERENCES,
    NODE_NAME,
    TOKENS,
    EXEC,
    NAMESPACES,
    NETWORK_POLICIES,
    PRIORITY,
    CLUSTER,
    UNKNOWN,
    ROLES,
    SELECTORS,
    EXTERNAL_IPS,
    POLICY,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_security;

    #[test]
    fn the_rules_of_the_standards_are_among_all() {
        for rule in pod_security::RULES {
            assert!(ALL.contains(rule), "{rule}");
        }
    }
}
