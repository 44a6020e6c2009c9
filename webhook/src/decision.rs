//! From a question and a snapshot to an answer. Pure.

use crate::policy::{self, Subject, Violation};
use crate::review::Request;
use crate::snapshot::{Governing, Snapshot};
use crate::strict_json;
use k3k_api::labels;
use kube::core::Status;
use kube::core::admission::Operation;
use kube::core::response::{StatusCause, StatusDetails, StatusSummary, reason};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The object cannot be read.
pub const MALFORMED: &str = "malformed";
/// The namespace's policy does not exist, or cannot be understood.
pub const POLICY_MISSING: &str = "policy-missing";
/// We were asked about something that there are no rules for.
pub const UNSUPPORTED: &str = "unsupported";

/// How many violations the message of a denial spells out.
const MOST_SENTENCES: usize = 10;
/// How many violations a denial lists as causes.
const MOST_CAUSES: usize = 100;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing speaks against it.
    Allowed,
    /// All that speaks against it; never empty.
    Denied(Vec<Violation>),
    /// We could not find out, for this reason: it is refused, and may be tried again.
    Undecided(String),
}

/// Judges one request.
pub fn decide(request: &Request<'_>, snapshot: &Snapshot) -> Decision {
    // What is on its way out is never held up.
    if request.operation == Operation::Delete {
        return Decision::Allowed;
    }
    let kind = &request.kind;
    if !(kind.group.is_empty() && kind.version == "v1" && kind.kind == "Pod")
        || request.operation == Operation::Connect
    {
        return unsupported(request);
    }
    // An object that is already there, and is not changed where rules look, stays as it is: it must be possible to
    // remove its finalizers, label it and report on it, also after its policy has become stricter.
    if request.operation == Operation::Update && same_spec(request.old_object, request.object) {
        return Decision::Allowed;
    }
    let object = match read(request.object) {
        Ok(object) => object,
        Err(message) => return refuse(MALFORMED, "", format!("the object cannot be read: {message}")),
    };
    match &snapshot.policy {
        Governing::Missing { name } => {
            return refuse(
                POLICY_MISSING,
                "",
                format!(
                    "the namespace is bound to VirtualClusterPolicy {name:?}, which does not exist: create it, or \
                     correct the namespace's label {}",
                    labels::POLICY_NAME
                ),
            );
        }
        Governing::Unreadable { name, error } => {
            return refuse(
                POLICY_MISSING,
                "",
                format!("VirtualClusterPolicy {name:?} cannot be understood: {error}"),
            );
        }
        Governing::Default | Governing::Named(_) => {}
    }
    match Subject::pod(&object) {
        Ok(subject) => match policy::check(&subject, snapshot) {
            violations if violations.is_empty() => Decision::Allowed,
            violations => Decision::Denied(violations),
        },
        Err(malformed) => {
            let message = format!("{} is not what a pod has there: {}", malformed.path, malformed.message);
            refuse(MALFORMED, &malformed.path, message)
        }
    }
}

fn unsupported(request: &Request<'_>) -> Decision {
    let slash = if request.sub_resource.is_empty() { "" } else { "/" };
    let what = format!("{}{slash}{}", request.resource.resource, request.sub_resource);
    let message = format!(
        "this version of k3k-webhook has no rules for {:?} of {what:?}: its registration asks for too much",
        request.operation
    );
    refuse(UNSUPPORTED, "", message)
}

fn refuse(rule: &'static str, field: &str, message: String) -> Decision {
    Decision::Denied(vec![Violation { rule, field: field.to_owned(), message }])
}

fn read(object: Option<&RawValue>) -> Result<Value, String> {
    match object {
        Some(raw) => strict_json::from_str(raw.get()).map_err(|error| error.to_string()),
        None => Err("there is none".to_owned()),
    }
}

/// Whether both have the same `spec`, to the letter: the API server writes equal ones alike, and comparing the text
/// keeps an object that is too much for [`read`] from staying forever.
fn same_spec(old: Option<&RawValue>, new: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    struct Outline<'a> {
        #[serde(borrow)]
        spec: Option<&'a RawValue>,
    }
    fn spec(object: Option<&RawValue>) -> Option<&str> {
        serde_json::from_str::<Outline<'_>>(object?.get()).ok()?.spec.map(RawValue::get)
    }
    spec(old).is_some_and(|old| spec(new) == Some(old))
}

impl Decision {
    /// The decision in one word, for logs and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied(_) => "denied",
            Self::Undecided(_) => "undecided",
        }
    }

    /// What speaks against the request.
    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Denied(violations) => violations,
            Self::Allowed | Self::Undecided(_) => &[],
        }
    }

    /// What the API server tells the client; nothing when the request is allowed.
    pub fn status(&self, request: &Request<'_>) -> Option<Status> {
        let (code, reason, message, causes) = match self {
            Self::Allowed => return None,
            Self::Denied(violations) => (
                403,
                reason::FORBIDDEN,
                sentences(violations),
                violations.iter().take(MOST_CAUSES).map(cause).collect(),
            ),
            Self::Undecided(message) => {
                (500, reason::INTERNAL_ERROR, format!("{message}; try again"), Vec::new())
            }
        };
        Some(Status {
            status: Some(StatusSummary::Failure),
            code,
            message,
            metadata: None,
            reason: reason.to_owned(),
            details: Some(StatusDetails {
                name: request.name.clone(),
                group: request.resource.group.clone(),
                kind: request.resource.resource.clone(),
                causes,
                uid: String::new(),
                retry_after_seconds: 0,
            }),
        })
    }
}

fn cause(violation: &Violation) -> StatusCause {
    StatusCause {
        reason: violation.rule.to_owned(),
        message: violation.message.clone(),
        field: violation.field.clone(),
    }
}

fn sentences(violations: &[Violation]) -> String {
    let mut text: Vec<String> = violations
        .iter()
        .take(MOST_SENTENCES)
        .map(|violation| format!("{}: {}.", violation.rule, violation.message))
        .collect();
    if violations.len() > MOST_SENTENCES {
        text.push(format!("And {} more.", violations.len() - MOST_SENTENCES));
    }
    text.join(" ")
}

#[cfg(test)]
mod tests;
