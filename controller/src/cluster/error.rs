//! What can go wrong in a reconcile, and what is made of it.

use super::build::Kind;
use k3k_api::conditions::reason;
use k3k_api::v1beta1::Phase;

/// Why a reconcile did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object asks for something that is not allowed.
    #[error("{field}: {message}")]
    Invalid {
        /// The field that says so.
        field: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The object names something that is not there, or not as it must be. It may yet come.
    #[error("{field}: {message}")]
    Missing {
        /// The field that names it.
        field: String,
        /// What is missing.
        message: String,
    },
    /// The namespace is bound to a policy that does not exist.
    #[error("metadata.namespace: {0}")]
    PolicyMissing(String),
    /// The namespace is bound to a policy that is not in force there yet.
    #[error("metadata.namespace: {0}")]
    NotYet(String),
    /// The object asks for something that this version does not run.
    #[error("{field}: {message}")]
    NotSupported {
        /// The field that says so.
        field: &'static str,
        /// What is asked for.
        message: String,
    },
    /// The object does not fit the resource's schema.
    #[error("the object cannot be read: {0}; compare it with `kubectl explain cluster`")]
    Malformed(String),
    /// An object that the cluster needs exists and is somebody else's.
    #[error(
        "{kind} {name:?} exists and {owner}; k3k does not touch it. Delete or rename it, or name the cluster otherwise"
    )]
    Foreign {
        /// Kind of the object.
        kind: Kind,
        /// Name of the object.
        name: String,
        /// Whose it is, as the end of a sentence.
        owner: String,
    },
    /// An object of an earlier cluster of the same name is still being removed.
    #[error("{kind} {name:?} of the previous cluster of this name is still being removed")]
    Leftover {
        /// Kind of the object.
        kind: Kind,
        /// Name of the object.
        name: String,
    },
    /// Something could not be read from the host.
    #[error("reading {what}: {source}")]
    Read {
        /// What, with its name.
        what: String,
        /// What the API server says.
        source: kube::Error,
    },
    /// An object could not be written.
    #[error("applying {what}: {source}")]
    Write {
        /// What, with its name.
        what: String,
        /// What the API server says.
        source: kube::Error,
    },
    /// An object could not be deleted.
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
    /// A Secret that was made earlier does not hold what it must.
    #[error(
        "Secret {name:?} cannot be used: {message}. It must not be edited; delete the cluster and make it anew, or restore the Secret"
    )]
    Damaged {
        /// Name of the Secret.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// The host gave a Service no address.
    #[error("Service {0:?} has no cluster address")]
    NoAddress(String),
}

impl Error {
    /// A short name for metrics and events; there is a fixed number of them.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "Invalid",
            Self::Missing { .. } => "Missing",
            Self::PolicyMissing(_) => "PolicyMissing",
            Self::NotYet(_) => "NotYet",
            Self::NotSupported { .. } => "NotSupported",
            Self::Malformed(_) => "Malformed",
            Self::Foreign { .. } => "Foreign",
            Self::Leftover { .. } => "Leftover",
            Self::Read { .. } => "Read",
            Self::Write { .. } => "Write",
            Self::Delete { .. } => "Delete",
            Self::Build { .. } => "Build",
            Self::Damaged { .. } => "Damaged",
            Self::NoAddress(_) => "NoAddress",
        }
    }

    /// Phase and reason that tell the user.
    pub fn verdict(&self) -> (Phase, &'static str) {
        match self {
            Self::Invalid { .. } | Self::Missing { .. } | Self::Malformed(_) => {
                (Phase::Pending, reason::VALIDATION_FAILED)
            }
            Self::PolicyMissing(_) => (Phase::Pending, reason::POLICY_MISSING),
            Self::NotYet(_) => (Phase::Pending, reason::POLICY_NOT_IN_FORCE),
            Self::NotSupported { .. } => (Phase::Pending, reason::NOT_SUPPORTED),
            Self::Foreign { .. } => (Phase::Failed, reason::NAME_TAKEN),
            Self::Leftover { .. } | Self::NoAddress(_) => (Phase::Provisioning, reason::PROVISIONING),
            _ => (Phase::Failed, reason::PROVISIONING_FAILED),
        }
    }

    /// Whether only a change of the object can help, so that trying again is useless.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Invalid { .. } | Self::PolicyMissing(_) | Self::NotSupported { .. } | Self::Malformed(_)
        )
    }

    /// Whether the same request may well succeed a moment later: the cluster's state is not in question.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } | Self::Delete { source, .. } => {
                match source {
                    kube::Error::Api(status) => {
                        status.is_conflict()
                            || status.code == 429
                            || status.code >= 500
                            || status.is_already_exists()
                    }
                    _ => true,
                }
            }
            // The policy's namespaces are seen to at the same moment.
            Self::NotYet(_) => true,
            _ => false,
        }
    }
}
