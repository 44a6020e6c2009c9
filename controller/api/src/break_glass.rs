//! Breaking the glass: for a while pods and the like get in although the webhook cannot be asked. An administrator says so in an annotation
//! of the webhook's registration, which whoever may write it could as well delete; the controller opens, and closes again when the time is up.

use crate::labels::BREAK_GLASS;
use crate::names::is_label;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The registrations of the webhook, the one that mutates and the one that validates. The annotation is on the latter.
pub const REGISTRATION: &str = "k3k-webhook";
/// Longest time for which the glass may be broken at once.
pub const LONGEST: Duration = Duration::from_secs(4 * 3600);
/// The webhooks of the registrations that are opened. `namespaces.guard.k3k.io` never is: what binds a namespace to its policy can wait.
pub const OPENED: [&str; 2] = ["mutate.policy.k3k.io", "validate.policy.k3k.io"];
/// The match condition by which a webhook is not asked about some namespaces. Each condition of a webhook has its own owner, so that those of
/// the installation stay as they are.
pub const CONDITION: &str = "break-glass";
/// Longest reason.
pub const REASON: usize = 500;
/// How many namespaces may be named: they become an expression that is evaluated for each request.
pub const NAMESPACES: usize = 32;

/// What the annotation [`BREAK_GLASS`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakGlass {
    /// From when on.
    pub since: Time,
    /// Until when.
    pub until: Time,
    /// Who did it, as they say themselves; the host's audit log knows better.
    #[serde(default)]
    pub by: String,
    /// Why.
    pub reason: String,
    /// The namespaces where the webhook is not asked at all. None: it is asked everywhere, and its silence is taken for consent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// Why what is asked for cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The annotation is not what it should be.
    #[error("the annotation {BREAK_GLASS} cannot be read: {0}")]
    Unreadable(String),
    /// Nobody would know why.
    #[error("a reason of 1 to {REASON} characters is needed")]
    Reason,
    /// The end is before the beginning, or too far from it.
    #[error("the end must come after the beginning, by {} hours at most", LONGEST.as_secs() / 3600)]
    Duration,
    /// Something that is no namespace.
    #[error("{0:?} is not the name of a namespace")]
    Namespace(String),
    /// So many that the expression would be too large.
    #[error("at most {NAMESPACES} namespaces can be named")]
    Namespaces,
}

impl BreakGlass {
    /// Reads the annotation.
    ///
    /// # Errors
    /// What opens nothing.
    pub fn read(annotation: &str) -> Result<Self, Refusal> {
        let glass: Self =
            serde_json::from_str(annotation).map_err(|error| Refusal::Unreadable(error.to_string()))?;
        glass.check().map(|()| glass)
    }

    /// Whether it can be done.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Refusal> {
        let reason = self.reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON {
            return Err(Refusal::Reason);
        }
        let lasts = Duration::try_from(self.until.0.duration_since(self.since.0));
        if lasts.is_err() || lasts.is_ok_and(|lasts| lasts.is_zero() || lasts > LONGEST) {
            return Err(Refusal::Duration);
        }
        if self.namespaces.len() > NAMESPACES {
            return Err(Refusal::Namespaces);
        }
        // They become part of an expression.
        match self.namespaces.iter().find(|name| !is_label(name)) {
            Some(name) => Err(Refusal::Namespace(name.clone())),
            None => Ok(()),
        }
    }

    /// Where it holds, as a part of a sentence.
    pub fn place(&self) -> String {
        if self.namespaces.is_empty() {
            "all clusters' namespaces".to_owned()
        } else {
            format!("namespaces {}", self.namespaces.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn said(change: &Value) -> String {
        let mut said = json!({"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:30:00Z", "by": "ann", "reason": "outage"});
        for (key, value) in change.as_object().into_iter().flatten() {
            said[key] = value.clone();
        }
        said.to_string()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let glass = BreakGlass::read(&said(&json!({"namespaces": ["a", "b"], "later": 1}))).unwrap();
        assert_eq!((glass.by.as_str(), glass.place().as_str()), ("ann", "namespaces a, b"));
        assert_eq!(BreakGlass::read(&serde_json::to_string(&glass).unwrap()), Ok(glass));
    }

    #[rstest]
    #[case(json!({"until": "2026-01-01T04:00:00Z"}), None)]
    #[case(json!({"until": "2026-01-01T04:00:01Z"}), Some(Refusal::Duration))]
    #[case(json!({"until": "2026-01-01T00:00:00Z"}), Some(Refusal::Duration))]
    #[case(json!({"until": "2025-12-31T00:00:00Z"}), Some(Refusal::Duration))]
    #[case(json!({"reason": " "}), Some(Refusal::Reason))]
    #[case(json!({"reason": "x".repeat(REASON + 1)}), Some(Refusal::Reason))]
    #[case(json!({"namespaces": ["a'] || true || request.namespace in ['"]}), Some(Refusal::Namespace("a'] || true || request.namespace in ['".into())))]
    #[case(json!({"namespaces": vec!["a"; NAMESPACES + 1]}), Some(Refusal::Namespaces))]
    fn bounds(#[case] change: Value, #[case] want: Option<Refusal>) {
        assert_eq!(BreakGlass::read(&said(&change)).err(), want);
    }

    #[rstest]
    #[case("true")]
    #[case("{}")]
    #[case(r#"{"since": "yesterday", "until": "tomorrow", "reason": "x"}"#)]
    fn nonsense_opens_nothing(#[case] annotation: &str) {
        assert!(matches!(BreakGlass::read(annotation), Err(Refusal::Unreadable(_))));
    }
}
