//! What policies say about Clusters: what their authors ask for that the controller would make for them.

use crate::Facts;
use crate::control_plane;
use crate::glob;
use crate::objects;
use crate::policy::Policy;
use crate::question::{Operation, Question};
use crate::rules;
use crate::violation::{Violation, any_of};
use k3k_api::v1beta1::Mode;
use k3k_api::v1beta1::policy::ClustersPerNamespace;
use serde_json::Value;

/// The mode, how many there are, classes, and how the API is exposed.
pub(crate) fn check(question: &Question<'_>, policy: &Policy, facts: &Facts<'_>) -> Vec<Violation> {
    let Some(cluster) = question.object else { return Vec::new() };
    if !question.changes("/spec") {
        return Vec::new();
    }
    let mut found = number(question, policy, facts);
    found.extend(mode(cluster, policy));
    found.extend(privileges(cluster, policy));
    found.extend(classes(cluster, policy));
    found.extend(service_types(cluster, policy));
    found.extend(node_ports(cluster, policy));
    found.extend(ingress(cluster, policy, facts));
    found.extend(annotations(cluster, policy));
    found
}

fn text<'a>(cluster: &'a Value, pointer: &str) -> Option<&'a str> {
    cluster.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn number(question: &Question<'_>, policy: &Policy, facts: &Facts<'_>) -> Vec<Violation> {
    let rule = policy.spec.tenancy.as_ref().and_then(|tenancy| tenancy.clusters_per_namespace);
    let is_one_more = question.operation == Operation::Create && facts.clusters_in_namespace > 0;
    if !is_one_more || rule != Some(ClustersPerNamespace::Single) {
        return Vec::new();
    }
    let message = format!(
        "metadata.namespace is {:?}, which holds a cluster already, but {} allows one (tenancy.clustersPerNamespace)",
        question.namespace,
        policy.title()
    );
    vec![Violation::new(rules::CLUSTERS, "metadata.namespace", message)]
}

fn mode(cluster: &Value, policy: &Policy) -> Vec<Violation> {
    let mode = text(cluster, "/spec/mode").unwrap_or("shared");
    let allowed = policy.spec.allowed_mode().as_str();
    if mode == allowed || policy.name.is_empty() {
        return Vec::new();
    }
    let allowed = format!("only {allowed:?}");
    let field = "spec.mode".to_owned();
    vec![Violation::of(rules::CLUSTERS, field, &format!("{mode:?}"), &policy.title(), &allowed)]
}

/// In mode virtual servers and agents are privileged. What the policy will refuse of them is told before they are made.
fn privileges(cluster: &Value, policy: &Policy) -> Option<Violation> {
    // Where that mode is not allowed at all, there is nothing to add.
    let is_allowed = policy.name.is_empty() || policy.spec.allowed_mode() == Mode::Virtual;
    text(cluster, "/spec/mode").filter(|mode| is_allowed && *mode == Mode::Virtual.as_str())?;
    let allowed = control_plane::refusal(policy, text(cluster, "/spec/runtimeClassName"))?;
    let found = "\"virtual\", whose servers and agents are privileged";
    Some(Violation::of(rules::CONTROL_PLANE, "spec.mode".to_owned(), found, &policy.title(), &allowed))
}

fn classes(cluster: &Value, policy: &Policy) -> Vec<Violation> {
    let mut found = Vec::new();
    if let (Some(allowed), Some(class)) =
        (&policy.workloads.priority_classes, text(cluster, "/spec/priorityClass"))
        && policy.spec.default_priority_class.as_deref() != Some(class)
        && !allowed.iter().any(|allowed| allowed == class)
    {
        let field = "spec.priorityClass".to_owned();
        found.push(Violation::of(
            rules::PRIORITY_CLASS,
            field,
            &format!("{class:?}"),
            &policy.title(),
            &any_of(allowed),
        ));
    }
    if let (Some(rule), Some(class)) =
        (&policy.workloads.runtime_classes, text(cluster, "/spec/runtimeClassName"))
    {
        let allowed: Vec<&str> = (rule.required.iter())
            .chain(rule.allowed.iter().flatten())
            .chain(&policy.pod_security.sandbox_runtime_classes)
            .chain(&policy.spec.runtime_class_name)
            .map(String::as_str)
            .collect();
        let is_bounded = rule.required.is_some() || rule.allowed.is_some();
        if is_bounded && !allowed.contains(&class) {
            let field = "spec.runtimeClassName".to_owned();
            found.push(Violation::of(
                rules::RUNTIME_CLASS,
                field,
                &format!("{class:?}"),
                &policy.title(),
                &any_of(&allowed),
            ));
        }
    }
    found
}

fn service_types(cluster: &Value, policy: &Policy) -> Vec<Violation> {
    let types = policy.network.services.as_ref().and_then(|services| services.types.as_ref());
    let Some(types) = types else { return Vec::new() };
    let names: Vec<&str> = types.iter().map(|kind| kind.as_str()).collect();
    [("nodePort", "NodePort"), ("loadBalancer", "LoadBalancer")]
        .into_iter()
        .filter(|(field, kind)| {
            let asked =
                cluster.pointer(&format!("/spec/expose/{field}")).is_some_and(|value| !value.is_null());
            asked && !names.contains(kind)
        })
        .map(|(field, _)| {
            let field = format!("spec.expose.{field}");
            Violation::of(rules::SERVICE_TYPE, field, "set", &policy.title(), &any_of(&names))
        })
        .collect()
}

fn node_ports(cluster: &Value, policy: &Policy) -> Vec<Violation> {
    let Some(range) = policy.network.services.as_ref().and_then(|services| services.node_port_range) else {
        return Vec::new();
    };
    ["serverPort", "etcdPort"]
        .into_iter()
        .filter_map(|field| {
            let port = cluster.pointer(&format!("/spec/expose/nodePort/{field}"))?.as_i64()?;
            // What is no node port at all is not exposed.
            let wrong = port > 0 && !(i64::from(range.min)..=i64::from(range.max)).contains(&port);
            let field = format!("spec.expose.nodePort.{field}");
            let allowed = format!("{} to {}", range.min, range.max);
            wrong.then(|| {
                Violation::of(rules::NODE_PORTS, field, &port.to_string(), &policy.title(), &allowed)
            })
        })
        .collect()
}

/// The Ingress in front of the API has the DNS names of the certificate.
fn ingress(cluster: &Value, policy: &Policy, facts: &Facts<'_>) -> Vec<Violation> {
    let Some(ingress) = cluster.pointer("/spec/expose/ingress").filter(|ingress| !ingress.is_null()) else {
        return Vec::new();
    };
    let Some(rule) = &policy.network.ingresses else { return Vec::new() };
    let mut found = Vec::new();
    let names = cluster.pointer("/spec/tlsSANs").and_then(Value::as_array);
    for (index, name) in names.into_iter().flatten().enumerate() {
        let name = glob::host_name(name.as_str().unwrap_or_default());
        if name.parse::<std::net::IpAddr>().is_err() {
            found.extend(objects::host(&format!("spec.tlsSANs[{index}]"), &name, policy, facts));
        }
    }
    if let Some(classes) = &rule.classes {
        let class = ingress.get("ingressClassName").and_then(Value::as_str).unwrap_or_default();
        if !classes.iter().any(|allowed| allowed == class) {
            let field = "spec.expose.ingress.ingressClassName".to_owned();
            let shown = if class.is_empty() { "not set".to_owned() } else { format!("{class:?}") };
            found.push(Violation::of(rules::INGRESS_CLASS, field, &shown, &policy.title(), &any_of(classes)));
        }
    }
    found
}

fn annotations(cluster: &Value, policy: &Policy) -> Vec<Violation> {
    ["expose.annotations", "expose.ingress.annotations"]
        .into_iter()
        .flat_map(|place| {
            let keys = cluster.pointer(&format!("/spec/{}", place.replace('.', "/")));
            let keys = keys.and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.as_str());
            objects::orders(&format!("spec.{place}"), keys, policy)
        })
        .collect()
}
