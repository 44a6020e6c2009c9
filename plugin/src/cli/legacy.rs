//! k3kcli's spellings, for scripts and fingers. They do what our own commands do.

use super::{CreateArgs, DeleteArgs, GetArgs};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `cluster …`.
#[derive(Debug, Subcommand)]
pub(crate) enum LegacyCluster {
    /// Make a cluster
    Create(Box<CreateArgs>),
    /// Show clusters
    #[command(visible_alias = "ls")]
    List(GetArgs),
    /// Delete a cluster
    Delete(DeleteArgs),
}

/// `kubeconfig generate`.
#[derive(Args, Debug)]
pub(crate) struct LegacyGenerate {
    /// The cluster; NAME or NAMESPACE/NAME
    #[arg(required_unless_present = "legacy_name")]
    pub(crate) name: Option<String>,

    /// The cluster
    #[arg(long = "name", conflicts_with = "name", value_name = "NAME")]
    pub(crate) legacy_name: Option<String>,

    /// File to write. Default: NAMESPACE-NAME-kubeconfig.yaml
    #[arg(long, value_name = "FILE")]
    pub(crate) config_name: Option<PathBuf>,

    /// Host, host:port or URL to write into the kubeconfig instead of the cluster's own
    #[arg(long, value_name = "HOST")]
    pub(crate) kubeconfig_server: Option<String>,
}
