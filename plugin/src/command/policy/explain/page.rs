//! The pages, from what is known. Pure.

use crate::command::policy::sentences;
use crate::command::policy::verdict::{Outcome, Verdict};
use crate::output::table;
use crate::output::terminal::plain;
use jiff::Timestamp;
use k3k_api::v1beta1::policy::EnforcementMode;
use k3k_policy::{Governing, Policy, Source, rules};
use std::borrow::Cow;

/// A pod, and what the rules say to it.
pub(super) struct Explained<'a> {
    /// What it is called.
    pub(super) title: String,
    /// What it is to k3k.
    pub(super) role: String,
    /// What governs it.
    pub(super) governing: &'a Governing,
    /// Where it comes from.
    pub(super) source: Source<'a>,
    /// What the rules say.
    pub(super) verdict: &'a Verdict,
    /// How the changes of the policy are called: those that it made, or those that it would make.
    pub(super) changed: &'static str,
    /// Whether it runs already.
    pub(super) live: bool,
}

#[derive(Default)]
struct Rows(Vec<Vec<String>>);

impl Rows {
    fn add(&mut self, title: &str, lines: impl IntoIterator<Item = String>) {
        for (index, line) in lines.into_iter().enumerate() {
            self.0.push(vec![if index == 0 { title.to_owned() } else { String::new() }, plain(&line)]);
        }
    }
}

/// The page of a pod.
pub(super) fn pod(explained: &Explained<'_>, now: Timestamp) -> String {
    let mut rows = Rows::default();
    let Explained { title, role, governing, source, verdict, changed: change, live } = explained;
    rows.add("Role", [role.clone()]);
    rows.add("Policy", [named(governing)]);
    if let Some(policy) = policy(governing) {
        rows.add("Rules", sentences::enforcement(&policy));
        rows.add("Exempt from", exempt(&policy, *source, now));
    }
    let changed =
        if verdict.changes.is_empty() { vec!["nothing".to_owned()] } else { verdict.changes.clone() };
    rows.add(change, changed);
    for (title, wanted) in [
        ("Denied by", EnforcementMode::Enforce),
        ("Warned of", EnforcementMode::Warn),
        ("Audited", EnforcementMode::Audit),
    ] {
        let found = verdict.violations.iter().filter(|violation| violation.mode == wanted);
        rows.add(title, found.map(|violation| format!("{}: {}", violation.rule, violation.message)));
    }
    let now = if *live { " now" } else { "" };
    let result = match verdict.outcome {
        Outcome::Denied => format!("it would be denied{now}"),
        Outcome::Warned => format!("it would be let in{now}, with warnings"),
        Outcome::Admitted => format!("it would be let in{now}"),
        Outcome::NotJudged => "no rule speaks about it".to_owned(),
    };
    rows.add("Result", [result]);
    let mut rules: Vec<&str> = verdict.violations.iter().map(|violation| violation.rule).collect();
    rules.dedup();
    if let Some(rule) = rules.iter().find(|rule| k3k_policy::described::describe(rule).is_some()) {
        rows.add("Hint", [format!("kubectl k3k policy explain {rule}")]);
    }
    format!("{title}\n{}", table::render(None, &rows.0))
}

/// The page of a namespace.
pub(super) fn namespace(name: &str, governing: &Governing, used: &[String], now: Timestamp) -> String {
    let mut rows = Rows::default();
    if let Some(policy) = policy(governing) {
        for (area, lines) in sentences::areas(&policy) {
            rows.add(area, lines);
        }
        rows.add("Quota", used.iter().cloned());
        rows.add("Enforcement", sentences::enforcement(&policy));
        rows.add("Exemptions", sentences::exemptions(&policy, now));
        rows.add(
            "Always",
            [format!("{} guard rules: kubectl k3k policy explain guard", rules::GUARDS.len())],
        );
    }
    let text = match governing {
        Governing::Default => {
            format!("Namespace {name} is bound to no policy: the default policy governs it\n")
        }
        _ => format!("Namespace {name} is governed by {}\n", named(governing)),
    };
    text + &table::render(None, &rows.0)
}

/// Rules that do not hold for what comes from `source`.
fn exempt(policy: &Policy, source: Source<'_>, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for rule in rules::ALL {
        if let Some(exemption) = policy.exemption(rule, source, now) {
            lines.push(format!(
                "{rule} until {} ({}: {})",
                exemption.expires_at, exemption.name, exemption.reason
            ));
        }
    }
    lines
}

fn policy(governing: &Governing) -> Option<Cow<'_, Policy>> {
    match governing {
        Governing::Default => Some(Cow::Owned(Policy::default())),
        Governing::Named(policy) => Some(Cow::Borrowed(policy)),
        Governing::Missing { .. } | Governing::Unreadable { .. } => None,
    }
}

fn named(governing: &Governing) -> String {
    match governing {
        Governing::Default => "the default policy".to_owned(),
        Governing::Named(policy) => format!("policy \"{}\"", policy.name),
        Governing::Missing { name } => {
            format!("policy \"{name}\", which does not exist: nothing new can be made there")
        }
        Governing::Unreadable { name, error } => {
            format!("policy \"{name}\", which cannot be understood ({error}): nothing new can be made there")
        }
    }
}
