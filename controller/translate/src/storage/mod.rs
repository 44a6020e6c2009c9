//! Persistent storage. The host is to a nested cluster what an external provisioner is to any cluster: classes name it, it
//! makes a volume for each claim, and removes the volume when the claim is gone. Its volumes are claims of the host.

mod claim;
mod volume;

pub use claim::{capacity_request, claim, host_class};
pub use volume::{Stage, claim_status, home, is_retained, stage, volume, volume_name};
