//! What a policy changes in a pod, so that a tenant need not know the host. Doing it again changes nothing, and nothing is changed that the
//! API server would refuse to have changed.

mod defaults;
mod images;
mod placement;

pub use images::{Digests, wanted};
pub(crate) use placement::{child, exclusion, is_same_exclusion};

use crate::pod::Role;
use crate::policy::Policy;
use serde_json::Value;

/// How much of a pod can still be changed.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// All of it: it is being made.
    New,
    /// Its images: it runs. With the pod as it is.
    Running(&'a Value),
}

/// The pod as the policy wants it. `digests` are those of [`wanted`] that could be found out.
pub fn pod(pod: &Value, policy: &Policy, role: Role<'_>, stage: Stage<'_>, digests: &Digests) -> Value {
    let mut changed = pod.clone();
    let Some(spec) = changed.get_mut("spec").and_then(Value::as_object_mut) else { return changed };
    if matches!(stage, Stage::New) {
        placement::place(spec, policy);
        if role != Role::ControlPlane {
            defaults::fill(spec, policy);
        }
    }
    if role != Role::ControlPlane {
        images::pin(spec, policy, stage, digests);
    }
    changed
}

/// The change from `old` to `new` as a JSON Patch (RFC 6902); nothing when they are the same.
pub fn patch(old: &Value, new: &Value) -> Option<json_patch::Patch> {
    Some(json_patch::diff(old, new)).filter(|patch| !patch.0.is_empty())
}

#[cfg(test)]
mod tests;
