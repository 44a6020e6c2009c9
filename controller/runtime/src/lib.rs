//! What every k3k server process shares: flags, logs, admin endpoints, shutdown, leader election, certificates,
//! TLS listeners and server-side apply. It knows no custom resource.

pub mod admin;
pub mod apply;
pub mod certificates;
pub mod lease;
pub mod log;
pub mod ready;
#[cfg(any(test, feature = "scenario"))]
pub mod scenario;
pub mod serve;
pub mod shutdown;
pub mod tls;
