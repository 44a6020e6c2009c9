//! The etcd that several servers keep together: who its members are, and how they join and leave.
//!
//! Servers join by themselves, as k3s has it. What they cannot do is left to the controller: to tell the others the address of a pod that
//! was made anew, to remove a member whose data are lost or whose server shall go, and to say when nobody may begin a cluster any more.

mod client;
mod decide;
mod message;
mod step;

pub use step::{Outcome, step};
