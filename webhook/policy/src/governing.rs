//! What governs a namespace.

use crate::Policy;
use std::fmt;
use std::sync::Arc;

/// The policy that a namespace is bound to by its label `policy.k3k.io/policy-name`.
#[derive(Clone, Debug, Default)]
pub enum Governing {
    /// The namespace names no policy: what an empty policy says holds.
    #[default]
    Default,
    /// The namespace names this policy.
    Named(Arc<Policy>),
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

impl Governing {
    /// The policy's name, if one is named.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Default => None,
            Self::Named(policy) => Some(&policy.name),
            Self::Missing { name } | Self::Unreadable { name, .. } => Some(name),
        }
    }
}

/// How the policy is called in a sentence.
impl fmt::Display for Governing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            None => out.write_str("the default policy"),
            Some(name) => write!(out, "VirtualClusterPolicy {name:?}"),
        }
    }
}
