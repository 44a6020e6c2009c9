//! Clusters: the controller has rights that their authors may not have, and lends them to nobody.

use crate::guard::references::spelled_cluster;
use crate::pod::Subject;
use crate::pod::privilege::plain_path;
use crate::pod_security;
use crate::question::{Operation, Question, Requester};
use crate::rules::{CLUSTER, OWNERSHIP, PRIORITY};
use crate::violation::Violation;
use k3k_api::v1beta1::PodSecurityLevel;
use serde_json::{Value, json};

/// The longest name of an object that k3k makes.
const LONGEST: usize = 63;

/// Fields that name other namespaces, other clusters' Secrets, or powers.
pub(super) fn check(question: &Question<'_>) -> Vec<Violation> {
    if question.requester.is_trusted() {
        return Vec::new();
    }
    if let Requester::Kubelet { cluster } = question.requester {
        let message = format!("the virtual kubelet of {cluster:?} writes no Clusters");
        return vec![Violation::new(OWNERSHIP, "", message)];
    }
    let Some(cluster) = question.object.filter(|_| question.operation != Operation::Delete) else {
        return Vec::new();
    };
    let spec = cluster.get("spec").unwrap_or(&Value::Null);
    if !question.changes("/spec") {
        return Vec::new();
    }
    let mut found = Vec::new();
    elsewhere(spec, question.namespace, &mut found);
    let name = cluster.pointer("/metadata/name").and_then(Value::as_str).unwrap_or(question.name);
    secrets(spec, name, &mut found);
    powers(spec, &mut found);
    if let Some(version) = spec.get("version").and_then(Value::as_str)
        && !version.is_empty()
        && !is_version(version)
    {
        let message = format!("{version:?} is not the tag of a version, such as v1.33.1-k3s1");
        refuse(&mut found, "spec.version", &message);
    }
    if let Some(class) =
        spec.get("priorityClass").and_then(Value::as_str).filter(|class| class.starts_with("system-"))
    {
        let message = format!("spec.priorityClass is {class:?}, which is for the host's own pods");
        found.push(Violation::new(PRIORITY, "spec.priorityClass", message));
    }
    found
}

fn refuse(found: &mut Vec<Violation>, field: &str, message: &str) {
    found.push(Violation::new(CLUSTER, field, format!("{field}: {message}")));
}

/// Secrets of other namespaces would be read with the controller's rights.
fn elsewhere(spec: &Value, namespace: &str, found: &mut Vec<Violation>) {
    let mut places =
        vec![("spec.tokenSecretRef.namespace".to_owned(), spec.pointer("/tokenSecretRef/namespace"))];
    for (index, addon) in spec.get("addons").and_then(Value::as_array).into_iter().flatten().enumerate() {
        places.push((format!("spec.addons[{index}].secretNamespace"), addon.get("secretNamespace")));
    }
    for (field, place) in places {
        if let Some(other) =
            place.and_then(Value::as_str).filter(|other| !other.is_empty() && *other != namespace)
        {
            refuse(
                found,
                &field,
                &format!(
                    "a Secret in namespace {other:?} is out of reach: copy it into {namespace:?}, the cluster's namespace"
                ),
            );
        }
    }
}

/// Secrets of k3k's own, of this cluster or another, would end up where tenants read them.
fn secrets(spec: &Value, cluster: &str, found: &mut Vec<Violation>) {
    let mut named: Vec<(String, &Value)> = Vec::new();
    if let Some(secret) = spec.pointer("/tokenSecretRef/name") {
        named.push(("spec.tokenSecretRef.name".to_owned(), secret));
    }
    for (index, addon) in spec.get("addons").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if let Some(secret) = addon.get("secretRef") {
            named.push((format!("spec.addons[{index}].secretRef"), secret));
        }
    }
    for (index, mount) in spec.get("secretMounts").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        if let Some(secret) = mount.get("secretName") {
            named.push((format!("spec.secretMounts[{index}].secretName"), secret));
        }
        if let Some(path) = mount.get("mountPath").and_then(Value::as_str)
            && plain_path(path).is_none()
        {
            refuse(
                found,
                &format!("spec.secretMounts[{index}].mountPath"),
                &format!("{path:?} is not an absolute path without dots"),
            );
        }
        if let Some(path) = mount.get("subPath").and_then(Value::as_str)
            && path.split('/').any(|part| part == "..")
        {
            let field = format!("spec.secretMounts[{index}].subPath");
            refuse(found, &field, &format!("{path:?} goes up"));
        }
    }
    for (source, value) in spec.pointer("/customCAs/sources").and_then(Value::as_object).into_iter().flatten()
    {
        if let Some(secret) = value.get("secretName") {
            named.push((format!("spec.customCAs.sources.{source}.secretName"), secret));
        }
    }
    for list in ["serverEnvs", "agentEnvs"] {
        for (index, env) in spec.get(list).and_then(Value::as_array).into_iter().flatten().enumerate() {
            for kind in ["secretKeyRef", "configMapKeyRef"] {
                if let Some(name) = env.pointer(&format!("/valueFrom/{kind}/name")) {
                    named.push((format!("spec.{list}[{index}].valueFrom.{kind}.name"), name));
                }
            }
        }
    }
    for (field, name) in named {
        let Some(name) = name.as_str() else { continue };
        if is_own_secret(name) {
            refuse(found, &field, &format!("{name:?} is one of k3k's own, which no cluster may use"));
        } else if spelled_cluster(name).is_some_and(|other| other != cluster) {
            refuse(found, &field, &format!("{name:?} is a copy that belongs to another cluster"));
        }
    }
}

/// Secrets that k3k makes for clusters and their pods.
fn is_own_secret(name: &str) -> bool {
    // A name of full length may have been cut before its end.
    name.starts_with("k3k-")
        && (name.len() == LONGEST
            || name.starts_with("k3k-pod-")
            || [
                "-certificates",
                "-kubeconfig",
                "-token",
                "-agent-config",
                "-init-server-config",
                "-server-config",
            ]
            .iter()
            .any(|suffix| name.ends_with(suffix)))
}

/// Whether this can be the tag of a version of K3s: one that does not move, and names nothing else.
fn is_version(text: &str) -> bool {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'+'));
    let number = text.strip_prefix('v').unwrap_or(text);
    plain && text.len() <= 128 && number.starts_with(|c: char| c.is_ascii_digit()) && !text.contains("..")
}

/// Powers over the node, which the controller's pods would have. Only agents need some, and a cluster in mode virtual alone has agents.
fn powers(spec: &Value, found: &mut Vec<Violation>) {
    if spec.get("mode").and_then(Value::as_str) == Some("virtual") {
        return;
    }
    let of = |field: &str| spec.get(field).cloned().unwrap_or_default();
    let pod = json!({"spec": {
        "containers": [{"name": "", "securityContext": of("securityContext")}],
        "securityContext": of("podSecurityContext"),
    }});
    // What has the wrong type is refused by the schema.
    let Ok(pod) = Subject::pod(&pod) else { return };
    let beyond = pod_security::check(&pod, PodSecurityLevel::Baseline);
    let escalates = spec.pointer("/securityContext/allowPrivilegeEscalation") == Some(&Value::Bool(true));
    let escalation = escalates.then(|| "spec.securityContext.allowPrivilegeEscalation".to_owned());
    for field in beyond.into_iter().map(|finding| of_cluster(&finding.field)).chain(escalation) {
        refuse(found, &field, "only servers of clusters in mode virtual may have privileges");
    }
}

/// The field of a Cluster that a pod has its field from.
fn of_cluster(field: &str) -> String {
    match field.strip_prefix("spec.containers[0].") {
        Some(rest) => format!("spec.{rest}"),
        None => field.replacen("spec.securityContext", "spec.podSecurityContext", 1),
    }
}
