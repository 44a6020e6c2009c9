//! The command line: types only, shared by the parser, the completions and the reference page.

mod connection;
mod create;
mod host;
mod join;
mod legacy;
mod pause;
mod policy;
mod upgrade;

pub(crate) use connection::{ConnectionFlags, connection_flags};
pub(crate) use create::{CreateArgs, ExposeFlag, PersistenceFlag, StorageFlag};
pub(crate) use host::{InstallArgs, UninstallArgs};
pub(crate) use join::JoinArgs;
pub(crate) use legacy::{LegacyCluster, LegacyGenerate};
pub(crate) use pause::{PauseArgs, ResumeArgs};
pub(crate) use policy::{
    BreakGlassArgs, DigestFlag, PlacementFlag, PolicyAuditArgs, PolicyBindArgs, PolicyCommand,
    PolicyCreateArgs, PolicyDeleteArgs, PolicyDescribeArgs, PolicyExplainArgs, PolicyGetArgs, PolicyTestArgs,
    PolicyUnbindArgs, PullPolicyFlag, RegistryFlag, ServiceTypeFlag, TestFormat,
};
pub(crate) use upgrade::UpgradeArgs;

use crate::output::{age, object::Format};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Isolated K3s clusters inside this Kubernetes cluster
#[derive(Debug, Parser)]
#[command(
    name = "kubectl k3k",
    version = concat!("v", env!("CARGO_PKG_VERSION")),
    disable_help_subcommand = true,
    infer_long_args = false,
    help_template = "{about}{after-help}\n\nUsage:\n  {usage}\n\n\
        Use \"kubectl k3k COMMAND --help\" for a command, \"kubectl k3k options\" for the flags of all commands.\n",
    max_term_width = 110,
)]
pub(crate) struct Cli {
    /// How to reach the host.
    #[command(flatten)]
    pub(crate) connection: ConnectionFlags,

    /// What to do; help if nothing.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a cluster, wait until it is ready and add it to your kubeconfig
    Create(Box<CreateArgs>),
    /// Show clusters
    #[command(visible_aliases = ["list", "ls"])]
    Get(GetArgs),
    /// Show one cluster: what it is, what runs, what is wrong
    #[command(visible_alias = "status")]
    Describe(DescribeArgs),
    /// Give a cluster the next version of K3s, one server after the other
    Upgrade(UpgradeArgs),
    /// Delete clusters and everything in them
    Delete(DeleteArgs),
    /// Stop a cluster and keep all of its state
    Pause(PauseArgs),
    /// Run a paused cluster again
    Resume(ResumeArgs),
    /// Print, merge or remove the kubeconfig of a cluster
    #[command(subcommand)]
    Kubeconfig(KubeconfigCommand),
    /// Work with a cluster: switch to it, run a command in it, or forward a port to it
    #[command(override_usage = "kubectl k3k connect NAME [--port-forward[=PORT]] [-- COMMAND...]")]
    Connect(ConnectArgs),
    /// Switch back to the context from before `connect`
    Disconnect,
    /// Run kubectl against a cluster, without touching your kubeconfig
    #[command(visible_alias = "k", override_usage = "kubectl k3k kubectl NAME -- ARGS...")]
    Kubectl(KubectlArgs),
    /// Show how a worker outside joins a cluster in mode hcp
    Join(JoinArgs),
    /// What clusters are held to: make, bind, test and explain policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Install K3k in this Kubernetes cluster, or bring it up to date
    Install(InstallArgs),
    /// Remove K3k from this Kubernetes cluster
    Uninstall(UninstallArgs),
    /// Show the versions of the plugin, the controller and the API
    Version(VersionArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
    /// List the flags that all commands accept
    Options,
    /// Show the help of a command
    Help(HelpArgs),
    /// Spellings of other tools
    #[command(subcommand, hide = true)]
    Cluster(LegacyCluster),
}

/// The commands in the order and under the headings in which help lists them.
pub(crate) const GROUPS: &[(&str, &[&str])] = &[
    ("Basic Commands", &["create", "get", "describe", "upgrade", "pause", "resume", "delete"]),
    ("Access Commands", &["connect", "disconnect", "kubeconfig", "kubectl", "join"]),
    ("Policy Commands", &["policy"]),
    ("System Commands", &["install", "uninstall", "version", "completion", "options", "help"]),
];

/// `get`.
#[derive(Args, Debug, Default)]
#[command(after_help = "Examples:
  kubectl k3k get                   all clusters you may see
  kubectl k3k get -n team-a -o wide
  kubectl k3k get dev -o yaml")]
pub(crate) struct GetArgs {
    /// Clusters to show; NAME or NAMESPACE/NAME. Default: all
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Look in all namespaces. This is the default when neither a name nor -n is given
    #[arg(short = 'A', long, conflicts_with = "names")]
    pub(crate) all_namespaces: bool,

    /// Only clusters whose labels match
    #[arg(short = 'l', long, value_name = "KEY=VALUE,...", conflicts_with = "names")]
    pub(crate) selector: Option<String>,

    /// Output format
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,

    /// Leave out the heading of the table
    #[arg(long)]
    pub(crate) no_headers: bool,
}

/// `describe`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k describe dev
  kubectl k3k status team-a/ci")]
pub(crate) struct DescribeArgs {
    /// The cluster; NAME or NAMESPACE/NAME
    pub(crate) name: String,
}

/// `delete`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(after_help = "Examples:
  kubectl k3k delete dev
  kubectl k3k delete dev --yes      no question, for scripts
  kubectl k3k delete --all -n team-a")]
pub(crate) struct DeleteArgs {
    /// Clusters to delete; NAME or NAMESPACE/NAME
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub(crate) names: Vec<String>,

    /// Delete all clusters of the namespace given with -n
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,

    /// Do not ask
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,

    /// A cluster that does not exist is not an error
    #[arg(long)]
    pub(crate) ignore_not_found: bool,

    /// Leave your kubeconfig alone
    #[arg(long)]
    pub(crate) keep_kubeconfig: bool,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,

    #[command(flatten)]
    pub(crate) wait: WaitFlags,
}

/// Whether to wait, and how long.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WaitFlags {
    /// Wait until it is done
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true,
        action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) wait: bool,

    /// Do not wait
    #[arg(long, conflicts_with = "wait")]
    pub(crate) no_wait: bool,

    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = age::parse, value_name = "DURATION")]
    pub(crate) timeout: Duration,
}

impl WaitFlags {
    /// Whether to wait.
    pub(crate) fn waits(self) -> bool {
        self.wait && !self.no_wait
    }
}

/// `--dry-run`.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DryRunFlag {
    /// Change nothing: "client" only shows what would be sent, "server" also lets the host judge it
    #[arg(long, value_enum, default_value = "none", default_missing_value = "client", num_args = 0..=1,
        require_equals = true, value_name = "WHERE")]
    pub(crate) dry_run: DryRun,
}

/// The values of `--dry-run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Not dry.
    None,
    /// Without asking the host.
    Client,
    /// The host checks and admits, but does not store.
    Server,
}

impl DryRun {
    /// What kubectl appends to its confirmations.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// `kubeconfig …`.
#[derive(Debug, Subcommand)]
pub(crate) enum KubeconfigCommand {
    /// Print the kubeconfig of a cluster
    #[command(after_help = "Examples:
  kubectl k3k kubeconfig get dev > dev.yaml")]
    Get(KubeconfigGetArgs),
    /// Add a cluster to your kubeconfig
    #[command(after_help = "Examples:
  kubectl k3k kubeconfig merge dev
  kubectl k3k kubeconfig merge dev --switch
  kubectl k3k kubeconfig merge team-a/dev --context-name team-a-dev")]
    Merge(KubeconfigMergeArgs),
    /// Remove from your kubeconfig exactly what was added for a cluster
    Remove(KubeconfigRemoveArgs),
    /// Write a kubeconfig file into the working directory
    #[command(hide = true)]
    Generate(LegacyGenerate),
}

/// `kubeconfig get`.
#[derive(Args, Debug)]
pub(crate) struct KubeconfigGetArgs {
    /// The cluster; NAME or NAMESPACE/NAME
    pub(crate) name: String,

    /// Host, host:port or URL to write into the kubeconfig instead of the cluster's own
    #[arg(long, value_name = "HOST")]
    pub(crate) kubeconfig_server: Option<String>,
}

/// `kubeconfig merge`.
#[derive(Args, Debug)]
pub(crate) struct KubeconfigMergeArgs {
    /// The cluster; NAME or NAMESPACE/NAME
    pub(crate) name: String,

    /// File to write; the default is the one kubectl would
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Name of the context, cluster and user. Default: k3k-NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) context_name: Option<String>,

    /// Make it the current context
    #[arg(long)]
    pub(crate) switch: bool,

    /// Replace entries of that name even if they belong to something else
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Host, host:port or URL to write into the kubeconfig instead of the cluster's own
    #[arg(long, value_name = "HOST")]
    pub(crate) kubeconfig_server: Option<String>,
}

/// `kubeconfig remove`.
#[derive(Args, Debug)]
pub(crate) struct KubeconfigRemoveArgs {
    /// The cluster; NAME or NAMESPACE/NAME. It need not exist any more
    pub(crate) name: String,
}

/// `connect`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k connect dev                        switch to it; kubectl k3k disconnect goes back
  kubectl k3k connect dev -- helm list -A        only for this command
  kubectl k3k connect dev --port-forward         through the host, when its address is out of reach
  kubectl k3k connect dev --port-forward -- make deploy")]
pub(crate) struct ConnectArgs {
    /// The cluster; NAME or NAMESPACE/NAME
    pub(crate) name: String,

    /// Forward a local port through the host to the cluster's API, until you stop it or the command ends. Default: a free
    /// port
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub(crate) port_forward: Option<u16>,

    /// A command to run with KUBECONFIG set to the cluster's, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// `kubectl`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k kubectl dev -- get nodes
  kubectl k3k k team-a/ci -- apply -f app.yaml")]
pub(crate) struct KubectlArgs {
    /// The cluster; NAME or NAMESPACE/NAME
    pub(crate) name: String,

    /// Arguments for kubectl, after `--`
    #[arg(last = true, required = true, value_name = "ARGS")]
    pub(crate) args: Vec<std::ffi::OsString>,
}

/// `version`. The controller is looked for in `-n`, else in `k3k-system`.
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Only the plugin; asks nothing of the host
    #[arg(long)]
    pub(crate) client: bool,

    /// Output format
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<DocumentFormat>,
}

/// The formats of commands that print one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocumentFormat {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl From<DocumentFormat> for Format {
    fn from(format: DocumentFormat) -> Self {
        match format {
            DocumentFormat::Json => Self::Json,
            DocumentFormat::Yaml => Self::Yaml,
        }
    }
}

/// `completion`.
#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `help`.
#[derive(Args, Debug)]
pub(crate) struct HelpArgs {
    /// The command
    pub(crate) command: Vec<String>,
}

/// The whole command tree, named after how it was called: `kubectl k3k` if the file is `kubectl-k3k`, as kubectl
/// runs it, else the file's own name.
pub(crate) fn tree(argv0: Option<&OsStr>) -> clap::Command {
    let file = argv0.and_then(|path| Path::new(path).file_stem()).and_then(OsStr::to_str).unwrap_or_default();
    let name = if file.is_empty() || file.starts_with("kubectl-") { "kubectl k3k" } else { file };
    let tree = Cli::command().bin_name(name);
    let commands = commands(&tree);
    tree.after_help(commands)
}

/// The grouped list of commands for the help of the plugin itself.
fn commands(tree: &clap::Command) -> String {
    let mut text = String::new();
    for (heading, names) in GROUPS {
        text.push_str(heading);
        text.push_str(":\n");
        for name in *names {
            let about =
                tree.find_subcommand(name).and_then(clap::Command::get_about).map(ToString::to_string);
            let _ = writeln!(text, "  {name:<12} {}", about.unwrap_or_default());
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests;
