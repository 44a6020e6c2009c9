//! The mapping between the objects of a nested cluster and their copies in its host: names, metadata, pods,
//! services, statuses, events, and the paths of streams. Pure functions on JSON values, so that a field this
//! build has never heard of is refused by name instead of being lost.

pub mod class;
pub mod copy;
pub mod data;
pub mod disruption;
pub mod endpoints;
pub mod event;
pub mod identity;
pub mod ingress;
pub mod network_policy;
pub mod pod;
pub mod refusal;
pub mod selector;
pub mod service;
pub mod status;
pub mod storage;
pub mod stream;

pub use identity::{Origin, Owner};
pub use refusal::Refusal;
