//! Pausing a cluster and going on with it.
//!
//! A pause is the order in which the parts of a cluster stop. The virtual kubelet first: while it runs, it takes a host pod that goes
//! for one that somebody deleted, and tells the tenant so. Then tenants' pods, unless they are kept, while the nested API still
//! answers them. Then the servers. The pods' objects inside stay as they are, and what the virtual kubelet is told after the pause
//! ([`Step::stopped_until`]) is that those which started before have no host pod because of it.

mod decide;
mod look;

pub use decide::{Running, Step, Verdict};
pub use look::step;
