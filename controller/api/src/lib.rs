//! The vocabulary of k3k: the custom resources of `k3k.io/v1beta1`, the names and labels of every object
//! that k3k makes, and the field managers that write them. Pure data: no client, no clock, no I/O.

pub mod break_glass;
pub mod conditions;
pub mod host_node;
pub mod image;
pub mod labels;
pub mod managers;
pub mod names;
pub mod offered;
pub mod quantity;
pub mod storage;
pub mod told_policy;
pub mod upgrade;
pub mod v1beta1;
pub mod version;

pub use v1beta1::crds;
