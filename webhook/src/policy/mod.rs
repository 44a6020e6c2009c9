//! The rules. Each is a pure function from a pod and a [`Snapshot`] to the violations it finds, and a row in
//! [`RULES`]; a new rule is a new function and a new row.

mod host_access;
mod privileged;
mod subject;

pub use subject::{Container, Subject};

use crate::snapshot::Snapshot;

/// One row of the rule table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Stable and machine-readable: it is the `reason` of a denial's cause and a metric's label.
    pub id: &'static str,
    /// Whether the rule holds under this snapshot's policy.
    pub holds: fn(&Snapshot) -> bool,
    /// Finds every violation.
    pub check: fn(&Subject<'_>, &Snapshot) -> Vec<Violation>,
}

/// Every rule for pods, in the order in which a denial reports them.
pub const RULES: &[Rule] = &[
    Rule { id: privileged::PRIVILEGED, holds: guards_host, check: privileged::privileged },
    Rule { id: privileged::PROC_MOUNT, holds: guards_host, check: privileged::proc_mount },
    Rule { id: privileged::HOST_PROCESS, holds: guards_host, check: privileged::host_process },
    Rule { id: host_access::NAMESPACES, holds: guards_host, check: host_access::namespaces },
    Rule { id: host_access::PORTS, holds: guards_host, check: host_access::ports },
    Rule { id: host_access::PATH, holds: guards_host, check: host_access::path },
];

/// Rules that keep pods out of the host hold unless the policy says `podSecurityAdmissionLevel: privileged`.
fn guards_host(snapshot: &Snapshot) -> bool {
    !snapshot.privileged()
}

/// One way in which an object breaks one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// [`Rule::id`], or the id of a refusal that stands before the rules.
    pub rule: &'static str,
    /// The field's path in the object, for example `spec.containers[0].securityContext.privileged`. Empty when no
    /// field is at fault.
    pub field: String,
    /// One sentence for people, without the rule's id and without a full stop.
    pub message: String,
}

impl Violation {
    /// The violation of `rule` by what `field` says. `found` and `allowed` complete "is …" and "allows …".
    fn new(
        rule: &'static str,
        field: String,
        owner: &str,
        found: &str,
        allowed: &str,
        snapshot: &Snapshot,
    ) -> Self {
        let owner = if owner.is_empty() { String::new() } else { format!(" of container {owner:?}") };
        let message =
            format!("{field}{owner} is {}, but {} allows {allowed}", shorten(found), snapshot.policy);
        Self { rule, field, message }
    }
}

/// Runs every rule that holds.
pub fn check(subject: &Subject<'_>, snapshot: &Snapshot) -> Vec<Violation> {
    RULES
        .iter()
        .filter(|rule| (rule.holds)(snapshot))
        .flat_map(|rule| (rule.check)(subject, snapshot))
        .collect()
}

/// At most 120 characters of a tenant's value, so that a message stays readable and small.
fn shorten(text: &str) -> String {
    const MOST: usize = 120;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
