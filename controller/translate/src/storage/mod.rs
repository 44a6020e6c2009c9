//! Persistent storage. The host is to a nested cluster what an external provisioner is to any cluster: classes name it, it
//! makes a volume for each claim, and removes the volume when the claim is gone. Its volumes are claims of the host.

mod claim;
mod class;
mod volume;

pub use claim::{capacity_request, claim, host_class};
pub use class::{class, is_offered};
pub use volume::{Stage, claim_status, home, is_retained, stage, volume, volume_name};

/// The provisioner that nested classes name, and the CSI driver that nested volumes name. Nobody answers to it inside: the
/// nested cluster's controllers leave such claims and volumes to an external party, which we are.
pub const PROVISIONER: &str = "k3k.io/host";

/// Parameter of a nested class with the name of the host's class.
pub const HOST_CLASS: &str = "class";
