//! The harness of the tests that need a real API server or the lab. What a test needs is in its file's name:
//! `*_api` a real API server, `e2e_*` the lab; both are ignored by a plain `cargo test`, and run by `make test`.
//!
//! Nothing here is silently skipped: without the binary or the lab that it needs, a test fails and says what makes it.

pub mod api_server;
pub mod chart;
pub mod corpus;
pub mod lab;
pub mod namespace;
pub mod nested;
pub mod outside;
pub mod plugin;
mod process;
pub mod registry;
pub mod wait;
pub mod workspace;

pub use api_server::ApiServer;
pub use namespace::in_namespace;
pub use registry::Registry;
