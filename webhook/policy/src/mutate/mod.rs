//! What a policy changes in a pod, so that a tenant need not know the host. Doing it again changes nothing, and nothing is changed that the
//! API server would refuse to have changed.

mod defaults;
mod images;
mod placement;

pub use images::{Digests, wanted};
pub(crate) use placement::{exclusion, is_same_exclusion, within};

use crate::pod::Role;
use crate::policy::Policy;
use serde_json::{Map, Value, json};

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
    change(&mut changed, policy, role == Role::ControlPlane, stage, digests);
    changed
}

/// Makes `pod` what the policy wants, and tells the change as a JSON Patch (RFC 6902); nothing when there was nothing to change.
pub fn apply(
    pod: &mut Value,
    policy: &Policy,
    stage: Stage<'_>,
    digests: &Digests,
) -> Option<json_patch::Patch> {
    let is_control_plane = Role::of(pod) == Role::ControlPlane;
    let before = outline(pod);
    change(pod, policy, is_control_plane, stage, digests);
    Some(json_patch::diff(&before, &outline(pod))).filter(|patch| !patch.0.is_empty())
}

fn change(pod: &mut Value, policy: &Policy, is_control_plane: bool, stage: Stage<'_>, digests: &Digests) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if matches!(stage, Stage::New) {
        placement::place(spec, policy);
        if !is_control_plane {
            defaults::fill(spec, policy);
        }
    }
    if !is_control_plane {
        images::pin(spec, policy, stage, digests);
    }
}

/// What of a pod can be changed here, in its place: most of a pod is in its lists, and most of what is in those is not ours to change.
fn outline(pod: &Value) -> Value {
    let spec = pod.get("spec").and_then(Value::as_object).into_iter().flatten().map(|(field, value)| {
        let changeable: &[&str] = match field.as_str() {
            "containers" | "initContainers" | "ephemeralContainers" => {
                &["image", "imagePullPolicy", "resources"]
            }
            "volumes" => &["image"],
            _ => return (field.clone(), value.clone()),
        };
        let items = value.as_array().into_iter().flatten();
        (field.clone(), items.map(|item| only(item, changeable)).collect())
    });
    json!({ "spec": spec.collect::<Map<_, _>>() })
}

fn only(object: &Value, fields: &[&str]) -> Value {
    let set = fields.iter().filter_map(|field| Some(((*field).to_owned(), object.get(field)?.clone())));
    Value::Object(set.collect())
}

#[cfg(test)]
mod tests;
