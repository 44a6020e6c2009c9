//! Where images come from, and that they stay what they were.

use super::view::Text;
use super::{Placed, Role, Subject};
use crate::policy::{Policy, is_private};
use crate::rules;
use crate::violation::{Violation, any_of};
use k3k_api::image::ImageReference;
use k3k_api::v1beta1::policy::{DigestRule, OnResolveFailure};

/// An image somewhere in a pod.
struct Used<'s> {
    place: Place<'s>,
    image: &'s str,
    pull_policy: Option<&'s str>,
}

/// What an image belongs to.
enum Place<'s> {
    Container(Placed<'s>),
    /// By its index.
    Volume(usize),
}

impl Used<'_> {
    /// The field of the image.
    fn field(&self) -> String {
        match self.place {
            Place::Container(container) => format!("{container}.image"),
            Place::Volume(index) => format!("spec.volumes[{index}].image.reference"),
        }
    }

    /// The field of its pull policy.
    fn pull_policy_field(&self) -> String {
        match self.place {
            Place::Container(container) => format!("{container}.imagePullPolicy"),
            Place::Volume(index) => format!("spec.volumes[{index}].image.pullPolicy"),
        }
    }
}

/// Every image of a pod: of every list of containers, and of image volumes.
fn images<'s>(subject: &'s Subject<'_>) -> impl Iterator<Item = Used<'s>> {
    let of_containers = subject.containers().map(|container| Used {
        image: container.image.map(Text::as_str).unwrap_or_default(),
        pull_policy: container.image_pull_policy.map(Text::as_str),
        place: Place::Container(container),
    });
    let of_volumes = subject.spec.volumes.iter().enumerate().filter_map(|(index, volume)| {
        let source = volume.image.as_ref()?;
        Some(Used {
            place: Place::Volume(index),
            image: source.reference.as_deref().unwrap_or_default(),
            pull_policy: source.pull_policy.as_deref(),
        })
    });
    of_containers.chain(of_volumes)
}

/// Digests, registries and pull policies.
pub(super) fn check(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    // What a control plane runs is the administrator's choice, in the chart.
    if role == Role::ControlPlane {
        return Vec::new();
    }
    let mut found = Vec::new();
    for used in images(subject) {
        if policy.digest() != DigestRule::Off || !policy.images.allowed_registries.is_empty() {
            found.extend(image(policy, &|| used.field(), used.image));
        }
        if let Some(wanted) = policy.images.pull_policy {
            // IfNotPresent is the least that is asked for: a pod that wants more of the registry may.
            let enough = used.pull_policy == Some(wanted.as_str()) || used.pull_policy == Some("Always");
            if !enough {
                let value =
                    used.pull_policy.map_or_else(|| "not set".to_owned(), |value| format!("{value:?}"));
                found.push(Violation::of(
                    rules::PULL_POLICY,
                    used.pull_policy_field(),
                    &value,
                    &policy.title(),
                    &format!("only {:?}", wanted.as_str()),
                ));
            }
        }
    }
    found
}

fn image(policy: &Policy, field: &dyn Fn() -> String, text: &str) -> Vec<Violation> {
    // A template may leave it out; a pod without an image fails in Kubernetes itself.
    if text.is_empty() {
        return Vec::new();
    }
    let reference = match text.parse::<ImageReference>() {
        Ok(reference) => reference,
        // Of what cannot be read neither can be said.
        Err(error) => {
            let field = field();
            let digest = (policy.digest() != DigestRule::Off).then_some(rules::DIGEST);
            let registries = (!policy.images.allowed_registries.is_empty()).then_some(rules::REGISTRIES);
            let broken = digest.into_iter().chain(registries);
            return broken
                .map(|rule| Violation::new(rule, field.clone(), format!("{field}: {error}")))
                .collect();
        }
    };
    let mut found = Vec::new();
    if !policy.images.allowed_registries.is_empty()
        && policy.registry(&reference).is_none()
        && !policy.is_pinned(&reference)
    {
        let allowed: Vec<String> = policy
            .images
            .allowed_registries
            .iter()
            .flat_map(|registry| {
                let all = ["**".to_owned()];
                let repositories = if registry.repositories.is_empty() {
                    all.to_vec()
                } else {
                    registry.repositories.clone()
                };
                repositories.into_iter().map(|repository| format!("{}/{repository}", registry.host))
            })
            .collect();
        found.push(Violation::of(
            rules::REGISTRIES,
            field(),
            &format!("{text:?}"),
            &policy.title(),
            &any_of(&allowed),
        ));
    }
    let has_digest = reference.digest.as_ref().is_some_and(|digest| digest.starts_with("sha256:"));
    if policy.digest() != DigestRule::Off && !has_digest {
        let remedy = match policy.digest() {
            DigestRule::Resolve => match policy.registry(&reference) {
                Some(registry) if !is_private(registry) => {
                    "its registry did not tell the digest, which can be asked of public addresses only; try again, or name the digest"
                }
                Some(_) => "its registry did not tell the digest; try again, or name the digest",
                None => "name the digest",
            },
            DigestRule::Require | DigestRule::Off => "add its digest",
        };
        let admitted = policy.digest() == DigestRule::Resolve
            && policy.images.resolve.as_ref().and_then(|resolve| resolve.on_failure)
                == Some(OnResolveFailure::Admit);
        if !admitted {
            let allowed = format!("only images with a digest: {remedy}, such as {}", example(&reference));
            found.push(Violation::of(
                rules::DIGEST,
                field(),
                &format!("{text:?}"),
                &policy.title(),
                &allowed,
            ));
        }
    }
    found
}

/// What the reference would look like with a digest.
fn example(reference: &ImageReference) -> String {
    let tag = reference.effective_tag().unwrap_or("latest");
    format!("{}/{}:{tag}@sha256:…", reference.registry, reference.repository)
}
