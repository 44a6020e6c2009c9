//! The host's errors in the user's words.

use super::Connection;
use super::transport::NoAnswer;
use crate::error::{Action, Error};
use kube::core::Status;
use std::error::Error as StdError;
use std::io::ErrorKind;

impl Connection {
    /// What went wrong when `action` was tried.
    pub(crate) fn explain(&self, action: Action, error: &kube::Error) -> Error {
        match error {
            kube::Error::Api(status) => self.answered(action, status),
            kube::Error::Auth(error) => self.unauthorized(chain(error)),
            kube::Error::Service(error) => self.unreachable(error.as_ref()),
            kube::Error::HyperError(error) => self.unreachable(error),
            other => Error::Api { action: Box::new(action), message: chain(other) },
        }
    }

    /// The same for a watch that cannot go on.
    pub(crate) fn explain_watch(&self, action: Action, error: &kube::runtime::watcher::Error) -> Error {
        use kube::runtime::watcher::Error as Watch;
        match error {
            Watch::InitialListFailed(error) | Watch::WatchStartFailed(error) | Watch::WatchFailed(error) => {
                self.explain(action, error)
            }
            Watch::WatchError(status) => self.answered(action, status),
            error @ Watch::NoResourceVersion => {
                Error::Api { action: Box::new(action), message: chain(error) }
            }
        }
    }

    fn answered(&self, mut action: Action, status: &Status) -> Error {
        let message = status.message.trim().to_owned();
        let object_known = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
        match status.code {
            401 => self.unauthorized(if message.is_empty() { "Unauthorized".to_owned() } else { message }),
            // RBAC's words; any other refusal comes from an admission check.
            403 if message.contains(" cannot ") => {
                // The verb that is missing need not be the one that the user knows: to create is to patch here.
                if let Some(verb) =
                    message.split_once(" cannot ").and_then(|(_, rest)| rest.split(' ').next())
                {
                    action.verb = verb.to_owned().into();
                }
                Error::Forbidden { action: Box::new(action), context: self.context.clone(), message }
            }
            403 => Error::Refused { action: Box::new(action), message },
            404 if !object_known && action.resource.ends_with(".k3k.io") => {
                Error::NotInstalled { context: self.context.clone() }
            }
            // How server-side apply says it, whatever the code: the fields come after the object.
            _ if message.contains("field not declared in schema") => Error::Refused {
                action: Box::new(action),
                message: message.split_once("): ").map_or(message.as_str(), |(_, fields)| fields).to_owned(),
            },
            400 | 422 => {
                Error::Refused { action: Box::new(action), message: causes(status).unwrap_or(message) }
            }
            _ => Error::Api { action: Box::new(action), message },
        }
    }

    fn unauthorized(&self, cause: String) -> Error {
        Error::Unauthorized { server: self.server.clone(), context: self.context.clone(), cause }
    }

    fn unreachable(&self, error: &(dyn StdError + 'static)) -> Error {
        let (server, context, cause) = (self.server.clone(), self.context.clone(), cause(error));
        if cause.starts_with("invalid peer certificate") {
            return Error::Untrusted { server, context, cause };
        }
        Error::Unreachable { server, context, cause }
    }
}

/// Each field that was refused on a line of its own.
fn causes(status: &Status) -> Option<String> {
    let lines: Vec<String> = status
        .details
        .as_ref()?
        .causes
        .iter()
        .filter(|cause| {
            !cause.field.is_empty() && cause.field != "<nil>" || cause.message.contains("unknown field")
        })
        .map(|cause| {
            // Go quotes nothing here; the field is named once, in front.
            if cause.field.is_empty() || cause.field == "<nil>" {
                cause.message.clone()
            } else {
                format!("{}: {}", cause.field, cause.message)
            }
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The lowest cause that says something.
fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut lowest = error.to_string();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(no_answer) = error.downcast_ref::<NoAnswer>() {
            return no_answer.to_string();
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            match error.kind() {
                ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
                ErrorKind::TimedOut => {
                    return format!("no connection within {}s", super::CONNECT_TIMEOUT.as_secs());
                }
                _ => {}
            }
        }
        lowest = error.to_string();
        next = error.source();
    }
    lowest
}

/// An error with all its causes in one line, none said twice.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source();
    }
    text
}
