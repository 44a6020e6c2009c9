//! The flags of `pause` and `resume`.

use super::{DryRunFlag, WaitFlags};
use clap::Args;

/// `pause`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k pause dev                 its servers and its pods stop; volumes, certificates and addresses stay
  kubectl k3k pause dev --keep-pods     its pods run on, only its API stops
  kubectl k3k resume dev")]
pub(crate) struct PauseArgs {
    /// The cluster; NAME or NAMESPACE/NAME
    pub(crate) name: String,

    /// Let the cluster's pods run on. Only in mode shared
    #[arg(long)]
    pub(crate) keep_pods: bool,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,

    #[command(flatten)]
    pub(crate) wait: WaitFlags,
}

/// `resume`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k resume dev
  kubectl k3k resume team-a/ci --no-wait")]
pub(crate) struct ResumeArgs {
    /// The cluster; NAME or NAMESPACE/NAME
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,

    #[command(flatten)]
    pub(crate) wait: WaitFlags,
}
