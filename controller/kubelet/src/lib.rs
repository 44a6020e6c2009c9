//! The virtual kubelet of one nested cluster in shared mode: a Node in the nested cluster whose pods run as pods of the host.
//!
//! Two of them run. Both answer the nested API server ([`serving`]) and keep caches ([`feed`]); the one that holds the Lease does all
//! writing: [`node`] shows signs of life, [`pods`] and [`sync`] bring the two sides to agree through [`converge`].

pub mod admission;
pub mod args;
pub mod cache;
pub mod clients;
pub mod config;
pub mod converge;
pub mod feed;
#[cfg(test)]
mod fixture;
mod lead;
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
