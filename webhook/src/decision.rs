//! From a question, with all that is known, to an answer. Pure.

use crate::review::Request;
use crate::strict_json;
use json_patch::Patch;
use k3k_api::v1beta1::policy::EnforcementMode;
use k3k_policy::mutate::{self, Digests, Stage};
use k3k_policy::pod::Role;
use k3k_policy::{
    Facts, Governing, MALFORMED, Operation, Question, Requester, Violation, judge, rules, told,
};
use kube::core::Status;
use kube::core::admission::Operation as Asked;
use kube::core::response::{StatusCause, StatusDetails, StatusSummary, reason};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// How many violations a denial lists as causes.
const MOST_CAUSES: usize = 100;

/// The answer.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    violations: Vec<Violation>,
    /// Whether one of them is enforced.
    denied: bool,
    /// The policy by which it was decided, with its generation.
    policy: Option<(String, i64)>,
    patch: Option<Patch>,
    /// Why nothing could be decided: the request is refused, and may be tried again.
    undecided: Option<String>,
}

/// The objects of a question, read.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// As it will be.
    pub object: Option<Value>,
    /// As it is.
    pub old: Option<Value>,
}

/// Whether the object may still be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It may.
    Mutate,
    /// It is as it will be.
    Validate,
}

/// What registries said.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Digests, by the images as pods name them.
    pub digests: Digests,
    /// What went wrong, by the images as pods name them.
    pub failures: HashMap<String, String>,
}

/// Reads the objects. The answer is given at once when they cannot be read, or need not be.
pub fn read(request: &Request<'_>) -> Result<Objects, Decision> {
    let one = |object: Option<&RawValue>| object.map(|raw| strict_json::from_str(raw.get())).transpose();
    match (one(request.object), one(request.old_object)) {
        (Ok(object), Ok(old)) => Ok(Objects {
            object: object.filter(|value| !value.is_null()),
            old: old.filter(|value| !value.is_null()),
        }),
        // An object that is too much to read may still lose its finalizers.
        _ if request.operation == Asked::Update && same_spec(request.old_object, request.object) => {
            Err(Decision::default())
        }
        _ if request.operation == Asked::Delete => Err(Decision::default()),
        (Err(error), _) | (_, Err(error)) => {
            Err(Decision::denied(MALFORMED, "", format!("the object cannot be read: {error}")))
        }
    }
}

/// Asks the policy's rules. `requester` is who asks, and `resolved` what registries said about [`mutate::wanted`]. While the object may
/// still be changed, it is.
pub fn decide(
    request: &Request<'_>,
    objects: &mut Objects,
    requester: &Requester,
    facts: &Facts<'_>,
    phase: Phase,
    resolved: &Resolved,
) -> Decision {
    let operation = operation(&request.operation);
    if matches!(operation, Operation::Create | Operation::Update) && objects.object.is_none() {
        return Decision::denied(MALFORMED, "", "the object cannot be read: there is none".to_owned());
    }
    let patch = match phase {
        Phase::Mutate => mutate(request, objects, facts, &resolved.digests),
        Phase::Validate => None,
    };
    let question = Question {
        operation,
        group: &request.resource.group,
        resource: &request.resource.resource,
        sub_resource: &request.sub_resource,
        namespace: &request.namespace,
        name: &request.name,
        requester,
        object: objects.object.as_ref(),
        old: objects.old.as_ref(),
    };
    let mut violations = judge(&question, facts);
    for violation in &mut violations {
        explain(violation, question.object, &resolved.failures);
    }
    let policy = match facts.governing {
        Governing::Named(policy) => Some((policy.name.clone(), policy.generation)),
        _ => None,
    };
    Decision { policy, ..Decision::of(violations) }.with_patch(patch)
}

/// The images of a pod whose digests are needed.
pub fn wanted(
    request: &Request<'_>,
    objects: &Objects,
    governing: &Governing,
) -> Vec<(String, k3k_api::image::ImageReference)> {
    let (Governing::Named(policy), Some(pod)) = (governing, &objects.object) else { return Vec::new() };
    if !is_pod(request) || Role::of(pod) == Role::ControlPlane {
        return Vec::new();
    }
    mutate::wanted(pod, policy, stage(request, objects.old.as_ref()))
}

/// Makes a pod what its policy wants.
fn mutate(
    request: &Request<'_>,
    objects: &mut Objects,
    facts: &Facts<'_>,
    digests: &Digests,
) -> Option<Patch> {
    let (Governing::Named(policy), Some(pod)) = (facts.governing, &mut objects.object) else { return None };
    if !is_pod(request) {
        return None;
    }
    mutate::apply(pod, policy, stage(request, objects.old.as_ref()), digests)
}

fn is_pod(request: &Request<'_>) -> bool {
    request.resource.group.is_empty()
        && request.resource.resource == "pods"
        && matches!(request.sub_resource.as_str(), "" | "ephemeralcontainers")
        && matches!(request.operation, Asked::Create | Asked::Update)
}

fn stage<'a>(request: &Request<'_>, old: Option<&'a Value>) -> Stage<'a> {
    match old {
        Some(old) if request.operation == Asked::Update => Stage::Running(old),
        _ => Stage::New,
    }
}

fn operation(asked: &Asked) -> Operation {
    match asked {
        Asked::Create => Operation::Create,
        Asked::Update => Operation::Update,
        Asked::Delete => Operation::Delete,
        Asked::Connect => Operation::Connect,
    }
}

/// Says why a registry did not tell a digest.
fn explain(violation: &mut Violation, object: Option<&Value>, failures: &HashMap<String, String>) {
    if violation.rule != rules::DIGEST || failures.is_empty() {
        return;
    }
    let pointer = format!("/{}", violation.field.replace('[', ".").replace(']', "").replace('.', "/"));
    let image = object.and_then(|object| object.pointer(&pointer)).and_then(Value::as_str);
    if let Some(failure) = image.and_then(|image| failures.get(image)) {
        violation.message = format!("{} ({failure})", violation.message);
    }
}

/// Whether both have the same `spec`, to the letter: the API server writes equal ones alike, and comparing the text
/// keeps an object that is too much for [`read`] from staying forever.
fn same_spec(old: Option<&RawValue>, new: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    struct Outline<'a> {
        #[serde(borrow)]
        spec: Option<&'a RawValue>,
    }
    fn spec(object: Option<&RawValue>) -> Option<&str> {
        serde_json::from_str::<Outline<'_>>(object?.get()).ok()?.spec.map(RawValue::get)
    }
    spec(old).is_some_and(|old| spec(new) == Some(old))
}

impl Decision {
    fn denied(rule: &'static str, field: &str, message: String) -> Self {
        Self::of(vec![Violation::new(rule, field, message)])
    }

    fn of(violations: Vec<Violation>) -> Self {
        let denied = violations.iter().any(|violation| violation.mode == EnforcementMode::Enforce);
        Self { violations, denied, ..Self::default() }
    }

    /// Nothing could be found out, for this reason.
    pub fn undecided(why: String) -> Self {
        Self { undecided: Some(why), ..Self::default() }
    }

    fn with_patch(self, patch: Option<Patch>) -> Self {
        // What is refused is not changed.
        Self { patch: patch.filter(|_| !self.denied), ..self }
    }

    /// The same without the guards: they are not for administrators, except for the one of policies, which they alone write.
    #[must_use]
    pub fn without_guards(self) -> Self {
        let stays =
            |violation: &Violation| !violation.is_guard() || violation.rule == k3k_policy::rules::POLICY;
        let violations = self.violations.into_iter().filter(stays).collect();
        Self { policy: self.policy, patch: self.patch, ..Self::of(violations) }
    }

    /// Whether only guards speak against it.
    pub fn is_guarded(&self) -> bool {
        self.denied && self.violations.iter().any(Violation::is_guard)
    }

    /// Whether the request goes on.
    pub fn is_allowed(&self) -> bool {
        !self.denied && self.undecided.is_none()
    }

    /// The decision in one word, for logs and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self { undecided: Some(_), .. } => "undecided",
            Self { denied: true, .. } => "denied",
            _ => "allowed",
        }
    }

    /// Why nothing could be decided.
    pub fn obstacle(&self) -> Option<&str> {
        self.undecided.as_deref()
    }

    /// Everything that was found, enforced or not.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The change of the object.
    pub fn patch(&self) -> Option<&Patch> {
        self.patch.as_ref()
    }

    /// What whoever asks is told, besides a denial.
    pub fn warnings(&self) -> Vec<String> {
        told::warnings(self.violations.iter().filter(|violation| violation.mode == EnforcementMode::Warn))
    }

    /// What the API server's audit log is told. The API server puts the webhook's name before the keys.
    pub fn audit(&self) -> BTreeMap<String, String> {
        let mut notes = BTreeMap::new();
        if self.violations.is_empty() {
            return notes;
        }
        if let Some((name, generation)) = &self.policy {
            notes.insert("policy".to_owned(), name.clone());
            notes.insert("generation".to_owned(), generation.to_string());
        }
        for (key, mode) in [
            ("enforced", EnforcementMode::Enforce),
            ("warned", EnforcementMode::Warn),
            ("audited", EnforcementMode::Audit),
        ] {
            let mut broken: Vec<&str> = self
                .violations
                .iter()
                .filter(|violation| violation.mode == mode)
                .map(|violation| violation.rule)
                .collect();
            broken.dedup();
            if !broken.is_empty() {
                notes.insert(key.to_owned(), broken.join(","));
            }
        }
        notes
    }

    /// What the API server tells the client; nothing when the request is allowed.
    pub fn status(&self, request: &Request<'_>) -> Option<Status> {
        let enforced =
            || self.violations.iter().filter(|violation| violation.mode == EnforcementMode::Enforce);
        let (code, reason, message, causes) = match &self.undecided {
            Some(message) => (500, reason::INTERNAL_ERROR, format!("{message}; try again"), Vec::new()),
            None if self.denied => (
                403,
                reason::FORBIDDEN,
                told::denial(enforced()),
                enforced().take(MOST_CAUSES).map(cause).collect(),
            ),
            None => return None,
        };
        Some(Status {
            status: Some(StatusSummary::Failure),
            code,
            message,
            metadata: None,
            reason: reason.to_owned(),
            details: Some(StatusDetails {
                name: request.name.clone(),
                group: request.resource.group.clone(),
                kind: request.resource.resource.clone(),
                causes,
                uid: String::new(),
                retry_after_seconds: 0,
            }),
        })
    }
}

fn cause(violation: &Violation) -> StatusCause {
    StatusCause {
        reason: violation.rule.to_owned(),
        message: violation.message.clone(),
        field: violation.field.clone(),
    }
}

#[cfg(test)]
mod tests;
