//! `join`.

use super::DocumentFormat;
use clap::Args;
use std::path::PathBuf;

/// `join`.
#[derive(Args, Debug)]
#[command(
    long_about = "Show how a worker outside joins a cluster in mode hcp.\n\n\
        Nothing is changed. The token lets machines join and read what a node may read, so it is not printed unless asked for: \
        --token-file - sends it, and nothing else, to standard output, --token-file FILE into a file that only you may read.",
    after_help = "Examples:
  kubectl k3k join dev                      the commands, for a person
  kubectl k3k join dev --token-file - | ssh root@worker 'umask 077; cat >/etc/rancher/k3s-token'
  kubectl k3k join dev --token-file token   the token into a new file of mode 0600
  kubectl k3k join dev -o json              for a program"
)]
pub(crate) struct JoinArgs {
    /// The cluster; NAME or NAMESPACE/NAME
    pub(crate) name: String,

    /// Write the token there, for its owner alone; "-" is standard output, with nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Put the token into what is printed
    #[arg(long, conflicts_with = "token_file")]
    pub(crate) show_token: bool,

    /// Output format
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<DocumentFormat>,
}
