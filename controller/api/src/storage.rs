//! The words by which storage of the host is known inside a nested cluster.

/// The provisioner that nested classes name, and the CSI driver that nested volumes name. Nobody answers to it inside: the
/// nested cluster's controllers leave such claims and volumes to an external party, which the virtual kubelet is.
pub const PROVISIONER: &str = "k3k.io/host";

/// Parameter of a nested class with the name of the host's class.
pub const HOST_CLASS: &str = "class";
