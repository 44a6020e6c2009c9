//! The report, for people, programs and CI systems.

use crate::command::policy::get::mode;
use crate::command::policy::verdict::{Outcome, Verdict};
use crate::error::Error;
use crate::output::object::{self, Format};
use crate::output::terminal::plain;
use k3k_api::v1beta1::policy::EnforcementMode;
use k3k_policy::Violation;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What became of all objects.
pub(super) struct Report {
    /// The policy's name.
    pub(super) policy: String,
    /// Whether the objects were applied in the host.
    pub(super) host: bool,
    /// The cluster; empty if none was named.
    pub(super) cluster: String,
    /// The objects in their order.
    pub(super) objects: Vec<Judged>,
}

/// An object, and what became of it.
pub(super) struct Judged {
    /// Its file.
    pub(super) file: String,
    /// Which document of the file, from 1.
    pub(super) document: usize,
    /// Its API version.
    pub(super) api_version: String,
    /// Its kind.
    pub(super) kind: String,
    /// Its namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
    /// What became of it.
    pub(super) verdict: Verdict,
}

impl Judged {
    fn title(&self) -> String {
        plain(&format!("{} {}/{}", self.kind, self.namespace, self.name))
    }
}

impl Report {
    /// The worst outcome.
    pub(super) fn worst(&self) -> Outcome {
        self.objects.iter().map(|object| object.verdict.outcome).max().unwrap_or(Outcome::NotJudged)
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.objects.iter().filter(|object| object.verdict.outcome == outcome).count()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let violations = self.objects.iter().flat_map(|object| &object.verdict.violations);
        let width = violations.map(|violation| violation.rule.len()).max().unwrap_or_default();
        for object in self.objects.iter().filter(|object| object.verdict.outcome != Outcome::NotJudged) {
            let outcome = match object.verdict.outcome {
                Outcome::Denied => "denied",
                Outcome::Warned => "warned",
                Outcome::Admitted | Outcome::NotJudged => "ok",
            };
            let _ = writeln!(
                text,
                "{outcome:<8}{} ({}, document {})",
                object.title(),
                object.file,
                object.document
            );
            for violation in &object.verdict.violations {
                let mode = mode(violation.mode);
                let message = plain(&violation.message);
                let _ = writeln!(text, "        {mode:<8}{:<width$} {message}", violation.rule);
            }
        }
        let [denied, warned, admitted, other] =
            [Outcome::Denied, Outcome::Warned, Outcome::Admitted, Outcome::NotJudged]
                .map(|one| self.count(one));
        let others = if other == 0 { String::new() } else { format!(", {other} that no rule speaks about") };
        let side = if self.host { ", applied in the host" } else { "" };
        let _ = writeln!(
            text,
            "\nPolicy \"{}\"{side}: {denied} denied, {warned} warned, {admitted} ok{others}",
            self.policy
        );
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Result<String, Error> {
        let objects: Vec<Value> = self
            .objects
            .iter()
            .map(|object| {
                json!({
                    "file": object.file,
                    "document": object.document,
                    "apiVersion": object.api_version,
                    "kind": object.kind,
                    "namespace": object.namespace,
                    "name": object.name,
                    "outcome": object.verdict.outcome,
                    "violations": object.verdict.violations.iter().map(violation).collect::<Vec<_>>(),
                    "changes": object.verdict.changes,
                })
            })
            .collect();
        let document = json!({
            "policy": self.policy,
            "side": if self.host { "host" } else { "tenant" },
            "cluster": self.cluster,
            "objects": objects,
            "summary": {
                "denied": self.count(Outcome::Denied),
                "warned": self.count(Outcome::Warned),
                "admitted": self.count(Outcome::Admitted),
                "notJudged": self.count(Outcome::NotJudged),
            },
        });
        object::document_text(Format::Json, &document)
    }

    /// For the reports of CI systems: a test case for each object.
    pub(super) fn junit(&self) -> Result<String, Error> {
        self.write()
            .and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other))
            .map_err(Error::io("write XML"))
    }

    fn write(&self) -> std::io::Result<Vec<u8>> {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let (tests, failures, skipped) =
            (self.objects.len(), self.count(Outcome::Denied), self.count(Outcome::NotJudged));
        let counts = [
            ("tests", tests.to_string()),
            ("failures", failures.to_string()),
            ("skipped", skipped.to_string()),
        ];
        let name = clean(&format!("policy {}", self.policy));
        let attributes: Vec<(&str, &str)> = std::iter::once(("name", name.as_str()))
            .chain(counts.iter().map(|(key, value)| (*key, value.as_str())))
            .collect();
        writer
            .create_element("testsuites")
            .with_attributes(attributes.iter().take(3).copied())
            .write_inner_content(|writer| {
                writer
                    .create_element("testsuite")
                    .with_attributes(attributes.iter().copied())
                    .write_inner_content(|writer| {
                        self.objects.iter().try_for_each(|object| case(writer, object))
                    })
                    .map(drop)
            })?;
        let mut bytes = writer.into_inner();
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn case(writer: &mut Writer<Vec<u8>>, object: &Judged) -> std::io::Result<()> {
    let (title, file) = (clean(&object.title()), clean(&object.file));
    let class = format!("{file}#{}", object.document);
    let element = writer
        .create_element("testcase")
        .with_attribute(("name", title.as_str()))
        .with_attribute(("classname", class.as_str()))
        .with_attribute(("file", file.as_str()));
    let lines: Vec<String> = object
        .verdict
        .violations
        .iter()
        .map(|violation| format!("{} {}: {}", mode(violation.mode), violation.rule, violation.message))
        .collect();
    let lines = clean(&lines.join("\n"));
    let text = BytesText::new(&lines);
    match object.verdict.outcome {
        Outcome::NotJudged => element.write_inner_content(|writer| {
            let skipped = writer.create_element("skipped");
            skipped.with_attribute(("message", "no rule speaks about it")).write_empty().map(drop)
        }),
        Outcome::Denied => element.write_inner_content(|writer| {
            let denying = object.verdict.violations.iter().filter(|one| one.mode == EnforcementMode::Enforce);
            let mut rules: Vec<&str> = denying.map(|violation| violation.rule).collect();
            rules.dedup();
            let failure = writer.create_element("failure").with_attribute(("type", "denied"));
            failure.with_attribute(("message", rules.join(", ").as_str())).write_text_content(text).map(drop)
        }),
        Outcome::Warned | Outcome::Admitted if !lines.is_empty() => element.write_inner_content(|writer| {
            writer.create_element("system-out").write_text_content(text).map(drop)
        }),
        Outcome::Warned | Outcome::Admitted => element.write_empty(),
    }
    .map(drop)
}

/// One violation, for programs.
pub(in crate::command::policy) fn violation(violation: &Violation) -> Value {
    json!({
        "rule": violation.rule,
        "mode": mode(violation.mode),
        "field": violation.field,
        "message": violation.message,
    })
}

/// Without the characters that XML cannot have, however they are escaped.
fn clean(text: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..);
    text.chars().map(|c| if allowed(c) { c } else { '\u{FFFD}' }).collect()
}

#[cfg(test)]
mod tests;
