//! What speaks against an object, and what follows from it.

use k3k_api::v1beta1::policy::EnforcementMode;

/// One way in which an object breaks one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule, such as `images.digest`: stable and machine-readable.
    pub rule: &'static str,
    /// The field's path in the object, such as `spec.containers[0].image`. Empty when no field is at fault.
    pub field: String,
    /// One sentence for people, without the rule and without a full stop.
    pub message: String,
    /// What follows.
    pub mode: EnforcementMode,
}

impl Violation {
    /// A violation of `rule` that is enforced until a policy says otherwise.
    pub fn new(rule: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { rule, field: field.into(), message: message.into(), mode: EnforcementMode::Enforce }
    }

    /// `field` has `found`, and the policy `by` allows something else.
    pub(crate) fn of(rule: &'static str, field: String, found: &str, by: &str, allowed: &str) -> Self {
        let message = format!("{field} is {}, but {by} allows {allowed}", shorten(found));
        Self::new(rule, field, message)
    }

    /// Whether the rule is a guard: always enforced, but not against administrators.
    pub fn is_guard(&self) -> bool {
        is_guard(self.rule)
    }
}

/// Whether a rule is a guard: always enforced, but not against administrators.
pub fn is_guard(rule: &str) -> bool {
    rule.starts_with("guard.")
}

/// At most 120 characters of a tenant's value, so that a message stays readable and small.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 120;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `["a", "b"]` as `"a" or "b"`; at most ten of them.
pub(crate) fn any_of<T: AsRef<str>>(values: &[T]) -> String {
    const MOST: usize = 10;
    let named = values.iter().take(MOST).map(|value| format!("{:?}", value.as_ref()));
    let more = values.len().checked_sub(MOST).filter(|more| *more > 0);
    let text = named.chain(more.map(|more| format!("{more} others"))).collect::<Vec<_>>().join(" or ");
    if text.is_empty() { "none".to_owned() } else { text }
}
