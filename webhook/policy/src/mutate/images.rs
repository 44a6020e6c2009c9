//! Images as the policy wants them: with digests, and pulled as often as it says.

use super::Stage;
use crate::policy::Policy;
use k3k_api::image::ImageReference;
use k3k_api::v1beta1::policy::DigestRule;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Digests that a registry told, by the images as pods name them.
pub type Digests = BTreeMap<String, String>;

const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The images of `pod` whose digest has to be asked of their registry, as the pod names them.
pub fn wanted(pod: &Value, policy: &Policy, stage: Stage<'_>) -> Vec<(String, ImageReference)> {
    if policy.digest() != DigestRule::Resolve {
        return Vec::new();
    }
    let mut wanted: Vec<(String, ImageReference)> = Vec::new();
    let Some(spec) = pod.get("spec").and_then(Value::as_object) else { return wanted };
    let mut add = |text: &str, before: Option<&str>| {
        let Ok(reference) = text.parse::<ImageReference>() else { return };
        let known = reference.digest.is_some()
            || before.is_some_and(|before| before == text || is_pinned_form_of(before, &reference))
            || policy.pinned(&reference).is_some()
            || wanted.iter().any(|(known, _)| known == text);
        // What may not be used is not asked about either.
        if !known && policy.registry(&reference).is_some() {
            wanted.push((text.to_owned(), reference));
        }
    };
    for list in LISTS {
        for container in spec.get(list).and_then(Value::as_array).into_iter().flatten() {
            let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
            add(image, before(stage, list, container));
        }
    }
    for volume in spec.get("volumes").and_then(Value::as_array).into_iter().flatten() {
        if let Some(image) = volume.pointer("/image/reference").and_then(Value::as_str)
            && matches!(stage, Stage::New)
        {
            add(image, None);
        }
    }
    wanted
}

/// Writes digests and pull policies into a pod's spec.
pub(super) fn pin(spec: &mut Map<String, Value>, policy: &Policy, stage: Stage<'_>, digests: &Digests) {
    for list in LISTS {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers {
            let before = before(stage, list, container).map(str::to_owned);
            let is_new = matches!(stage, Stage::New) || (list == "ephemeralContainers" && before.is_none());
            let Some(container) = container.as_object_mut() else { continue };
            let pinned = container
                .get("image")
                .and_then(Value::as_str)
                .and_then(|image| with_digest(image, before.as_deref(), policy, digests));
            if let Some(pinned) = pinned {
                container.insert("image".into(), pinned.into());
            }
            if is_new {
                pull(container, "imagePullPolicy", policy);
            }
        }
    }
    if !matches!(stage, Stage::New) {
        return;
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) else { continue };
        let pinned = image
            .get("reference")
            .and_then(Value::as_str)
            .and_then(|reference| with_digest(reference, None, policy, digests));
        if let Some(pinned) = pinned {
            image.insert("reference".into(), pinned.into());
        }
        pull(image, "pullPolicy", policy);
    }
}

/// `image` with its digest, when it has none yet and one is known.
fn with_digest(image: &str, before: Option<&str>, policy: &Policy, digests: &Digests) -> Option<String> {
    if policy.digest() == DigestRule::Off {
        return None;
    }
    let reference = image.parse::<ImageReference>().ok()?;
    if reference.digest.is_some() {
        return None;
    }
    // Whoever keeps the pod in step with another writes the tag again and again; the container must not start anew for that.
    if let Some(before) = before.filter(|before| is_pinned_form_of(before, &reference)) {
        return Some(before.to_owned());
    }
    let digest = policy.pinned(&reference).or_else(|| digests.get(image).map(String::as_str))?;
    Some(format!("{image}@{digest}"))
}

/// Whether `before` is `reference` with a digest.
fn is_pinned_form_of(before: &str, reference: &ImageReference) -> bool {
    before.parse::<ImageReference>().is_ok_and(|before| {
        before.digest.is_some()
            && before.registry == reference.registry
            && before.repository == reference.repository
            && before.tag.as_deref().unwrap_or("latest") == reference.tag.as_deref().unwrap_or("latest")
    })
}

/// The image that the container of the same name and list has now.
fn before<'a>(stage: Stage<'a>, list: &str, container: &Value) -> Option<&'a str> {
    let Stage::Running(old) = stage else { return None };
    let olds = old.get("spec")?.get(list)?.as_array()?;
    olds.iter().find(|old| old.get("name") == container.get("name"))?.get("image")?.as_str()
}

fn pull(at: &mut Map<String, Value>, field: &str, policy: &Policy) {
    if let Some(wanted) = policy.images.pull_policy
        && at.get(field).and_then(Value::as_str) != Some("Always")
    {
        at.insert(field.to_owned(), wanted.as_str().into());
    }
}
