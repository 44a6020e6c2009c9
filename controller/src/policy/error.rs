//! What can go wrong when a policy is followed, and what is made of it.

use k3k_api::conditions::policy_reason;

/// Why something of a policy is not in place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy does not fit the resource's schema.
    #[error("the object cannot be read: {0}; compare it with `kubectl explain virtualclusterpolicy`")]
    Malformed(String),
    /// An object of the right name is somebody else's.
    #[error("{what} exists and {owner}; k3k does not touch it. Delete or rename it")]
    Foreign {
        /// The object.
        what: String,
        /// Whose it is, as the end of a sentence.
        owner: String,
    },
    /// An object of the right name belongs to another policy, and is about to go.
    #[error("{what} of another policy is still being removed")]
    Leftover {
        /// The object.
        what: String,
    },
    /// Something could not be read from the host.
    #[error("reading {what}: {source}")]
    Read {
        /// What, with its name.
        what: String,
        /// What the API server says.
        source: kube::Error,
    },
    /// Something could not be written.
    #[error("applying {what}: {source}")]
    Write {
        /// What, with its name.
        what: String,
        /// What the API server says.
        source: kube::Error,
    },
    /// Something could not be deleted.
    #[error("deleting {what}: {source}")]
    Delete {
        /// What, with its name.
        what: String,
        /// What the API server says.
        source: kube::Error,
    },
    /// An object's content cannot be made.
    #[error("building {what}: {message}")]
    Build {
        /// What, with its name.
        what: String,
        /// Why.
        message: String,
    },
    /// A fact about the host could not be found out.
    #[error(transparent)]
    Host(#[from] crate::cluster::error::Error),
    /// Some namespaces are not as they should be; the status says which.
    #[error("{failed} of {all} namespaces: {first}")]
    Namespaces {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
        /// What is wrong with the first.
        first: Box<Error>,
    },
}

impl Error {
    /// A short name for metrics; there is a fixed number of them.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Malformed",
            Self::Foreign { .. } => "Foreign",
            Self::Leftover { .. } => "Leftover",
            Self::Read { .. } => "Read",
            Self::Write { .. } => "Write",
            Self::Delete { .. } => "Delete",
            Self::Build { .. } => "Build",
            Self::Host(error) => error.category(),
            Self::Namespaces { first, .. } => first.category(),
        }
    }

    /// The reason of the condition that tells of it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => policy_reason::INVALID,
            Self::Foreign { .. } | Self::Leftover { .. } => policy_reason::NAME_TAKEN,
            Self::Namespaces { first, .. } => first.reason(),
            _ => policy_reason::FAILED,
        }
    }

    /// Whether the same request may well succeed a moment later: another writer came in between, or what stands in the way is going.
    pub fn is_hiccup(&self) -> bool {
        match self {
            Self::Leftover { .. } => true,
            Self::Read { source, .. } | Self::Write { source, .. } | Self::Delete { source, .. } => {
                match source {
                    kube::Error::Api(status) => {
                        status.is_conflict() || status.code == 429 || status.code >= 500
                    }
                    _ => true,
                }
            }
            _ => false,
        }
    }
}
