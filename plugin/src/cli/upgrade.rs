//! `upgrade`.

use super::{DryRunFlag, WaitFlags, create};
use clap::Args;

/// `upgrade`.
#[derive(Args, Debug)]
#[command(
    after_help = "One minor version at a time, and never back. Servers are replaced one after the other, each when all of them are
well. If the first does not start, it gets back what ran before.

Examples:
  kubectl k3k upgrade dev --version v1.36.3-k3s1
  kubectl k3k upgrade team-a/ci --version v1.36.3-k3s1 --yes --timeout 15m"
)]
pub(crate) struct UpgradeArgs {
    /// The cluster; NAME or NAMESPACE/NAME
    pub(crate) name: String,

    /// Version of K3s that it shall run
    #[arg(long, value_name = "vX.Y.Z-k3sN", value_parser = create::version)]
    pub(crate) version: String,

    /// Do not ask
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,

    #[command(flatten)]
    pub(crate) wait: WaitFlags,
}
