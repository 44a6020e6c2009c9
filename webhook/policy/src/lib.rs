//! What a `VirtualClusterPolicy` allows, as pure functions: from an object, who writes it and what is known of the host to all that speaks
//! against it ([`judge()`]), and to the object as the policy wants it ([`mutate`]).
//!
//! The webhook enforces by it, the virtual kubelet warns by it inside, the plugin explains and tests by it: there is one evaluator. It does no
//! I/O and reads no clock.

mod clusters;
pub mod control_plane;
pub mod described;
pub mod glob;
mod governing;
mod guard;
mod judge;
pub mod mutate;
mod objects;
pub mod pod;
pub mod pod_security;
mod policy;
pub mod question;
pub mod rules;
pub mod templates;
pub mod told;
mod violation;

pub use governing::Governing;
pub use judge::{Facts, MALFORMED, POLICY_MISSING, judge, nested};
pub use objects::hosts;
pub use policy::{CompileError, Policy, Source, is_private};
pub use question::{Operation, Question, Requester};
pub use violation::{Violation, is_guard};

/// Reads a `VirtualClusterPolicy`.
///
/// # Errors
/// The field that cannot be understood, and why.
pub fn read_policy(object: &serde_json::Value) -> Result<Policy, CompileError> {
    guard::read_policy(object).map_err(|(field, message)| CompileError { field, message })
}
