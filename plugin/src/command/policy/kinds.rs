//! The kinds that rules speak about.

use serde_json::Value;

/// What a kind is to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A pod.
    Pod,
    /// Something that makes pods, with the place of their template.
    Template(&'static str),
    /// A Service.
    Service,
    /// An Ingress.
    Ingress,
    /// A PersistentVolumeClaim.
    Claim,
    /// A cluster of k3k.
    Cluster,
    /// Something that only the host's guard rules speak about.
    Guarded,
}

/// A kind: API group, kind, plural, and what it is.
#[expect(clippy::struct_field_names, reason = "that is how Kubernetes calls it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// API group; empty for the core group.
    pub(super) group: &'static str,
    /// The version that the plugin asks the host for.
    pub(super) version: &'static str,
    /// The kind.
    pub(super) kind: &'static str,
    /// Its plural.
    pub(super) plural: &'static str,
    /// What it is.
    pub(super) what: What,
}

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    what: What,
) -> Kind {
    Kind { group, version, kind, plural, what }
}

/// Pods.
pub(super) const POD: Kind = kind("", "v1", "Pod", "pods", What::Pod);
/// Services.
pub(super) const SERVICE: Kind = kind("", "v1", "Service", "services", What::Service);
/// Ingresses.
pub(super) const INGRESS: Kind = kind("networking.k8s.io", "v1", "Ingress", "ingresses", What::Ingress);
/// Claims.
pub(super) const CLAIM: Kind = kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", What::Claim);
/// Clusters.
pub(super) const CLUSTER: Kind = kind("k3k.io", "v1beta1", "Cluster", "clusters", What::Cluster);

/// Every kind that some rule speaks about.
const KINDS: &[Kind] = &[
    POD,
    SERVICE,
    INGRESS,
    CLAIM,
    CLUSTER,
    kind("apps", "v1", "Deployment", "deployments", What::Template("/spec/template")),
    kind("apps", "v1", "StatefulSet", "statefulsets", What::Template("/spec/template")),
    kind("apps", "v1", "DaemonSet", "daemonsets", What::Template("/spec/template")),
    kind("apps", "v1", "ReplicaSet", "replicasets", What::Template("/spec/template")),
    kind("", "v1", "ReplicationController", "replicationcontrollers", What::Template("/spec/template")),
    kind("", "v1", "PodTemplate", "podtemplates", What::Template("/template")),
    kind("batch", "v1", "Job", "jobs", What::Template("/spec/template")),
    kind("batch", "v1", "CronJob", "cronjobs", What::Template("/spec/jobTemplate/spec/template")),
    kind("", "v1", "Secret", "secrets", What::Guarded),
    kind("", "v1", "ConfigMap", "configmaps", What::Guarded),
    kind("", "v1", "ServiceAccount", "serviceaccounts", What::Guarded),
    kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", What::Guarded),
    kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", What::Guarded),
];

/// The kind of an object, if some rule speaks about it.
pub(super) fn of(object: &Value) -> Option<Kind> {
    let version = object["apiVersion"].as_str()?;
    let group = version.split_once('/').map_or("", |(group, _)| group);
    KINDS.iter().find(|known| known.group == group && object["kind"] == known.kind).copied()
}
