//! What was found, for people and for programs.

use crate::command::policy::counted;
use crate::command::policy::test::report::violation;
use crate::command::policy::verdict::{Outcome, Verdict};
use crate::output::table;
use crate::output::terminal::plain;
use k3k_api::labels;
use k3k_api::v1beta1::policy::EnforcementMode;
use k3k_policy::Governing;
use serde_json::{Value, json};

/// What was found.
pub(super) struct Report {
    /// How many namespaces were looked at.
    pub(super) namespaces: usize,
    /// Every object that was looked at.
    pub(super) objects: Vec<Found>,
}

/// An object that was looked at.
pub(super) struct Found {
    namespace: String,
    kind: String,
    name: String,
    policy: String,
    /// Cluster, namespace inside and name inside, of copies.
    origin: Option<[String; 3]>,
    verdict: Verdict,
}

impl Found {
    /// An object, and what would become of it.
    pub(super) fn new(object: &Value, namespace: &str, governing: &Governing, verdict: Verdict) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let origin = metadata["labels"][labels::CLUSTER_NAME].as_str().map(|cluster| {
            let annotations = &metadata["annotations"];
            [
                cluster.to_owned(),
                text(&annotations[labels::VIRTUAL_NAMESPACE]),
                text(&annotations[labels::VIRTUAL_NAME]),
            ]
        });
        Self {
            namespace: namespace.to_owned(),
            kind: text(&object["kind"]),
            name: text(&metadata["name"]),
            policy: governing.name().unwrap_or_default().to_owned(),
            origin,
            verdict,
        }
    }

    /// Whether it is worth a line.
    fn is_found(&self) -> bool {
        !self.verdict.violations.is_empty()
    }
}

impl Report {
    /// How many objects came to this.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.objects.iter().filter(|object| object.verdict.outcome == outcome).count()
    }

    /// How many objects are let in, and would be written down.
    fn audited(&self) -> usize {
        self.objects
            .iter()
            .filter(|object| object.is_found() && object.verdict.outcome == Outcome::Admitted)
            .count()
    }

    /// A line for each violation.
    pub(super) fn table(&self, heading: bool) -> String {
        let mut rows = Vec::new();
        for object in &self.objects {
            for violation in &object.verdict.violations {
                let result = match violation.mode {
                    EnforcementMode::Enforce => "denied",
                    EnforcementMode::Warn => "warned",
                    EnforcementMode::Audit => "audited",
                };
                rows.push(vec![
                    object.namespace.clone(),
                    format!("{}/{}", object.kind.to_ascii_lowercase(), object.name),
                    object.origin.as_ref().map_or_else(
                        || "-".to_owned(),
                        |[cluster, namespace, name]| plain(&format!("{cluster}: {namespace}/{name}")),
                    ),
                    result.to_owned(),
                    violation.rule.to_owned(),
                    plain(&violation.message),
                ]);
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        let columns = ["NAMESPACE", "OBJECT", "INSIDE", "RESULT", "RULE", "MESSAGE"];
        table::render(heading.then_some(&columns), &rows)
    }

    /// How it all ended, in a line.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} in {}: {} would be denied now, {} warned about, {} audited.",
            counted(self.objects.len(), "object"),
            counted(self.namespaces, "namespace"),
            self.count(Outcome::Denied),
            self.count(Outcome::Warned),
            self.audited(),
        )
    }

    /// The same, for programs.
    pub(super) fn document(&self) -> Value {
        let objects = self.objects.iter().filter(|object| object.is_found()).map(|object| {
            let mut value = json!({
                "namespace": object.namespace,
                "kind": object.kind,
                "name": object.name,
                "policy": object.policy,
                "outcome": object.verdict.outcome,
                "violations": object.verdict.violations.iter().map(violation).collect::<Vec<_>>(),
            });
            if let Some([cluster, namespace, name]) = &object.origin {
                value["inside"] = json!({"cluster": cluster, "namespace": namespace, "name": name});
            }
            value
        });
        json!({
            "objects": objects.collect::<Vec<_>>(),
            "summary": {
                "namespaces": self.namespaces,
                "objects": self.objects.len(),
                "denied": self.count(Outcome::Denied),
                "warned": self.count(Outcome::Warned),
                "audited": self.audited(),
            },
        })
    }
}
