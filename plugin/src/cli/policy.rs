//! The flags of `policy …`.

mod create;
mod evaluate;

pub(crate) use create::{
    DigestFlag, PlacementFlag, PolicyCreateArgs, PullPolicyFlag, RegistryFlag, ServiceTypeFlag,
};
pub(crate) use evaluate::{PolicyAuditArgs, PolicyExplainArgs, PolicyTestArgs, TestFormat};

use super::DryRunFlag;
use crate::output::{age, object::Format};
use clap::{Args, Subcommand};
use std::time::Duration;

/// `policy …`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Make a policy, and bind namespaces to it
    Create(Box<PolicyCreateArgs>),
    /// Show policies
    #[command(visible_aliases = ["list", "ls"])]
    Get(PolicyGetArgs),
    /// Show one policy: what it says, where it holds, what breaks it
    #[command(visible_alias = "status")]
    Describe(PolicyDescribeArgs),
    /// Have a policy govern namespaces
    Bind(PolicyBindArgs),
    /// Take namespaces away from their policy
    Unbind(PolicyUnbindArgs),
    /// Delete a policy that governs nothing
    Delete(PolicyDeleteArgs),
    /// Ask what a policy would say to manifests, without applying them
    Test(PolicyTestArgs),
    /// Say why: of a pod, a namespace, or a rule
    Explain(PolicyExplainArgs),
    /// List running objects that a policy would not let in now
    Audit(PolicyAuditArgs),
    /// Let things in for a while although the webhook cannot be asked
    BreakGlass(BreakGlassArgs),
}

/// `policy get`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k policy get
  kubectl k3k policy get gold -o yaml")]
pub(crate) struct PolicyGetArgs {
    /// Policies to show. Default: all
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Output format
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,

    /// Leave out the heading of the table
    #[arg(long)]
    pub(crate) no_headers: bool,
}

/// `policy describe`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k policy describe gold")]
pub(crate) struct PolicyDescribeArgs {
    /// The policy
    pub(crate) name: String,
}

/// `policy bind`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k policy bind gold team-a team-b
  kubectl k3k policy bind gold team-a --dry-run
  kubectl k3k policy bind gold team-a --overwrite     instead of the policy that it has")]
pub(crate) struct PolicyBindArgs {
    /// The policy
    pub(crate) name: String,

    /// The namespaces
    #[arg(required = true, value_name = "NAMESPACE")]
    pub(crate) namespaces: Vec<String>,

    /// Also take namespaces that are bound to another policy
    #[arg(long)]
    pub(crate) overwrite: bool,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,
}

/// `policy unbind`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k policy unbind team-a")]
pub(crate) struct PolicyUnbindArgs {
    /// The namespaces
    #[arg(required = true, value_name = "NAMESPACE")]
    pub(crate) namespaces: Vec<String>,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,
}

/// `policy delete`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k policy delete gold
  kubectl k3k policy delete gold --yes      no question, for scripts")]
pub(crate) struct PolicyDeleteArgs {
    /// Policies to delete
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Delete although namespaces are bound. They stay bound: nothing new can be made there until they are unbound or bound to
    /// another
    #[arg(long)]
    pub(crate) force: bool,

    /// Do not ask
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,

    /// A policy that does not exist is not an error
    #[arg(long)]
    pub(crate) ignore_not_found: bool,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,
}

/// `policy break-glass`.
#[derive(Args, Debug)]
#[command(
    long_about = "Let things in for a while although the webhook cannot be asked.

The controller opens the webhook's registrations and closes them again when the time is up, also when it was started anew
meanwhile. Quotas, limits, NetworkPolicies, Pod Security labels and ValidatingAdmissionPolicies hold all the time. Whoever may
write validatingwebhookconfigurations may do this.",
    after_help = "Examples:
  kubectl k3k policy break-glass --for 30m --reason \"the webhook's image cannot be pulled\"
  kubectl k3k policy break-glass --reason \"INC-7\" --namespace team-a     only there, where nobody is asked at all
  kubectl k3k policy break-glass --end"
)]
pub(crate) struct BreakGlassArgs {
    /// For how long; 4h at most
    #[arg(long = "for", default_value = "30m", value_parser = age::parse, value_name = "DURATION")]
    pub(crate) duration: Duration,

    /// Why; it is told in an Event, and by "policy get" and "policy describe"
    #[arg(long, value_name = "TEXT", required_unless_present = "end")]
    pub(crate) reason: Option<String>,

    /// Only in this namespace; may be repeated. Default: all namespaces of clusters
    // The same id as the flag of all commands, whose place it takes.
    #[arg(
        id = "namespace",
        short = 'n',
        long = "namespace",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    pub(crate) namespaces: Vec<String>,

    /// Close again now
    #[arg(long, conflicts_with_all = ["duration", "reason", "namespace"])]
    pub(crate) end: bool,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,
}
