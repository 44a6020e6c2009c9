//! The endpoints over real TLS, between a fake nested API server and a fake host that both speak HTTP over loopback.

mod access;
mod admission;
mod caller;
mod fixture;
mod logs;
mod streams;
mod usage;
