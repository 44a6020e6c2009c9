//! From an object and a policy to what would become of it: the evaluator of the webhook, asked with everything that the host's API server
//! and the virtual kubelet do to objects on their way.

use super::kinds::{self, Kind, What};
use super::{changes, defaults};
use jiff::Timestamp;
use k3k_api::labels;
use k3k_api::v1beta1::policy::{DigestRule, EnforcementMode};
use k3k_policy::mutate::{self, Digests, Stage};
use k3k_policy::pod::{Role, Subject};
use k3k_policy::{
    Facts, Governing, MALFORMED, Operation, Policy, Question, Requester, Source, Violation, rules,
};
use serde::Serialize;
use serde_json::{Value, json};

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Outcome {
    /// No rule speaks about it.
    NotJudged,
    /// It is let in.
    Admitted,
    /// It is let in, and whoever wrote it is warned.
    Warned,
    /// It is refused. If it makes pods, they are.
    Denied,
}

/// What becomes of an object, and why.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    /// What becomes of it.
    pub(super) outcome: Outcome,
    /// What speaks against it.
    pub(super) violations: Vec<Violation>,
    /// What the policy changes in it.
    pub(super) changes: Vec<String>,
}

/// Where an object is applied.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side<'a> {
    /// Inside a cluster, by its tenant.
    Tenant(Source<'a>),
    /// In this namespace of the host.
    Host(&'a str),
}

/// What is known besides the object.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    /// What governs the namespace.
    pub(super) governing: &'a Governing,
    /// Exemptions end.
    pub(super) now: Timestamp,
    /// How many other clusters the namespace holds.
    pub(super) clusters: usize,
    /// Whether an Ingress of another namespace has a host name.
    pub(super) taken: &'a (dyn Fn(&str) -> bool + Sync),
}

impl<'a> Given<'a> {
    /// Nothing but the policy.
    pub(super) fn new(governing: &'a Governing, now: Timestamp) -> Self {
        Self { governing, now, clusters: 0, taken: &|_| false }
    }

    fn facts(&self) -> Facts<'a> {
        let mut facts = Facts::new(self.governing, self.now);
        facts.clusters_in_namespace = self.clusters;
        facts.host_is_taken = self.taken;
        facts
    }

    /// The policy; None if there is none that could be asked.
    fn policy(&self) -> Option<std::borrow::Cow<'a, Policy>> {
        match self.governing {
            Governing::Default => Some(std::borrow::Cow::Owned(Policy::default())),
            Governing::Named(policy) => Some(std::borrow::Cow::Borrowed(policy)),
            Governing::Missing { .. } | Governing::Unreadable { .. } => None,
        }
    }
}

impl Verdict {
    fn of(violations: Vec<Violation>, changes: Vec<String>) -> Self {
        let worst = violations.iter().map(|violation| violation.mode).max();
        let outcome = match worst {
            Some(EnforcementMode::Enforce) => Outcome::Denied,
            Some(EnforcementMode::Warn) => Outcome::Warned,
            Some(EnforcementMode::Audit) | None => Outcome::Admitted,
        };
        Self { outcome, violations, changes }
    }

    fn not_judged() -> Self {
        Self { outcome: Outcome::NotJudged, violations: Vec::new(), changes: Vec::new() }
    }
}

/// What becomes of a manifest that is applied.
pub(super) fn manifest(object: &Value, side: Side<'_>, given: &Given<'_>) -> Verdict {
    let Some(kind) = kinds::of(object) else { return Verdict::not_judged() };
    match (side, kind.what) {
        (Side::Tenant(source), What::Pod) => nested(object, "", source, given),
        (Side::Tenant(source), What::Template(path)) => match object.pointer(path) {
            Some(template) => nested(
                template,
                &format!("{}.", path.trim_start_matches('/').replace('/', ".")),
                source,
                given,
            ),
            None => malformed(path, "a template of pods is missing"),
        },
        (Side::Tenant(source), What::Service | What::Ingress | What::Claim) => {
            copied(object, kind, source, given)
        }
        (Side::Tenant(_), What::Guarded) => Verdict::not_judged(),
        // Whoever makes a cluster does so in the host.
        (Side::Tenant(_), What::Cluster) => {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
            host(object, kind, &namespace, given)
        }
        (Side::Host(namespace), _) => {
            let mut object = object.clone();
            match kind.what {
                What::Pod => defaults::pod(&mut object),
                What::Template(path) => object.pointer_mut(path).into_iter().for_each(defaults::pod),
                _ => {}
            }
            host(&object, kind, namespace, given)
        }
    }
}

/// What would become of an object of the host if it were made now.
pub(super) fn live(object: &Value, kind: Kind, namespace: &str, given: &Given<'_>) -> Verdict {
    let mut object = object.clone();
    // What the host has decided since.
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        match kind.what {
            What::Pod => {
                spec.remove("nodeName");
            }
            What::Claim => {
                spec.remove("volumeName");
            }
            _ => {}
        }
    }
    host(&object, kind, namespace, given)
}

/// A tenant's pod, or a template of such.
fn nested(pod: &Value, prefix: &str, source: Source<'_>, given: &Given<'_>) -> Verdict {
    let mut pod = pod.clone();
    defaults::pod(&mut pod);
    if let Err(error) = Subject::pod(&pod) {
        return malformed(&format!("{prefix}{}", error.path), &error.to_string());
    }
    let Some(policy) = given.policy() else {
        return Verdict::of(vec![ungoverned(given)], Vec::new());
    };
    let changed = mutate::pod(&pod, &policy, Role::Tenant(source), Stage::New, &Digests::new());
    let found = k3k_policy::nested(&pod, source, &policy, given.now);
    let found = found.into_iter().map(|violation| {
        // Messages begin with the field, where one is at fault.
        let begins = !violation.field.is_empty() && violation.message.starts_with(&violation.field);
        let message = if begins { format!("{prefix}{}", violation.message) } else { violation.message };
        Violation { message, field: format!("{prefix}{}", violation.field), ..violation }
    });
    Verdict::of(found.collect(), changes::between(&pod, &changed, prefix))
}

/// What the evaluator says when there is no policy to ask.
fn ungoverned(given: &Given<'_>) -> Violation {
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": []}});
    let question = question(&pod, kinds::POD, "", &Requester::Administrator);
    let found = k3k_policy::judge(&question, &given.facts());
    found
        .into_iter()
        .next()
        .unwrap_or_else(|| Violation::new(k3k_policy::POLICY_MISSING, "", "there is no policy"))
}

/// A tenant's Service, Ingress or claim, as the virtual kubelet copies it.
fn copied(object: &Value, kind: Kind, source: Source<'_>, given: &Given<'_>) -> Verdict {
    let mut copy = object.clone();
    if copy["spec"]["type"] == "ExternalName" {
        return Verdict::not_judged(); // an alias in the cluster's own DNS
    }
    if let Some(spec) = copy.get_mut("spec").and_then(Value::as_object_mut) {
        for field in ["externalIPs", "loadBalancerIP", "loadBalancerClass", "volumeName", "selector"] {
            spec.remove(field);
        }
    }
    copy["metadata"]["labels"] = json!({ labels::CLUSTER_NAME: source.cluster });
    copy["metadata"]["annotations"] = json!({ labels::VIRTUAL_NAMESPACE: source.virtual_namespace });
    let question = question(&copy, kind, "", &Requester::Administrator);
    Verdict::of(k3k_policy::judge(&question, &given.facts()), Vec::new())
}

/// An object of the host, as whoever makes such objects would make it.
fn host(object: &Value, kind: Kind, namespace: &str, given: &Given<'_>) -> Verdict {
    let label = |key: &str| object["metadata"]["labels"][key].as_str();
    let requester = match (label(labels::COMPONENT), label(labels::CLUSTER_NAME)) {
        (Some(_), _) => Requester::Controller,
        (None, Some(cluster)) => Requester::Kubelet { cluster: cluster.to_owned() },
        (None, None) => Requester::Other,
    };
    let mut made = object.clone();
    let mut later = false;
    if let (What::Pod, Some(policy)) = (kind.what, given.policy()) {
        made = mutate::pod(object, &policy, Role::of(object), Stage::New, &Digests::new());
        later = policy.digest() == DigestRule::Resolve;
    }
    let question = question(&made, kind, namespace, &requester);
    let mut found = k3k_policy::judge(&question, &given.facts());
    // The webhook asks the registry first.
    found.retain(|violation| !(later && violation.rule == rules::DIGEST));
    Verdict::of(found, changes::between(object, &made, ""))
}

fn question<'a>(object: &'a Value, kind: Kind, namespace: &'a str, requester: &'a Requester) -> Question<'a> {
    Question {
        operation: Operation::Create,
        group: kind.group,
        resource: kind.plural,
        sub_resource: "",
        namespace,
        name: object["metadata"]["name"].as_str().unwrap_or_default(),
        requester,
        object: Some(object),
        old: None,
    }
}

fn malformed(field: &str, message: &str) -> Verdict {
    Verdict::of(vec![Violation::new(MALFORMED, field, message)], Vec::new())
}

#[cfg(test)]
#[path = "verdict/tests.rs"]
mod tests;
