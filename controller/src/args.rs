//! The command line.

use clap::Parser;
use k3k_runtime::admin::AdminArgs;
use k3k_runtime::log::LogArgs;

/// Makes, watches over and removes nested K3s clusters.
#[derive(Parser, Clone, Debug)]
#[command(name = "k3k-controller", version)]
pub struct Args {
    /// Where images come from.
    #[command(flatten)]
    pub images: Images,

    /// Clusters that are reconciled at the same time.
    #[arg(long, env = "K3K_MAX_CONCURRENT_RECONCILES", default_value_t = 50, value_name = "N")]
    pub max_concurrent_reconciles: u16,

    /// Pods of each cluster's virtual kubelet. One acts; another takes over when it ends.
    #[arg(long, env = "K3K_KUBELET_REPLICAS", default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub kubelet_replicas: u16,

    /// Namespace of the controller, where its Lease lies.
    #[arg(long, env = "CONTROLLER_NAMESPACE", default_value = "k3k-system", value_name = "NAMESPACE")]
    pub namespace: String,

    /// Name of this process in the Lease and in events: its pod's name.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,

    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,

    /// Probes and metrics.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Where images come from.
#[derive(clap::Args, Clone, Debug)]
pub struct Images {
    /// Image of K3s without a tag; a cluster's version is the tag.
    #[arg(
        long = "server-image",
        env = "K3K_SERVER_IMAGE",
        default_value = "rancher/k3s",
        value_name = "IMAGE"
    )]
    pub server: String,

    /// Image of k3k, which holds the virtual kubelet.
    #[arg(
        long = "image",
        env = "K3K_IMAGE",
        default_value = concat!("ghcr.io/k3k-io/k3k:v", env!("CARGO_PKG_VERSION")),
        value_name = "IMAGE"
    )]
    pub kubelet: String,

    /// Pull policy of the K3s image: Always, `IfNotPresent` or Never. Default: Kubernetes'.
    #[arg(long, env = "K3K_SERVER_IMAGE_PULL_POLICY", value_parser = PULL_POLICIES, value_name = "POLICY")]
    pub server_image_pull_policy: Option<String>,

    /// Pull policy of the k3k image: Always, `IfNotPresent` or Never. Default: Kubernetes'.
    #[arg(long, env = "K3K_IMAGE_PULL_POLICY", value_parser = PULL_POLICIES, value_name = "POLICY")]
    pub image_pull_policy: Option<String>,

    /// Secret in each cluster's namespace to pull images with. May be given more than once.
    #[arg(
        long = "image-pull-secret",
        env = "K3K_IMAGE_PULL_SECRETS",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub pull_secrets: Vec<String>,
}

/// What Kubernetes takes as a pull policy.
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

impl Default for Images {
    /// The flags' defaults.
    fn default() -> Self {
        Self {
            server: "rancher/k3s".to_owned(),
            kubelet: concat!("ghcr.io/k3k-io/k3k:v", env!("CARGO_PKG_VERSION")).to_owned(),
            server_image_pull_policy: None,
            image_pull_policy: None,
            pull_secrets: Vec::new(),
        }
    }
}
