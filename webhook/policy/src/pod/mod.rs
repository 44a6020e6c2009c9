//! What pods may say: the Pod Security Standards with what a policy adds to them, images, nodes, resources, and what of the host they name.

mod images;
mod nodes;
pub(crate) mod privilege;
mod resources;
mod security;
mod subject;
pub(crate) mod view;
mod volumes;
mod workloads;

pub(crate) use subject::Placed;
pub use subject::{Malformed, Subject};
pub(crate) use workloads::{annotation as metadata_annotation, is_kubernetes_own, metadata_label};

use crate::policy::{Policy, Source};
use crate::question::{annotation, label};
use crate::violation::Violation;
use k3k_api::labels;
use serde_json::Value;

/// What a pod is to k3k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// The host copy of a tenant's pod.
    Tenant(Source<'a>),
    /// A server, an agent or a virtual kubelet.
    ControlPlane,
    /// Neither: somebody made it in the namespace of a cluster.
    Stranger,
}

impl<'a> Role<'a> {
    /// What a pod of the host is, by labels that only k3k can set.
    pub fn of(pod: &'a Value) -> Self {
        if label(pod, labels::COMPONENT).is_some() {
            return Self::ControlPlane;
        }
        match label(pod, labels::CLUSTER_NAME) {
            Some(cluster) => Self::Tenant(Source {
                cluster,
                virtual_namespace: annotation(pod, labels::VIRTUAL_NAMESPACE).unwrap_or_default(),
            }),
            None => Self::Stranger,
        }
    }

    /// Where it comes from.
    pub fn source(self) -> Source<'a> {
        match self {
            Self::Tenant(source) => source,
            Self::ControlPlane | Self::Stranger => Source::default(),
        }
    }
}

/// A check of one rule, or of some of one kind.
type Check = fn(&Subject<'_>, &Policy, Role<'_>) -> Vec<Violation>;

/// All checks of pods, in the order in which denials report them.
const CHECKS: &[Check] = &[
    security::standards,
    security::user_namespaces,
    security::control_plane,
    volumes::check,
    images::check,
    nodes::check,
    resources::check,
    workloads::check,
];

/// Everything about `subject` that breaks a rule of `policy`.
pub fn check(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    CHECKS.iter().flat_map(|check| check(subject, policy, role)).collect()
}

/// Only what a change of a running pod's resources can break.
pub fn check_resize(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    resources::check(subject, policy, role)
}
