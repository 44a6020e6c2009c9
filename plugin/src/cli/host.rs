//! The flags of `install` and `uninstall`.

use super::{DocumentFormat, DryRunFlag, WaitFlags};
use clap::Args;

/// `install`. The namespace is `-n`, else `k3k-system`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k install
  kubectl k3k install --dry-run=server
  kubectl k3k install --dry-run=client -o yaml > k3k.yaml
  kubectl k3k install --image registry.example.com/k3k:v0.1.0 --set webhook.replicas=1")]
pub(crate) struct InstallArgs {
    /// Image of the controller, the virtual kubelet and the webhook
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,

    /// When nodes pull that image: Always, IfNotPresent or Never
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub(crate) image_pull_policy: Option<String>,

    /// Image of the K3s servers, without tag
    #[arg(long, value_name = "IMAGE")]
    pub(crate) server_image: Option<String>,

    /// Another value of the chart; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,

    /// Print the manifests in this format
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<DocumentFormat>,

    #[command(flatten)]
    pub(crate) wait: WaitFlags,
}

/// `uninstall`. The namespace is `-n`, else `k3k-system`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k uninstall
  kubectl k3k uninstall --delete-clusters --crds --yes")]
pub(crate) struct UninstallArgs {
    /// Delete all clusters of this host first. Without this flag they are in the way
    #[arg(long)]
    pub(crate) delete_clusters: bool,

    /// Delete the custom resource definitions too, and with them all policies
    #[arg(long)]
    pub(crate) crds: bool,

    /// Do not ask
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) wait: WaitFlags,
}
