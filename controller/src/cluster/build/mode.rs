//! What a cluster consists of, by its mode.

use k3k_api::v1beta1::Mode;

/// How the nodes of a nested cluster come about. All that depends on the mode follows from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// Shared: a virtual kubelet shows them, and tenants' pods are pods of the host.
    Shown,
    /// Virtual: the cluster's own pods are the nodes, and tenants' pods run inside them.
    Pods,
    /// Hcp: they join from outside.
    Outside,
}

impl Nodes {
    /// The nodes of a cluster of this mode.
    pub fn of(mode: Mode) -> Self {
        match mode {
            Mode::Shared => Self::Shown,
            Mode::Virtual => Self::Pods,
            Mode::Hcp => Self::Outside,
        }
    }

    /// Whether there is a virtual kubelet, with its Services, its identity in the host and the rules that it is told.
    pub fn are_shown(self) -> bool {
        self == Self::Shown
    }

    /// Whether they join from outside, at the address where the API is exposed.
    pub fn are_outside(self) -> bool {
        self == Self::Outside
    }

    /// Whether servers are nodes, and agents are beside them.
    pub fn are_pods(self) -> bool {
        self == Self::Pods
    }
}
