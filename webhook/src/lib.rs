//! Admission for everything that nested clusters create in the host. The host's API server asks about each object in
//! a cluster namespace that rules look at; the answer follows from the object, from who asks, and from the `VirtualClusterPolicy` of the namespace.
//!
//! The way of a request: [`server`] (HTTP, within limits) → [`review`] (the envelope) → [`answering`] (what has to be found out: [`lookup`] asks
//! the host, [`registry`] registries) → [`decision`] (pure; the rules are those of `k3k_policy`) → back. [`serving`] keeps the certificate,
//! [`acknowledge`] says by which policies this replica decides.

pub mod acknowledge;
pub mod answering;
pub mod args;
pub mod decision;
pub mod index;
pub mod lookup;
mod metrics;
pub mod registry;
pub mod review;
mod run;
pub mod server;
pub mod serving;
pub mod strict_json;

pub use metrics::Metrics;
pub use run::{Error, run};
