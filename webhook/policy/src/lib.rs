//! What a `VirtualClusterPolicy` allows, as pure functions: from an object, who wrote it and what is known of the host
//! to the violations that are found ([`pod_security`] and the other rules) and the changes that are made.
//!
//! The webhook enforces by it, the virtual kubelet warns by it inside, the plugin explains and tests by it: there is
//! one evaluator. It does no I/O and reads no clock.

pub mod pod_security;
