//! What each rule is about, for people: `kubectl k3k policy explain RULE` shows it.

mod guards;
mod standards;

/// One rule, explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name, as in [`crate::rules`].
    pub rule: &'static str,
    /// What it says, in one line.
    pub title: &'static str,
    /// What could happen without it, and which field of the policy decides.
    pub why: &'static str,
    /// Something that breaks it.
    pub example_bad: &'static str,
    /// The same, so that it does not.
    pub example_good: &'static str,
}

/// The description of `rule`.
pub fn describe(rule: &str) -> Option<&'static Description> {
    all().find(|description| description.rule == rule)
}

/// Who enforces `rule` while the webhook cannot be asked and its registration was taken away; with the registration in place, nothing new is
/// made at all.
pub fn without_the_webhook(rule: &str) -> &'static str {
    match FLOOR.iter().find(|(named, _)| *named == rule) {
        Some((_, who)) => who,
        None if crate::pod_security::RULES.contains(&rule) => "Pod Security labels",
        None => "nobody",
    }
}

/// What holds without the webhook, besides Pod Security labels.
const FLOOR: &[(&str, &str)] = &[
    ("podSecurity.privileged", "k3k-floor-pods; Pod Security labels"),
    ("podSecurity.hostNamespaces", "k3k-floor-pods; Pod Security labels"),
    ("podSecurity.hostPath", "k3k-floor-pods; Pod Security labels"),
    ("podSecurity.capabilities", "k3k-floor-pods; Pod Security labels"),
    ("images.digest", "k3k-floor-pods"),
    ("images.pullPolicy", "k3k-floor-pods"),
    ("nodes.selector", "k3k-floor-pods"),
    ("nodes.tolerations", "k3k-floor-pods"),
    ("resources.perPod", "quotas, for the namespace as a whole"),
    ("resources.required", "the LimitRange's defaults"),
    ("workloads.storageClass", "a quota of nothing for other classes"),
    ("network.serviceType", "a quota of nothing for load balancers and node ports"),
    ("tenancy.clusters", "the controller, which does not start such a cluster"),
    ("guard.labels", "k3k-floor-guard"),
    ("guard.ownership", "k3k-floor-guard"),
    ("guard.nodeName", "k3k-floor-guard"),
    ("guard.tokens", "k3k-floor-guard"),
    ("guard.externalIPs", "k3k-floor-guard"),
    ("guard.networkPolicies", "k3k-floor-guard"),
    ("guard.priority", "k3k-floor-guard; a quota of no pods for such priorities"),
    ("guard.unknown", "the virtual kubelet, for tenants' pods"),
    ("guard.references", "the virtual kubelet, which uses copies of its own cluster alone"),
    ("guard.roles", "the API server's own check of escalation"),
    ("guard.cluster", "the controller, which does not start such a cluster"),
];

/// Every rule, in the order of [`crate::rules::ALL`] and [`crate::rules::GUARDS`].
pub fn all() -> impl Iterator<Item = &'static Description> {
    OWN.iter().chain(standards::STANDARDS).chain(guards::GUARDS)
}

const fn about(
    rule: &'static str,
    title: &'static str,
    why: &'static str,
    example_bad: &'static str,
    example_good: &'static str,
) -> Description {
    Description { rule, title, why, example_bad, example_good }
}

/// What a policy says beyond the Pod Security Standards.
const OWN: &[Description] = &[
    about(
        "podSecurity.userNamespaces",
        "Pods have users of their own, or share the node's, as the policy says",
        "With hostUsers: false root inside the container is nobody on the node, so that getting out of the container gains little. \
         podSecurity.userNamespaces decides: Require, Forbid (for nodes that cannot) or Allow.",
        "spec: {hostUsers: true}",
        "spec: {hostUsers: false}   # filled in under Require when it is left out",
    ),
    about(
        "podSecurity.controlPlane",
        "Servers and agents of clusters in virtual mode are privileged only as far as the policy lets them",
        "Agents of virtual clusters run privileged; whoever is root in such a cluster is root on its node. podSecurity.controlPlane decides: \
         Deny, RequireSandbox, RequireDedicatedNodes or Allow. A policy that does not say denies, unless its level is Privileged; in a namespace without \
         a policy they may be, as with upstream. A Cluster that would be refused its pods is refused itself.",
        "a cluster in mode virtual on shared nodes under controlPlane: RequireDedicatedNodes",
        "nodes: {placement: Dedicated, requiredSelector: {...}} in the policy, or mode shared",
    ),
    about(
        "podSecurity.allowedVolumes",
        "Volumes are of the types, and csi volumes of the drivers, that the policy lists",
        "Some types reach into the node or into networks of the host. podSecurity.volumeTypes and podSecurity.csiDrivers list what is allowed.",
        "volumes: [{name: v, csi: {driver: other.csi}}]",
        "volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]",
    ),
    about(
        "images.digest",
        "Images are named by their digest",
        "A tag can be moved to another image after it was reviewed; a digest cannot. images.digest decides: Off, Require (pods without are \
         refused) or Resolve (the digest of the tag is asked of its registry and added).",
        "image: registry.example.com/app:1.2",
        "image: registry.example.com/app:1.2@sha256:<64 hexadecimal digits>",
    ),
    about(
        "images.registries",
        "Images come from the registries and repositories that the policy lists",
        "Anybody can publish an image under any name elsewhere. images.allowedRegistries lists hosts and globs of repositories; an image \
         without a host is docker.io's.",
        "image: evil.example/miner",
        "image: registry.example.com/team-a/app:1.2",
    ),
    about(
        "images.pullPolicy",
        "Images are pulled as often as the policy says",
        "Without Always, a pod gets an image that the node has from another tenant without asking the registry whether it may. \
         images.pullPolicy decides; it is filled in for pods that do not say Always.",
        "imagePullPolicy: Never",
        "imagePullPolicy: Always",
    ),
    about(
        "nodes.selector",
        "Pods select the nodes of the policy",
        "Tenants that have nodes of their own stay on them. nodes.requiredSelector is added to every pod; another value for the same label \
         is replaced when the pod is made.",
        "nodeSelector: {k3k.node-restriction.kubernetes.io/tenant: other}",
        "nodeSelector: {}   # filled in",
    ),
    about(
        "nodes.tolerations",
        "Pods tolerate only the taints that the policy lists",
        "Taints keep pods off control-plane nodes and other tenants' nodes. nodes.tolerations says what is required and what is allowed.",
        "tolerations: [{operator: Exists}]",
        "tolerations: [{key: nvidia.com/gpu, operator: Exists}]   # with this key in nodes.tolerations.allowed",
    ),
    about(
        "nodes.scheduler",
        "Pods are placed by a scheduler that the policy lists",
        "Another scheduler may know nothing of the rules of this one. nodes.schedulers lists them; default-scheduler, if none is listed.",
        "schedulerName: mine",
        "schedulerName: default-scheduler",
    ),
    about(
        "nodes.topologyKeys",
        "Pods spread or keep together only by the labels of nodes that the policy lists",
        "Affinities by any label tell a tenant about the host's nodes. nodes.topologyKeys lists the labels; any, if none is listed.",
        "topologySpreadConstraints: [{topologyKey: internal.example/rack, ...}]",
        "topologySpreadConstraints: [{topologyKey: kubernetes.io/hostname, ...}]",
    ),
    about(
        "nodes.affinity",
        "Pods keep together with, or away from, pods of their own namespace alone",
        "By an affinity to pods of other namespaces a tenant could find out where others run, or keep them off nodes. The rule holds where the policy has nodes.",
        "podAffinityTerm: {namespaceSelector: {}, topologyKey: kubernetes.io/hostname}",
        "podAffinityTerm: {labelSelector: {matchLabels: {app: web}}, topologyKey: kubernetes.io/hostname}",
    ),
    about(
        "nodes.placement",
        "Pods keep other tenants' pods off their node",
        "With nodes.placement Exclusive, no node runs pods of two policies. The term is added when the pod is made.",
        "affinity: {podAntiAffinity: {}} on a pod that was made before the policy said Exclusive",
        "the same pod, made anew",
    ),
    about(
        "resources.perPod",
        "No pod is larger than the policy allows",
        "One huge pod can starve a node although the quota is kept. resources.perPod.max and maxContainers say how much.",
        "resources: {requests: {cpu: \"64\"}}   # with resources.perPod.max cpu 8",
        "resources: {requests: {cpu: \"4\"}}",
    ),
    about(
        "resources.required",
        "Containers say what they need",
        "Who asks for nothing is placed anywhere and disturbs everybody there. resources.containers.require lists what must be said; \
         resources.containers.defaults is filled in first.",
        "containers: [{name: app}]",
        "containers: [{name: app, resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 128Mi}}}]",
    ),
    about(
        "resources.extended",
        "Pods use only those devices that the policy lists",
        "Devices such as GPUs are scarce, and some give access to the node. resources.extended lists them.",
        "resources: {limits: {vendor.example/nic: 1}}",
        "resources: {limits: {nvidia.com/gpu: 1}}   # with nvidia.com/gpu in resources.extended",
    ),
    about(
        "workloads.priorityClass",
        "Pods have a PriorityClass that the policy lists",
        "A high priority evicts other tenants' pods. workloads.priorityClasses lists those allowed besides defaultPriorityClass.",
        "priorityClassName: host-critical",
        "priorityClassName: tenant-low   # with this class in workloads.priorityClasses",
    ),
    about(
        "workloads.runtimeClass",
        "Pods have a RuntimeClass that the policy lists",
        "A sandbox such as gVisor or Kata protects only those who use it. workloads.runtimeClasses says what is required and allowed.",
        "runtimeClassName: runc",
        "runtimeClassName: gvisor   # filled in when required and left out",
    ),
    about(
        "workloads.storageClass",
        "Claims name a StorageClass that the policy lists",
        "Classes differ in price and in who else can read what they keep. workloads.storageClasses.allowed lists them.",
        "storageClassName: shared-nfs",
        "storageClassName: fast   # with this class in workloads.storageClasses.allowed",
    ),
    about(
        "workloads.dataSource",
        "Claims begin with what the policy allows",
        "A clone or snapshot of another's volume is another's data, and a chosen volume may be somebody else's. \
         workloads.storageClasses.dataSources decides: SameCluster or Deny.",
        "spec: {dataSource: {kind: VolumeSnapshot, name: s, apiGroup: snapshot.storage.k8s.io}}",
        "spec: {}   # an empty volume",
    ),
    about(
        "workloads.annotations",
        "Objects have only those annotations that the policy lists",
        "Annotations give orders to network plugins and agents of the host. workloads.allowedAnnotations lists globs; without a list, all \
         but known orders are allowed.",
        "annotations: {k8s.v1.cni.cncf.io/networks: host-net}",
        "annotations: {prometheus.io/scrape: \"true\"}",
    ),
    about(
        "workloads.labels",
        "Objects have only those labels that the policy lists",
        "Selectors of the host's own tools go by labels. workloads.allowedLabels lists globs; without a list all are allowed.",
        "labels: {backup.example/include: \"true\"}",
        "labels: {app: web}   # with app in workloads.allowedLabels",
    ),
    about(
        "workloads.terminationGracePeriod",
        "Pods end within the time that the policy allows",
        "A node that is drained waits for the slowest pod. workloads.maxTerminationGracePeriodSeconds says how long.",
        "terminationGracePeriodSeconds: 86400",
        "terminationGracePeriodSeconds: 60",
    ),
    about(
        "network.serviceType",
        "Services are of the types that the policy lists",
        "Node ports and load balancers open clusters to the outside, and cost. network.services.types lists them.",
        "spec: {type: LoadBalancer}",
        "spec: {type: ClusterIP}",
    ),
    about(
        "network.loadBalancer",
        "Load balancers are of the classes that the policy lists, and at addresses that the host chooses",
        "A class or address of one's own choice may be another's. network.services.loadBalancerClasses lists them.",
        "spec: {type: LoadBalancer, loadBalancerIP: 10.0.0.1}",
        "spec: {type: LoadBalancer}",
    ),
    about(
        "network.nodePorts",
        "Services name ports of the nodes only in the policy's range",
        "A port of a node belongs to the whole host. network.services.nodePortRange says which may be had: where there is one, a Service names its \
         port, as the host would choose of all.",
        "ports: [{port: 80, nodePort: 32000}]   # with a range from 30000 to 30100",
        "ports: [{port: 80, nodePort: 30080}]",
    ),
    about(
        "network.ingressHosts",
        "Ingresses have the host names that the policy lists, and none that another namespace has",
        "Who serves a host name gets its visitors' passwords. network.ingresses.hosts lists names and *.names.",
        "rules: [{host: bank.example}]",
        "rules: [{host: shop.a.example}]   # with *.a.example in network.ingresses.hosts",
    ),
    about(
        "network.ingressClass",
        "Ingresses name an IngressClass that the policy lists",
        "Classes differ in who can reach them. network.ingresses.classes lists them.",
        "ingressClassName: internal",
        "ingressClassName: nginx   # with this class in network.ingresses.classes",
    ),
    about(
        "network.ingressAnnotations",
        "Ingresses and Services have only those annotations that the policy lists",
        "Annotations give orders to the host's ingress controllers, up to code of one's own. network.ingresses.annotations lists them.",
        "annotations: {nginx.ingress.kubernetes.io/server-snippet: \"...\"}",
        "annotations: {nginx.ingress.kubernetes.io/ssl-redirect: \"true\"}   # when it is listed",
    ),
    about(
        "tenancy.clusters",
        "Clusters have the mode of the policy, and are as many in a namespace as it allows",
        "Clusters of one namespace are not protected from one another. allowedMode and tenancy.clustersPerNamespace decide.",
        "spec: {mode: virtual}   # with allowedMode shared",
        "spec: {mode: shared}",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    #[test]
    fn every_rule_is_described_once_and_in_order() {
        let described: Vec<&str> = all().map(|description| description.rule).collect();
        let rules: Vec<&str> = rules::ALL.iter().chain(rules::GUARDS).copied().collect();
        assert_eq!(described, rules);
    }

    #[test]
    fn what_holds_without_the_webhook_is_said_of_rules_that_exist() {
        for (rule, _) in FLOOR {
            assert!(describe(rule).is_some(), "{rule}");
        }
    }

    #[test]
    fn descriptions_say_something() {
        for description in all() {
            let Description { rule, title, why, example_bad, example_good } = *description;
            for text in [title, why, example_bad, example_good] {
                assert!(!text.trim().is_empty() && !text.contains('\n'), "{rule}: {text:?}");
            }
            assert!(!title.ends_with('.'), "{rule}");
            assert!(why.ends_with('.'), "{rule}");
        }
    }
}
