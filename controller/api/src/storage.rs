//! The words by which storage of the host is known inside a nested cluster.

/// The provisioner that nested classes name, and the CSI driver that nested volumes name. Nobody answers to it inside: the
/// nested cluster's controllers leave such claims and volumes to an external party, which the virtual kubelet is.
/// A CSI driver's name must be a DNS name.
pub const PROVISIONER: &str = "host.k3k.io";

/// Parameter of a nested class with the name of the host's class.
pub const HOST_CLASS: &str = "class";
