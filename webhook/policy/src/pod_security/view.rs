//! What the rules see, and what they say of it.

use super::Finding;
use crate::pod::view::{PodSecurity, Spec};
use crate::pod::{Placed, Subject};
use k3k_api::v1beta1::PodSecurityLevel;

/// A pod, and how strictly it is judged.
pub(super) struct Pod<'a> {
    pub(super) subject: &'a Subject<'a>,
    /// Whether the level is Restricted, not Baseline.
    pub(super) restricted: bool,
}

/// The rule that is broken, and what would not break it.
pub(super) struct Fault {
    rule: &'static str,
    level: PodSecurityLevel,
    allowed: &'static str,
}

impl<'a> Pod<'a> {
    /// The pod's annotations.
    pub(super) fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.subject.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// What the pod says.
    pub(super) fn spec(&self) -> &'a Spec<'a> {
        &self.subject.spec
    }

    /// Every container of every list.
    pub(super) fn containers(&self) -> impl Iterator<Item = Placed<'a>> {
        self.subject.containers()
    }

    /// The pod's own security context.
    pub(super) fn security(&self) -> Option<&'a PodSecurity<'a>> {
        self.spec().security_context.as_ref()
    }

    /// Whether it says that it runs on Windows (v1.25): what exists on Linux alone need not be set there.
    pub(super) fn is_windows(&self) -> bool {
        self.spec().os.as_ref().is_some_and(|os| os.name.as_str() == "windows")
    }

    /// Whether its users are not those of the node (v1.35): root inside is nobody outside.
    pub(super) fn has_own_users(&self) -> bool {
        self.spec().host_users == Some(false)
    }
}

impl Fault {
    /// A fault that both levels see.
    pub(super) fn baseline(rule: &'static str, allowed: &'static str) -> Self {
        Self { rule, level: PodSecurityLevel::Baseline, allowed }
    }

    /// A fault under Restricted alone.
    pub(super) fn restricted(rule: &'static str, allowed: &'static str) -> Self {
        Self { rule, level: PodSecurityLevel::Restricted, allowed }
    }

    /// Says that `field` of `container` breaks the rule.
    pub(super) fn in_container(self, container: &Placed<'_>, field: &str, found: String) -> Finding {
        let path = format!("{container}.{field}");
        Finding { container: container.name.as_str().to_owned(), ..self.in_pod(path, found) }
    }

    /// Says that the pod's field at `path` breaks the rule.
    pub(super) fn in_pod(self, path: String, found: String) -> Finding {
        let Self { rule, level, allowed } = self;
        Finding { rule, level, field: path, container: String::new(), found, allowed }
    }
}

/// The text for a field without a value.
pub(super) const NOT_SET: &str = "not set";

/// The text for a string.
pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}
