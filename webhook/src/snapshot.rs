//! What one decision rests on, besides the object itself: read once per request, then immutable.

use k3k_api::v1beta1::PodSecurityLevel;
use std::fmt;

/// The facts of the host that a request is judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What governs the request's namespace.
    pub policy: Governing,
}

/// The policy that a namespace is bound to by its label `policy.k3k.io/policy-name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Governing {
    /// The namespace names no policy: the strict defaults hold.
    #[default]
    Default,
    /// The namespace names this policy.
    Named(Policy),
    /// The namespace names a policy that does not exist. Nothing new may be created.
    Missing {
        /// The name in the label.
        name: String,
    },
    /// The policy exists, but says something that this version does not understand. Nothing new may be created.
    Unreadable {
        /// The policy's name.
        name: String,
        /// What could not be understood.
        error: String,
    },
}

/// The parts of a `VirtualClusterPolicy` that rules read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The object's name.
    pub name: String,
    /// `spec.podSecurityAdmissionLevel`.
    pub pod_security: Option<PodSecurityLevel>,
}

impl Snapshot {
    /// Whether pods may do to the host what they like.
    pub fn privileged(&self) -> bool {
        matches!(&self.policy, Governing::Named(policy) if policy.pod_security == Some(PodSecurityLevel::Privileged))
    }
}

/// How the policy is called in a sentence.
impl fmt::Display for Governing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("the default policy"),
            Self::Named(Policy { name, .. }) | Self::Missing { name } | Self::Unreadable { name, .. } => {
                write!(out, "VirtualClusterPolicy {name:?}")
            }
        }
    }
}
