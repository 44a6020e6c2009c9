//! Admission for everything that nested clusters create in the host. The host's API server asks about each pod in
//! a cluster namespace; the answer follows from the pod and from the `VirtualClusterPolicy` of the namespace.
//!
//! The way of a request: [`server`] (HTTP, within limits) → [`review`] (the envelope) → [`lookup`] (the policy) →
//! [`decision`] (pure; the rules are the table in [`policy`]) → back. [`serving`] keeps the certificate.

pub mod args;
pub mod decision;
pub mod lookup;
mod metrics;
pub mod policy;
pub mod registry;
pub mod review;
mod run;
pub mod server;
pub mod serving;
pub mod snapshot;
pub mod strict_json;

pub use metrics::Metrics;
pub use run::{Error, run};
