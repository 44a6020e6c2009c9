//! The virtual kubelet of one nested cluster in shared mode: a Node in the nested cluster whose pods run as pods of the host.
//!
//! [`run`] ties the parts together: [`node`] shows signs of life, [`pods`] and [`sync`] bring the two sides to agree through
//! [`converge`], [`serving`] answers the nested API server.

pub mod args;
pub mod clients;
pub mod config;
pub mod converge;
#[cfg(test)]
mod fixture;
pub mod metrics;
pub mod node;
pub mod pods;
mod run;
pub mod server;
pub mod serving;
pub mod sync;
pub mod usage;
pub mod uses;
pub mod watch;
pub mod world;

pub use run::run;
