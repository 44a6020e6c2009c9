//! What pods, claims and Ingresses refer to by name: only what belongs to their cluster.
//!
//! The name of a copy tells whose it is: its last part spells out in hexadecimal what it is made of. A name that was too long for that is cut
//! and says nothing; the virtual kubelet compares annotations before it uses one.

use crate::pod::Role;
use crate::question::{Operation, Question, Requester, annotation};
use crate::rules::REFERENCES;
use crate::violation::Violation;
use k3k_api::{labels, names};
use serde_json::Value;
use std::fmt;

/// Everything that a pod names.
pub(super) fn pod(question: &Question<'_>) -> Vec<Violation> {
    let Some(pod) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    if !question.changes("/spec") {
        return Vec::new();
    }
    let role = Role::of(pod);
    if role == Role::ControlPlane {
        return Vec::new();
    }
    let own_secret = annotation(pod, labels::VIRTUAL_UID).map(|uid| names::prefixed(&["pod", uid]));
    let mut named = Vec::new();
    if let Some(spec) = pod.get("spec") {
        collect(spec, At::Root("spec"), &mut named);
    }
    let mut found: Vec<Violation> = named
        .into_iter()
        .filter(|(_, name)| match role {
            Role::Tenant(source) => own_secret.as_deref() != Some(name) && !may_belong(name, source.cluster),
            _ => is_control_plane(name),
        })
        .map(|(field, name)| refused(field, name))
        .collect();
    let cluster = crate::question::label(pod, labels::CLUSTER_NAME);
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    for (index, volume) in volumes.into_iter().flatten().enumerate() {
        if let Some(spec) = volume.pointer("/ephemeral/volumeClaimTemplate/spec") {
            let path = format!("spec.volumes[{index}].ephemeral.volumeClaimTemplate.spec");
            found.extend(sources(spec, &path, cluster));
            found.extend(volume_name(spec, &path));
        }
    }
    found
}

/// What a claim is made from, and which volume it wants. The host's controllers make claims of what tenants' templates say.
pub(super) fn claim(question: &Question<'_>) -> Vec<Violation> {
    let Some(claim) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    if matches!(question.requester, Requester::Controller | Requester::Administrator) {
        return Vec::new();
    }
    let Some(spec) = claim.get("spec") else { return Vec::new() };
    let mut found = Vec::new();
    if question.operation == Operation::Create {
        found.extend(sources(spec, "spec", crate::question::label(claim, labels::CLUSTER_NAME)));
    }
    let is_new = question.operation == Operation::Create;
    // The host binds a claim once it is there.
    if question.changes("/spec/volumeName") && (is_new || !question.requester.is_trusted()) {
        found.extend(volume_name(spec, "spec"));
    }
    found
}

/// Where the contents of a claim with `spec`, of `cluster`, come from.
fn sources(spec: &Value, path: &str, cluster: Option<&str>) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in ["dataSource", "dataSourceRef"] {
        let Some(reference) = spec.get(source).filter(|reference| !reference.is_null()) else { continue };
        let name = reference.get("name").and_then(Value::as_str).unwrap_or_default();
        if reference.get("namespace").is_some_and(|namespace| !namespace.is_null()) {
            let field = format!("{path}.{source}.namespace");
            let message = format!("{field} is set, but a claim is made from its own cluster's data");
            found.push(Violation::new(REFERENCES, field, message));
        } else if cluster.is_some_and(|cluster| !may_belong(name, cluster)) || is_control_plane(name) {
            found.push(refused(format!("{path}.{source}.name"), name));
        }
    }
    found
}

fn volume_name(spec: &Value, path: &str) -> Option<Violation> {
    spec.get("volumeName").filter(|name| !name.is_null() && *name != "")?;
    let field = format!("{path}.volumeName");
    let message = format!("{field} is set, but which volume a claim gets is for the host to say");
    Some(Violation::new(REFERENCES, field, message))
}

/// Backends and TLS Secrets.
pub(super) fn ingress(question: &Question<'_>) -> Vec<Violation> {
    let Some(ingress) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    if question.requester.is_trusted() || !question.changes("/spec") {
        return Vec::new();
    }
    let cluster = match question.requester {
        Requester::Kubelet { cluster } => Some(cluster.as_str()),
        _ => None,
    };
    let mut named = Vec::new();
    if let Some(spec) = ingress.get("spec") {
        collect(spec, At::Root("spec"), &mut named);
    }
    named
        .into_iter()
        .filter(|(field, name)| match cluster {
            // A TLS Secret may be the host's own, where the cluster's administrator says so.
            Some(cluster) if field.ends_with(".secretName") => {
                is_control_plane(name) || spelled_cluster(name).is_some_and(|other| other != cluster)
            }
            Some(cluster) => !may_belong(name, cluster),
            None => is_control_plane(name),
        })
        .map(|(field, name)| refused(field, name))
        .collect()
}

fn refused(field: String, name: &str) -> Violation {
    let message = format!("{field} is {name:?}, which does not belong to the object's cluster");
    Violation::new(REFERENCES, field, message)
}

/// Whether a copy of this name can be one of `cluster`.
fn may_belong(name: &str, cluster: &str) -> bool {
    // The copy of the host's root certificates, the same for all.
    if name == "kube-root-ca.crt" {
        return true;
    }
    match spelled(name) {
        Some(spelled) => spelled.rsplit('+').next() == Some(cluster) && spelled.contains('+'),
        // Cut: 57 or 56 characters, a dash, and 5 or 6 of a hash.
        None => {
            name.len() == 63
                && name.rsplit_once('-').is_some_and(|(_, hash)| {
                    matches!(hash.len(), 5 | 6) && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
                })
                && !is_control_plane(name)
        }
    }
}

/// The cluster that the name of a copy spells out.
pub(super) fn spelled_cluster(name: &str) -> Option<String> {
    spelled(name)?.rsplit('+').next().map(str::to_owned)
}

/// What the last part of a name spells out in hexadecimal.
fn spelled(name: &str) -> Option<String> {
    let (_, hex) = name.rsplit_once('-')?;
    if hex.is_empty() || hex.len() % 2 != 0 {
        return None;
    }
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok().filter(|text| text.contains('+'))
}

/// Whether this is the name of one of k3k's own objects.
fn is_control_plane(name: &str) -> bool {
    name.starts_with("k3k-")
        || name.starts_with("server-data-k3k-")
        || name.starts_with("varlibrancherk3s-k3k-")
}

/// Every name of an object that `value` refers to, with its field.
fn collect<'a>(value: &'a Value, path: At<'_>, named: &mut Vec<(String, &'a str)>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let at = At::Key(&path, key);
                match (key.as_str(), inner) {
                    ("secretName" | "claimName", Value::String(name)) if !name.is_empty() => {
                        named.push((at.to_string(), name));
                    }
                    (
                        "configMap"
                        | "secret"
                        | "secretRef"
                        | "configMapRef"
                        | "secretKeyRef"
                        | "configMapKeyRef"
                        | "nodePublishSecretRef"
                        | "service"
                        | "resource",
                        Value::Object(reference),
                    ) => {
                        if let Some(Value::String(name)) = reference.get("name")
                            && !name.is_empty()
                        {
                            named.push((format!("{at}.name"), name));
                        }
                        collect(inner, at, named);
                    }
                    ("imagePullSecrets", Value::Array(list)) => {
                        for (index, one) in list.iter().enumerate() {
                            if let Some(Value::String(name)) = one.get("name")
                                && !name.is_empty()
                            {
                                named.push((format!("{at}[{index}].name"), name));
                            }
                        }
                    }
                    // What is in labels, arguments and amounts is no reference, whatever its keys.
                    (
                        "nodeSelector" | "labels" | "annotations" | "limits" | "requests" | "matchLabels"
                        | "volumeAttributes" | "metadata",
                        _,
                    )
                    | (_, Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null) => {}
                    _ => collect(inner, at, named),
                }
            }
        }
        Value::Array(list) => {
            for (index, one) in list.iter().enumerate() {
                collect(one, At::Index(&path, index), named);
            }
        }
        _ => {}
    }
}

/// A field's path, written out only when somebody has to be told: most pods have thousands of fields, and nothing is wrong with any.
#[derive(Clone, Copy)]
enum At<'p> {
    Root(&'p str),
    Key(&'p At<'p>, &'p str),
    Index(&'p At<'p>, usize),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => out.write_str(name),
            Self::Key(parent, key) => write!(out, "{parent}.{key}"),
            Self::Index(parent, index) => write!(out, "{parent}[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_it_is() {
        let of = |cluster: &str, name: &str| names::translated(cluster, "default", name);
        assert!(may_belong(&of("ca", "app"), "ca") && !may_belong(&of("cb", "app"), "ca"));
        assert!(
            !may_belong("registry", "ca")
                && !may_belong("k3k-ca-certificates", "ca")
                && !may_belong("app-cafe", "ca")
        );
        let long = "x".repeat(80);
        assert!(may_belong(&of("ca", &long), "ca"), "a cut name says nothing");
        assert!(may_belong("kube-root-ca.crt", "ca"));
    }
}
