//! A rule, an area of rules, or all of them. Nothing is connected to.

use crate::error::Error;
use crate::output::table;
use k3k_policy::described::{self, Description};
use k3k_policy::is_guard;
use std::fmt::Write as _;

/// How wide paragraphs are.
const WIDTH: usize = 90;

/// Explains a rule; lists an area, or all `rules`.
pub(super) fn explain(word: &str) -> Result<String, Error> {
    if let Some(description) = described::all().find(|one| one.rule.eq_ignore_ascii_case(word)) {
        return Ok(one(description));
    }
    let area = |rule: &str| rule.split('.').next().is_some_and(|area| area.eq_ignore_ascii_case(word));
    let listed: Vec<&Description> =
        described::all().filter(|description| word == "rules" || area(description.rule)).collect();
    if !listed.is_empty() {
        let rows: Vec<Vec<String>> =
            listed.iter().map(|one| vec![one.rule.to_owned(), one.title.to_owned()]).collect();
        return Ok(table::render(Some(&["RULE", "WHAT IT SAYS"]), &rows));
    }
    let lower = word.to_ascii_lowercase();
    let alike: Vec<&str> = described::all()
        .map(|description| description.rule)
        .filter(|rule| {
            let rule = rule.to_ascii_lowercase();
            rule.contains(&lower) || rule.split('.').any(|part| lower.contains(part))
        })
        .take(5)
        .collect();
    let hint =
        if alike.is_empty() { "kubectl k3k policy explain rules".to_owned() } else { alike.join(", ") };
    Err(Error::usage_hint(format!("there is no rule \"{word}\""), hint))
}

fn one(description: &Description) -> String {
    let Description { rule, title, why, example_bad, example_good } = *description;
    let mode = if is_guard(rule) {
        "It always holds, whatever a policy says, and has no exemptions. Administrators are not held to it."
            .to_owned()
    } else {
        format!(
            "A policy chooses what follows by spec.enforcement.rules: [{{name: {rule}, mode: Enforce|Warn|Audit}}]."
        )
    };
    let mut text = format!("{rule}: {title}\n\n");
    for paragraph in [why, mode.as_str()] {
        for line in wrapped(paragraph) {
            let _ = writeln!(text, "  {line}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "  breaks it   {example_bad}\n  keeps it    {example_good}");
    text
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_explained() {
        insta::assert_snapshot!("rule", explain("images.digest").expect("known"));
        insta::assert_snapshot!("guard", explain("guard.externalips").expect("known"));
        insta::assert_snapshot!("area", explain("images").expect("known"));
        assert!(explain("rules").expect("known").lines().count() > 50);
    }

    #[test]
    fn a_rule_that_does_not_exist_is_a_usage_error() {
        let error = explain("images.digets").expect_err("unknown");
        assert_eq!(error.exit().code(), 2);
        assert!(error.notes()[0].1.contains("images.digest"), "{:?}", error.notes());
    }
}
