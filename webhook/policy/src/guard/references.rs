//! What pods, claims and Ingresses refer to by name: only what belongs to their cluster.
//!
//! The name of a copy tells whose it is: its last part spells out in hexadecimal what it is made of. A name that was too long for that is cut
//! and says nothing; the virtual kubelet compares annotations before it uses one.

use crate::pod::Role;
use crate::question::{Operation, Question, Requester, annotation};
use crate::rules::{DATA_SOURCE, REFERENCES};
use crate::violation::Violation;
use k3k_api::{labels, names};
use serde_json::Value;

/// Everything that a pod names.
pub(super) fn pod(question: &Question<'_>) -> Vec<Violation> {
    let Some(pod) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    let role = Role::of(pod);
    if role == Role::ControlPlane {
        return Vec::new();
    }
    let own_secret = annotation(pod, labels::VIRTUAL_UID).map(|uid| names::prefixed(&["pod", uid]));
    let mut named = Vec::new();
    if let Some(spec) = pod.get("spec") {
        collect(spec, "spec", &mut named);
    }
    named
        .into_iter()
        .filter(|(_, name)| match role {
            Role::Tenant(source) => own_secret.as_deref() != Some(name) && !may_belong(name, source.cluster),
            _ => is_control_plane(name),
        })
        .map(|(field, name)| refused(field, name))
        .collect()
}

/// What a claim is made from.
pub(super) fn claim(question: &Question<'_>) -> Vec<Violation> {
    let Some(claim) = question.object.filter(|_| question.operation == Operation::Create) else {
        return Vec::new();
    };
    if question.requester.is_trusted() {
        return Vec::new();
    }
    let cluster = crate::question::label(claim, labels::CLUSTER_NAME);
    let mut found = Vec::new();
    for source in ["dataSource", "dataSourceRef"] {
        let Some(reference) =
            claim.pointer(&format!("/spec/{source}")).filter(|reference| !reference.is_null())
        else {
            continue;
        };
        let name = reference.get("name").and_then(Value::as_str).unwrap_or_default();
        let field = format!("spec.{source}.name");
        if reference.get("namespace").is_some_and(|namespace| !namespace.is_null()) {
            let field = format!("spec.{source}.namespace");
            found.push(Violation::new(
                REFERENCES,
                field.clone(),
                format!("{field} is set, but a claim is made from its own cluster's data"),
            ));
        } else if cluster.is_some_and(|cluster| !may_belong(name, cluster)) || is_control_plane(name) {
            found.push(refused(field, name));
        }
    }
    if claim.pointer("/spec/volumeName").is_some_and(|name| !name.is_null() && name != "") {
        let message = "spec.volumeName is set, but which volume a claim gets is for the host to say";
        found.push(Violation::new(DATA_SOURCE, "spec.volumeName", message));
    }
    found
}

/// Backends and TLS Secrets.
pub(super) fn ingress(question: &Question<'_>) -> Vec<Violation> {
    let Some(ingress) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    if question.requester.is_trusted() {
        return Vec::new();
    }
    let cluster = match question.requester {
        Requester::Kubelet { cluster } => Some(cluster.as_str()),
        _ => None,
    };
    let mut named = Vec::new();
    if let Some(spec) = ingress.get("spec") {
        collect(spec, "spec", &mut named);
    }
    named
        .into_iter()
        .filter(|(field, name)| match cluster {
            // A TLS Secret may be the host's own, where the cluster's administrator says so.
            Some(cluster) if field.ends_with(".service.name") => !may_belong(name, cluster),
            _ => is_control_plane(name),
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
fn collect<'a>(value: &'a Value, path: &str, named: &mut Vec<(String, &'a str)>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let at = format!("{path}.{key}");
                match (key.as_str(), inner) {
                    ("secretName" | "claimName", Value::String(name)) if !name.is_empty() => {
                        named.push((at, name))
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
                        collect(inner, &at, named);
                    }
                    ("imagePullSecrets", Value::Array(list)) => {
                        for (index, one) in list.iter().enumerate() {
                            if let Some(Value::String(name)) = one.get("name") {
                                named.push((format!("{at}[{index}].name"), name));
                            }
                        }
                    }
                    // What is in labels, arguments and amounts is no reference, whatever its keys.
                    (
                        "nodeSelector" | "labels" | "annotations" | "limits" | "requests" | "matchLabels"
                        | "volumeAttributes",
                        _,
                    ) => {}
                    _ => collect(inner, &at, named),
                }
            }
        }
        Value::Array(list) => {
            for (index, one) in list.iter().enumerate() {
                collect(one, &format!("{path}[{index}]"), named);
            }
        }
        _ => {}
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
