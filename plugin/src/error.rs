//! What can go wrong, with the exit code and the next command for each.

use std::borrow::Cow;
use std::path::PathBuf;

/// The exit codes of the plugin, for scripts to rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Nothing was done, or not all of it.
    Error,
    /// The command line is wrong; nothing was asked of the host.
    Usage,
    /// The request was accepted, but waiting for its effect failed or timed out.
    Waited,
    /// Stopped by the user; the host goes on with what it was asked.
    Interrupted,
    /// The code of the program that was run for the user.
    Child(u8),
}

impl Exit {
    /// The number for the operating system.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Waited => 3,
            Self::Interrupted => 130,
            Self::Child(code) => code,
        }
    }
}

/// What was asked of the host's API, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    /// The verb as RBAC knows it.
    pub(crate) verb: Cow<'static, str>,
    /// Plural resource with its group, for example `clusters.k3k.io`.
    pub(crate) resource: String,
    /// The namespace, for namespaced resources in one namespace.
    pub(crate) namespace: Option<String>,
    /// The object, if it is about one.
    pub(crate) name: Option<String>,
}

impl Action {
    /// An action on all objects of a resource.
    pub(crate) fn new(verb: &'static str, resource: &str) -> Self {
        Self { verb: verb.into(), resource: resource.to_owned(), namespace: None, name: None }
    }

    /// The same action in one namespace.
    pub(crate) fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// The same action on one object.
    pub(crate) fn on(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The command that answers whether the user may do it.
    fn can_i(&self) -> String {
        let namespace = self.namespace.as_ref().map_or_else(String::new, |name| format!(" -n {name}"));
        format!("kubectl auth can-i {} {}{namespace}", self.verb, self.resource)
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(f, " \"{name}\"")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in namespace \"{namespace}\"")?;
        }
        Ok(())
    }
}

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line asks for something that cannot be.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What would be right.
        hint: Option<String>,
    },

    /// A destructive command without a person to confirm it.
    #[error("refusing to {what} without confirmation: stdin is not a terminal")]
    Unconfirmed {
        /// What would be done.
        what: String,
        /// The same command with its confirmation.
        command: String,
    },

    /// The person said no.
    #[error("nothing was changed")]
    Declined,

    /// No kubeconfig says where the host is.
    #[error("no kubeconfig found (looked for {})", list(.looked))]
    NoKubeconfig {
        /// The files that do not exist.
        looked: Vec<PathBuf>,
    },

    /// A kubeconfig that cannot be used.
    #[error("cannot use the kubeconfig: {0}")]
    Kubeconfig(String),

    /// A kubeconfig that cannot be changed.
    #[error(transparent)]
    Merge(#[from] crate::merge::Error),

    /// The embedded manifests cannot be rendered.
    #[error(transparent)]
    Chart(#[from] crate::install::chart::Error),

    /// The host does not answer.
    #[error("the host cluster does not answer at {server} (context \"{context}\"): {cause}")]
    Unreachable {
        /// URL of the host's API.
        server: String,
        /// Name of the context in use.
        context: String,
        /// The lowest known cause.
        cause: String,
    },

    /// Whoever answers cannot prove that it is the host.
    #[error("the host cluster at {server} cannot be trusted (context \"{context}\"): {cause}")]
    Untrusted {
        /// URL of the host's API.
        server: String,
        /// Name of the context in use.
        context: String,
        /// What is wrong with its certificate.
        cause: String,
    },

    /// The host does not know who we are.
    #[error(
        "the host cluster at {server} does not accept these credentials (context \"{context}\"): {cause}"
    )]
    Unauthorized {
        /// URL of the host's API.
        server: String,
        /// Name of the context in use.
        context: String,
        /// What it said.
        cause: String,
    },

    /// The custom resources are unknown to the host.
    #[error("K3k is not installed in this cluster (context \"{context}\", no CRD clusters.k3k.io)")]
    NotInstalled {
        /// Name of the context in use.
        context: String,
    },

    /// RBAC does not allow it.
    #[error("not allowed: {action} (context \"{context}\")")]
    Forbidden {
        /// What was tried.
        action: Box<Action>,
        /// Name of the context in use.
        context: String,
        /// What the host said.
        message: String,
    },

    /// An admission check of the host refused the object.
    #[error("the host refused to {action}")]
    Refused {
        /// What was tried.
        action: Box<Action>,
        /// What the host said.
        message: String,
    },

    /// A cluster of that name is there already.
    #[error("cluster \"{name}\" already exists in namespace \"{namespace}\"")]
    AlreadyExists {
        /// Name of the cluster.
        name: String,
        /// Its namespace.
        namespace: String,
    },

    /// There is no such cluster.
    #[error("cluster \"{name}\" not found in {}", places(.namespaces))]
    NotFound {
        /// Name of the cluster.
        name: String,
        /// Where it was looked for.
        namespaces: Vec<String>,
    },

    /// More than one cluster has that name.
    #[error("cluster \"{name}\" exists in {}", places(.namespaces))]
    Ambiguous {
        /// Name of the cluster.
        name: String,
        /// Where it was found.
        namespaces: Vec<String>,
    },

    /// The host has something that is in the way, or lacks something that is needed.
    #[error("{message}")]
    State {
        /// What is wrong.
        message: String,
        /// Label and text of each line that helps.
        notes: Vec<(&'static str, String)>,
    },

    /// Waiting ended badly.
    #[error("{message}")]
    Waited {
        /// What did not happen.
        message: String,
        /// Label and text of each line that helps.
        notes: Vec<(&'static str, String)>,
    },

    /// Ctrl-C.
    #[error("{message}")]
    Interrupted {
        /// What goes on without us.
        message: String,
        /// Label and text of each line that helps.
        notes: Vec<(&'static str, String)>,
    },

    /// Any other answer of the host.
    #[error("cannot {action}: {message}")]
    Api {
        /// What was tried.
        action: Box<Action>,
        /// What the host said.
        message: String,
    },

    /// A file or stream of this machine.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },

    /// Whoever read our output has gone.
    #[error("output closed")]
    Closed,
}

impl Error {
    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// A wrong command line, and what would be right.
    pub(crate) fn usage_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// An operation on a file of this machine that failed.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::Unconfirmed { .. } => Exit::Usage,
            Self::Waited { .. } => Exit::Waited,
            Self::Interrupted { .. } => Exit::Interrupted,
            Self::Closed => Exit::Done,
            _ => Exit::Error,
        }
    }

    /// Label and text of the lines below the message: the cause as the host told it, and what to do next.
    pub(crate) fn notes(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Usage { hint: Some(hint), .. } => vec![("try", hint.clone())],
            Self::Unconfirmed { command, .. } => vec![("run", command.clone())],
            Self::NoKubeconfig { .. } => {
                vec![("try", "name the file with --kubeconfig or in KUBECONFIG".to_owned())]
            }
            Self::Unreachable { context, .. } => vec![
                ("try", format!("kubectl --context {context} cluster-info")),
                ("other", "kubectl config get-contexts, then --context NAME".to_owned()),
            ],
            Self::Untrusted { .. } => {
                vec![("try", "the right --certificate-authority FILE or --tls-server-name NAME".to_owned())]
            }
            Self::Unauthorized { context, .. } => {
                vec![("try", format!("kubectl --context {context} auth whoami"))]
            }
            Self::NotInstalled { .. } => vec![
                ("install", "kubectl k3k install".to_owned()),
                ("preview", "kubectl k3k install --dry-run=server".to_owned()),
            ],
            Self::Forbidden { action, message, .. } => vec![
                ("cause", message.clone()),
                ("ask", format!("an administrator to allow \"{}\" on {}", action.verb, action.resource)),
                ("check", action.can_i()),
            ],
            Self::Refused { message, .. } => vec![("cause", message.clone())],
            Self::AlreadyExists { name, namespace } => vec![
                ("look", format!("kubectl k3k describe {name} -n {namespace}")),
                ("change", format!("kubectl edit clusters.k3k.io/{name} -n {namespace}")),
                ("use", format!("kubectl k3k kubeconfig merge {name} -n {namespace}")),
            ],
            Self::NotFound { .. } => vec![("list", "kubectl k3k get -A".to_owned())],
            Self::Ambiguous { name, namespaces } => {
                namespaces.iter().map(|namespace| ("one", format!("{namespace}/{name}"))).collect()
            }
            Self::State { notes, .. } | Self::Waited { notes, .. } | Self::Interrupted { notes, .. } => {
                notes.clone()
            }
            _ => Vec::new(),
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn places(namespaces: &[String]) -> String {
    let names: Vec<String> = namespaces.iter().map(|name| format!("\"{name}\"")).collect();
    format!("namespace{} {}", if names.len() == 1 { "" } else { "s" }, names.join(" and "))
}
