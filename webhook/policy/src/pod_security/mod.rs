//! The [Pod Security Standards], exactly as the PodSecurity admission of Kubernetes 1.36 evaluates their version
//! `latest`. `tests/tests/pod_security_api` holds the two against each other.
//!
//! Every check is a rule with an id. What no level allows is found by the same rule at both levels; what only
//! Restricted forbids is found there, and says so in [`Finding::level`].
//!
//! [Pod Security Standards]: https://kubernetes.io/docs/concepts/security/pod-security-standards/

mod capabilities;
mod host;
mod kernel;
mod network;
mod profiles;
mod user;
mod view;
mod volumes;

use crate::pod::Subject;
use k3k_api::v1beta1::PodSecurityLevel;
use view::Pod;

pub use capabilities::CAPABILITIES;
pub use host::{HOST_NAMESPACES, HOST_PROCESS};
pub use kernel::{PRIVILEGED, PROC_MOUNT, SYSCTLS};
pub use network::{HOST_PORTS, HOST_PROBES};
pub use profiles::{APP_ARMOR, SE_LINUX, SECCOMP};
pub use user::{ALLOW_PRIVILEGE_ESCALATION, RUN_AS_NON_ROOT, RUN_AS_USER};
pub use volumes::{HOST_PATH, VOLUME_TYPES};

/// The id of every rule of the Pod Security Standards (v1.36): first those of Baseline, then those that only
/// Restricted has. Capabilities, procMount and seccomp belong to both, and Restricted asks for more.
pub const RULES: &[&str] = &[
    PRIVILEGED,
    HOST_NAMESPACES,
    HOST_PATH,
    HOST_PORTS,
    HOST_PROCESS,
    HOST_PROBES,
    CAPABILITIES,
    PROC_MOUNT,
    SYSCTLS,
    SE_LINUX,
    APP_ARMOR,
    SECCOMP,
    VOLUME_TYPES,
    ALLOW_PRIVILEGE_ESCALATION,
    RUN_AS_NON_ROOT,
    RUN_AS_USER,
];

/// One way in which a pod goes beyond a level of the Pod Security Standards (v1.36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of [`RULES`].
    pub rule: &'static str,
    /// The least strict level that forbids it: Baseline or Restricted.
    pub level: PodSecurityLevel,
    /// The field's path in the pod, for example `spec.containers[0].securityContext.privileged`.
    pub field: String,
    /// The name of the container it is about. Empty when it is about the pod.
    pub container: String,
    /// What the field says, as text that completes "is …". Strings are in quotes.
    pub found: String,
    /// What the level that was asked for allows there: completes "…, but the policy allows …".
    pub allowed: &'static str,
}

/// Everything in a pod that `level` of the Pod Security Standards (v1.36, `latest`) forbids, in field order: the
/// annotations, the pod's own fields, its containers list by list, its volumes. Nothing under Privileged.
///
/// The pod is judged as the API server has it: a volume that names no kind gets one there, and is unknown here.
///
/// A fault that one field hands on to others is found once: a pod-level value that the containers inherit, the ports of
/// a pod in the node's network, an AppArmor profile that stands in a field and in an annotation.
pub fn check(subject: &Subject<'_>, level: PodSecurityLevel) -> Vec<Finding> {
    let mut found = Vec::new();
    if level == PodSecurityLevel::Privileged {
        return found;
    }
    let pod = Pod { subject, restricted: level == PodSecurityLevel::Restricted };
    profiles::annotations(&pod, &mut found);
    host::pod(&pod, &mut found);
    kernel::pod(&pod, &mut found);
    profiles::pod(&pod, &mut found);
    user::pod(&pod, &mut found);
    for container in pod.containers() {
        network::container(&pod, &container, &mut found);
        host::container(&container, &mut found);
        kernel::container(&pod, &container, &mut found);
        capabilities::container(&pod, &container, &mut found);
        profiles::container(&pod, &container, &mut found);
        user::container(&pod, &container, &mut found);
    }
    volumes::pod(&pod, &mut found);
    found
}

#[cfg(test)]
mod tests;
