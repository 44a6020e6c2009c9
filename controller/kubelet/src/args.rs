//! Flags of the virtual kubelet.

use clap::Parser;
use k3k_runtime::{admin::AdminArgs, log::LogArgs};
use std::net::IpAddr;
use std::path::PathBuf;

/// Runs the pods of one nested k3s cluster as pods of its host.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Configuration that the controller writes; certificates and keys lie beside it.
    #[arg(long, default_value = "/opt/rancher/k3k/config.yaml")]
    pub config: PathBuf,
    /// Address of the host's node that this runs on, where node ports of tenants' Services are open. The virtual node shows it.
    #[arg(long, env = "HOST_IP", value_name = "ADDRESS")]
    pub host_ip: Option<IpAddr>,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
    /// Health and metrics.
    #[command(flatten)]
    pub admin: AdminArgs,
}
