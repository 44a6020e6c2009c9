//! The flags of `policy test`, `policy explain` and `policy audit`, which ask the rules.

use crate::cli::DocumentFormat;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `policy test`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k policy test -f app.yaml --policy gold.yaml           offline
  kubectl k3k policy test -f manifests/ --policy gold --cluster dev --virtual-namespace shop
  helm template app | kubectl k3k policy test -f - --policy gold.yaml -o junit > report.xml

Exit codes: 0 everything is let in (warnings do not count), 1 something is denied, 2 the input is wrong.")]
pub(crate) struct PolicyTestArgs {
    /// Manifests: files, directories, or - for stdin
    #[arg(short = 'f', long = "filename", required = true, num_args = 1.., value_name = "FILE|DIR")]
    pub(crate) filenames: Vec<PathBuf>,

    /// Look into the directories of directories as well
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,

    /// The policy: its manifest, or its name in the host. With a manifest nothing is connected to
    #[arg(long, required = true, value_name = "FILE|NAME")]
    pub(crate) policy: String,

    /// Cluster that the objects are for, as exemptions tell apart
    // The same id as the flag of all commands, whose place it takes.
    #[arg(id = "cluster", long = "cluster", value_name = "NAME")]
    pub(crate) cluster: Option<String>,

    /// Namespace inside the cluster. Default: that of each object, else "default"
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) virtual_namespace: Option<String>,

    /// The objects are applied inside a cluster. This is the default
    #[arg(long)]
    pub(crate) nested: bool,

    /// The objects are applied in the host, in the namespace of a cluster
    #[arg(long, conflicts_with_all = ["nested", "virtual_namespace"])]
    pub(crate) host: bool,

    /// Output format
    #[arg(short = 'o', long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub(crate) output: TestFormat,
}

/// The formats of `policy test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestFormat {
    /// For people
    Text,
    /// For programs; see docs/cli.md
    Json,
    /// For the reports of CI systems
    Junit,
}

/// `policy explain`.
#[derive(Args, Debug)]
#[command(
    override_usage = "kubectl k3k policy explain pod NAME [-n NAMESPACE] [--cluster CLUSTER]\n       \
        kubectl k3k policy explain -f FILE (-n NAMESPACE | --policy FILE|NAME)\n       \
        kubectl k3k policy explain -n NAMESPACE\n       \
        kubectl k3k policy explain RULE|AREA|rules",
    after_help = "Examples:
  kubectl k3k policy explain -n team-a                      what clusters there are held to
  kubectl k3k policy explain pod web-0 -n team-a            a pod of the host
  kubectl k3k policy explain pod web-0 -n shop --cluster dev   the same, inside its cluster
  kubectl k3k policy explain -f pod.yaml --policy gold.yaml offline
  kubectl k3k policy explain images.digest                  a rule
  kubectl k3k policy explain rules                          all of them"
)]
pub(crate) struct PolicyExplainArgs {
    /// "pod NAME", a rule such as images.digest, an area such as images, or "rules"
    #[arg(value_name = "WHAT", num_args = 0..=2)]
    pub(crate) what: Vec<String>,

    /// Manifest of a pod, or of something that makes pods (- is stdin)
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "what")]
    pub(crate) filename: Option<PathBuf>,

    /// Explain by this policy instead of the namespace's: its manifest, or its name in the host
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) policy: Option<String>,

    /// The pod is one of this cluster, and -n is a namespace inside it; NAME or NAMESPACE/NAME. Default: the cluster of the
    /// current context, if it is one
    // The same id as the flag of all commands, whose place it takes.
    #[arg(id = "cluster", long = "cluster", value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
}

/// `policy audit`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k policy audit                        all namespaces of clusters
  kubectl k3k policy audit gold
  kubectl k3k policy audit gold -f stricter.yaml  what would be denied if gold said this
  kubectl k3k policy audit -n team-a -o json

Exit codes: 0 nothing is denied, 1 something is.")]
pub(crate) struct PolicyAuditArgs {
    /// Only namespaces that are bound to this policy
    pub(crate) name: Option<String>,

    /// Judge by this manifest instead of what the policy says now
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) filename: Option<PathBuf>,

    /// Output format
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<DocumentFormat>,

    /// Leave out the heading of the table
    #[arg(long)]
    pub(crate) no_headers: bool,
}
