//! Clusters: the controller has rights that their authors may not have, and lends them to nobody.

use crate::Facts;
use crate::governing::Governing;
use crate::pod::privilege::plain_path;
use crate::question::{Operation, Question};
use crate::rules::{CLUSTER, CLUSTERS};
use crate::violation::Violation;
use k3k_api::v1beta1::policy::ClustersPerNamespace;
use serde_json::Value;

/// Fields that name other namespaces, other clusters' Secrets, or powers.
pub(super) fn check(question: &Question<'_>, facts: &Facts<'_>) -> Vec<Violation> {
    if question.operation == Operation::Delete || question.requester.is_trusted() {
        return Vec::new();
    }
    let Some(cluster) = question.object else { return Vec::new() };
    let spec = cluster.get("spec").unwrap_or(&Value::Null);
    if question.old.is_some_and(|old| old.get("spec") == cluster.get("spec")) {
        return Vec::new();
    }
    let mut found = Vec::new();
    elsewhere(spec, question.namespace, &mut found);
    secrets(spec, &mut found);
    powers(spec, &mut found);
    if let Some(version) = spec.get("version").and_then(Value::as_str).filter(|version| !version.is_empty()) {
        let tag = version
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'+'));
        if !tag || version.len() > 128 || version.starts_with(['.', '-']) || version.contains("..") {
            refuse(
                &mut found,
                "spec.version".to_owned(),
                format!("{version:?} is not the tag of a version, such as v1.33.1-k3s1"),
            );
        }
    }
    if question.operation == Operation::Create
        && let Governing::Named(policy) = facts.governing
        && policy.spec.tenancy.as_ref().and_then(|tenancy| tenancy.clusters_per_namespace)
            == Some(ClustersPerNamespace::Single)
        && facts.clusters_in_namespace > 0
    {
        let message = format!(
            "the namespace holds a cluster already, and {} allows one (tenancy.clustersPerNamespace)",
            policy.title()
        );
        found.push(Violation::new(CLUSTERS, "metadata.namespace", message));
    }
    found
}

/// What a policy says about Clusters.
pub(crate) fn by_policy(question: &Question<'_>, policy: &crate::Policy) -> Vec<Violation> {
    let Some(cluster) = question.object else { return Vec::new() };
    let mode = cluster.pointer("/spec/mode").and_then(Value::as_str).unwrap_or("shared");
    let mut found = Vec::new();
    let title = policy.title();
    if mode != policy.spec.allowed_mode().as_str() && !policy.name.is_empty() {
        let allowed = format!("only {:?}", policy.spec.allowed_mode().as_str());
        found.push(Violation::of(CLUSTERS, "spec.mode".to_owned(), &format!("{mode:?}"), &title, &allowed));
    }
    if let Some(classes) = &policy.workloads.priority_classes
        && let Some(class) =
            cluster.pointer("/spec/priorityClass").and_then(Value::as_str).filter(|class| !class.is_empty())
        && policy.spec.default_priority_class.as_deref() != Some(class)
        && !classes.iter().any(|allowed| allowed == class)
    {
        let field = "spec.priorityClass".to_owned();
        found.push(Violation::of(
            crate::rules::PRIORITY_CLASS,
            field,
            &format!("{class:?}"),
            &title,
            &crate::violation::any_of(classes),
        ));
    }
    if let Some(types) = policy.network.services.as_ref().and_then(|services| services.types.as_ref()) {
        for (field, kind) in [("nodePort", "NodePort"), ("loadBalancer", "LoadBalancer")] {
            let asked =
                cluster.pointer(&format!("/spec/expose/{field}")).is_some_and(|value| !value.is_null());
            if asked && !types.iter().any(|allowed| allowed.as_str() == kind) {
                let names: Vec<&str> = types.iter().map(|kind| kind.as_str()).collect();
                let field = format!("spec.expose.{field}");
                found.push(Violation::of(
                    crate::rules::SERVICE_TYPE,
                    field,
                    "set",
                    &title,
                    &crate::violation::any_of(&names),
                ));
            }
        }
    }
    found
}

fn refuse(found: &mut Vec<Violation>, field: String, message: String) {
    found.push(Violation::new(CLUSTER, field.clone(), format!("{field}: {message}")));
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
                field,
                format!(
                    "a Secret in namespace {other:?} is out of reach: copy it into {namespace:?}, the cluster's namespace"
                ),
            );
        }
    }
}

/// Secrets of k3k's own, of this cluster or another, would end up where tenants read them.
fn secrets(spec: &Value, found: &mut Vec<Violation>) {
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
                format!("spec.secretMounts[{index}].mountPath"),
                format!("{path:?} is not an absolute path without dots"),
            );
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
        if let Some(name) = name.as_str().filter(|name| is_own_secret(name)) {
            refuse(found, field, format!("{name:?} is one of k3k's own, which no cluster may use"));
        }
    }
}

/// Secrets that k3k makes for clusters and their pods.
fn is_own_secret(name: &str) -> bool {
    name.starts_with("k3k-")
        && (name.starts_with("k3k-pod-")
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

/// Powers over the node, which the controller's pods would have.
fn powers(spec: &Value, found: &mut Vec<Violation>) {
    let shared = spec.get("mode").and_then(Value::as_str).unwrap_or("shared") == "shared";
    if !shared {
        return;
    }
    for field in ["privileged", "allowPrivilegeEscalation"] {
        if spec.pointer(&format!("/securityContext/{field}")) == Some(&Value::Bool(true)) {
            refuse(
                found,
                format!("spec.securityContext.{field}"),
                "the server of a shared cluster needs no privileges and gets none".to_owned(),
            );
        }
    }
    if spec
        .pointer("/securityContext/capabilities/add")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty())
    {
        let field = "spec.securityContext.capabilities.add".to_owned();
        refuse(found, field, "the server of a shared cluster needs no privileges and gets none".to_owned());
    }
}
