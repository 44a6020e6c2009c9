//! kubectl's flags for reaching a cluster, with kubectl's names, letters and meaning.

use crate::output::age;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Accepted by every command, after the plugin's name; listed by `options` and hidden elsewhere.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConnectionFlags {
    /// Path to the kubeconfig file of the host
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig to use
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Cluster of the kubeconfig to use
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    pub(crate) cluster: Option<String>,

    /// User of the kubeconfig to use
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// Namespace of the host to work in
    #[arg(short = 'n', long, global = true, hide = true, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Address and port of the host's API
    #[arg(short = 's', long, global = true, hide = true, value_name = "URL")]
    pub(crate) server: Option<String>,

    /// Bearer token for the host's API
    #[arg(long, global = true, hide = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,

    /// User to impersonate
    #[arg(long = "as", global = true, hide = true, value_name = "USER")]
    pub(crate) impersonate: Option<String>,

    /// Group to impersonate; may be repeated
    #[arg(long = "as-group", global = true, hide = true, value_name = "GROUP")]
    pub(crate) impersonate_groups: Vec<String>,

    /// UID to impersonate
    #[arg(long = "as-uid", global = true, hide = true, value_name = "UID")]
    pub(crate) impersonate_uid: Option<String>,

    /// Certificate authority of the host's API
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub(crate) certificate_authority: Option<PathBuf>,

    /// Client certificate
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub(crate) client_certificate: Option<PathBuf>,

    /// Key of the client certificate
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub(crate) client_key: Option<PathBuf>,

    /// Do not verify the certificate of the host's API
    #[arg(long, global = true, hide = true)]
    pub(crate) insecure_skip_tls_verify: bool,

    /// Name to expect in the certificate of the host's API
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    pub(crate) tls_server_name: Option<String>,

    /// How long to wait for one answer of the host's API; 0 waits for ever
    #[arg(long, global = true, hide = true, value_parser = age::parse, value_name = "DURATION")]
    pub(crate) request_timeout: Option<Duration>,

    /// Accepted for compatibility; nothing is cached
    #[arg(long, global = true, hide = true, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,

    /// Accepted for compatibility; responses are never compressed
    #[arg(long, global = true, hide = true)]
    pub(crate) disable_compression: bool,

    /// Treat warnings of the host's API as errors
    #[arg(long, global = true, hide = true)]
    pub(crate) warnings_as_errors: bool,

    /// Level of detail; from 6 on each request is shown on stderr
    #[arg(short = 'v', long = "v", global = true, hide = true, value_name = "LEVEL")]
    pub(crate) verbosity: Option<u8>,
}

/// The help of the connection flags alone, for `options`.
pub(crate) fn connection_flags() -> clap::Command {
    ConnectionFlags::augment_args(clap::Command::new("options"))
        .mut_args(|argument| argument.hide(false))
        .disable_help_flag(true)
        .max_term_width(110)
        .help_template("These flags can be given to every command, after \"kubectl k3k\":\n\n{options}\n")
}
