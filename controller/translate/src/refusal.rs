//! Why an object of a tenant is not taken to the host.

use std::fmt;

/// A part of a tenant's object that cannot be judged or is not offered. The object is left alone as a whole:
/// running half of what was asked for would be worse than saying no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// Where, as in `spec.volumes[0].nfs`.
    pub path: String,
    /// Why, in words for the tenant.
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

impl Refusal {
    /// A refusal of what stands at `path`.
    pub fn new(path: impl Into<String>, why: impl Into<String>) -> Self {
        Self { path: path.into(), why: why.into() }
    }

    /// A field that this version has no rule for.
    pub fn unknown(path: impl Into<String>) -> Self {
        Self::new(
            path,
            "this field is not known to this version of k3k, so it is refused rather than ignored",
        )
    }

    /// A field whose meaning is known but not offered to tenants.
    pub fn unsupported(path: impl Into<String>) -> Self {
        Self::new(path, "this is not supported in shared mode")
    }
}
