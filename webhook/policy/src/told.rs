//! How violations are told: as the sentences of a denial, and as warnings.

use crate::violation::Violation;
use k3k_api::v1beta1::policy::EnforcementMode;

/// How many violations a denial spells out.
const MOST_SENTENCES: usize = 10;
/// The most characters of one warning; the API server cuts longer ones off wherever it likes.
pub const LONGEST_WARNING: usize = 256;
/// The most warnings: the API server drops what is more than 4096 characters together.
pub const MOST_WARNINGS: usize = 15;

impl Violation {
    /// The rule and what is wrong, without a full stop.
    pub fn sentence(&self) -> String {
        format!("{}: {}", self.rule, self.message)
    }

    /// The violation of a template at `path`, such as `spec.template`, which makes pods that will be judged: its author is told early, and never
    /// held up.
    #[must_use]
    pub fn of_template(self, path: &str) -> Self {
        let mode = self.mode.min(EnforcementMode::Warn);
        Self { mode, ..self.below(path) }
    }

    /// The violation of an object at `path` of another.
    #[must_use]
    pub fn below(self, path: &str) -> Self {
        // Messages begin with the field, where one is at fault.
        let begins = !self.field.is_empty() && self.message.starts_with(&self.field);
        let message =
            if begins { format!("{path}.{}", self.message) } else { format!("{path}: {}", self.message) };
        let field = format!("{path}.{}", self.field);
        Self { field, message, ..self }
    }
}

/// The message of a denial for these reasons.
pub fn denial<'a>(reasons: impl IntoIterator<Item = &'a Violation>) -> String {
    let mut reasons = reasons.into_iter();
    let mut text: Vec<String> =
        reasons.by_ref().take(MOST_SENTENCES).map(|reason| format!("{}.", reason.sentence())).collect();
    let more = reasons.count();
    if more > 0 {
        text.push(format!("And {more} more."));
    }
    text.join(" ")
}

/// The warnings about these, as far as API servers pass them on.
pub fn warnings<'a>(about: impl IntoIterator<Item = &'a Violation>) -> Vec<String> {
    about.into_iter().take(MOST_WARNINGS).map(|one| shorten(one.sentence())).collect()
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(LONGEST_WARNING - 1) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_stay_within_what_api_servers_pass_on() {
        let many = vec![Violation::new(crate::rules::DIGEST, "spec.x", "spec.x ".repeat(60)); 20];
        let text = denial(&many);
        assert!(text.ends_with(". And 10 more.") && !denial(&many[..10]).contains("more"), "{text}");
        let warnings = warnings(&many);
        assert_eq!((warnings.len(), warnings[0].chars().count()), (MOST_WARNINGS, LONGEST_WARNING));
    }

    #[test]
    fn of_a_template_it_is_told_where_the_template_is() {
        let of = |field: &str, message: &str| {
            Violation::new(crate::rules::DIGEST, field, message).of_template("spec.template")
        };
        let told = of("spec.hostPID", "spec.hostPID is true");
        assert_eq!(told.field, "spec.template.spec.hostPID");
        assert_eq!(
            (told.message.as_str(), told.mode),
            ("spec.template.spec.hostPID is true", EnforcementMode::Warn)
        );
        assert_eq!(of("spec.x", "all of it").message, "spec.template: all of it");
    }
}
