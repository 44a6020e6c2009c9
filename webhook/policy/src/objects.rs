//! What policies say about Services, Ingresses and claims.

use crate::Facts;
use crate::glob;
use crate::policy::Policy;
use crate::question::Question;
use crate::rules;
use crate::violation::{Violation, any_of};
use k3k_api::labels;
use k3k_api::v1beta1::policy::DataSources;
use serde_json::Value;

/// The class that Ingresses named before they had a field for it.
const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";

/// A Service.
pub(crate) fn service(question: &Question<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(service) = question.object else { return Vec::new() };
    let Some(rule) = &policy.network.services else { return Vec::new() };
    let title = policy.title();
    let text = |field: &str| {
        service.pointer(&format!("/spec/{field}")).and_then(Value::as_str).filter(|text| !text.is_empty())
    };
    let mut found = Vec::new();
    let kind = text("type").unwrap_or("ClusterIP");
    if let Some(types) = &rule.types
        && !types.iter().any(|allowed| allowed.as_str() == kind)
    {
        let names: Vec<&str> = types.iter().map(|kind| kind.as_str()).collect();
        found.push(Violation::of(
            rules::SERVICE_TYPE,
            "spec.type".to_owned(),
            &format!("{kind:?}"),
            &title,
            &any_of(&names),
        ));
    }
    if let Some(class) = text("loadBalancerClass")
        .filter(|class| !rule.load_balancer_classes.iter().any(|allowed| allowed == class))
    {
        let field = "spec.loadBalancerClass".to_owned();
        found.push(Violation::of(
            rules::LOAD_BALANCER,
            field,
            &format!("{class:?}"),
            &title,
            &any_of(&rule.load_balancer_classes),
        ));
    }
    if let Some(address) = text("loadBalancerIP") {
        let field = "spec.loadBalancerIP".to_owned();
        found.push(Violation::of(
            rules::LOAD_BALANCER,
            field,
            &format!("{address:?}"),
            &title,
            "no address of one's own choice",
        ));
    }
    if let Some(range) = rule.node_port_range {
        for (index, port) in
            service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten().enumerate()
        {
            let Some(port) = port.get("nodePort").and_then(Value::as_i64).filter(|port| *port != 0) else {
                continue;
            };
            // A port that the host chose itself is not to be refused at the next change.
            let before = question
                .old
                .and_then(|old| old.pointer("/spec/ports"))
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let kept =
                before.into_iter().any(|old| old.get("nodePort").and_then(Value::as_i64) == Some(port));
            if !kept && !(i64::from(range.min)..=i64::from(range.max)).contains(&port) {
                let field = format!("spec.ports[{index}].nodePort");
                let allowed = format!("{} to {}", range.min, range.max);
                found.push(Violation::of(rules::NODE_PORTS, field, &port.to_string(), &title, &allowed));
            }
        }
    }
    found.extend(annotations(service, policy));
    found
}

/// An Ingress.
pub(crate) fn ingress(question: &Question<'_>, policy: &Policy, facts: &Facts<'_>) -> Vec<Violation> {
    let Some(ingress) = question.object else { return Vec::new() };
    let mut found = Vec::new();
    let title = policy.title();
    let hosts = hosts(ingress);
    for (field, host) in &hosts {
        if let Some(allowed) = policy.network.ingresses.as_ref().and_then(|rule| rule.hosts.as_ref())
            && !allowed.iter().any(|allowed| glob::host(allowed, host))
        {
            let shown =
                if host.is_empty() { "empty, which is every host".to_owned() } else { format!("{host:?}") };
            found.push(Violation::of(rules::INGRESS_HOSTS, field.clone(), &shown, &title, &any_of(allowed)));
        } else if policy.network.ingresses.is_some() && !host.is_empty() && (facts.host_is_taken)(host) {
            // Whose it is, is nobody else's business.
            let message = format!("{field} is {host:?}, which another namespace has already");
            found.push(Violation::new(rules::INGRESS_HOSTS, field.clone(), message));
        }
    }
    let Some(rule) = &policy.network.ingresses else { return found };
    if let Some(classes) = &rule.classes {
        let named = ingress.pointer("/spec/ingressClassName").and_then(Value::as_str);
        let legacy = ingress
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(LEGACY_CLASS))
            .and_then(Value::as_str);
        let class = named.or(legacy).unwrap_or_default();
        if !classes.iter().any(|allowed| allowed == class)
            || legacy.is_some_and(|legacy| !classes.iter().any(|one| one == legacy))
        {
            let field = "spec.ingressClassName".to_owned();
            found.push(Violation::of(
                rules::INGRESS_CLASS,
                field,
                &format!("{class:?}"),
                &title,
                &any_of(classes),
            ));
        }
    }
    found.extend(annotations(ingress, policy));
    found
}

/// Host names of an Ingress, those for TLS as well.
pub fn hosts(ingress: &Value) -> Vec<(String, String)> {
    let mut hosts = Vec::new();
    for (index, rule) in
        ingress.pointer("/spec/rules").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let host = rule.get("host").and_then(Value::as_str).unwrap_or_default();
        hosts.push((format!("spec.rules[{index}].host"), glob::host_name(host)));
    }
    for (index, tls) in
        ingress.pointer("/spec/tls").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        for (at, host) in tls.get("hosts").and_then(Value::as_array).into_iter().flatten().enumerate() {
            hosts.push((
                format!("spec.tls[{index}].hosts[{at}]"),
                glob::host_name(host.as_str().unwrap_or_default()),
            ));
        }
    }
    // A backend without rules answers for every host.
    if hosts.is_empty() && ingress.pointer("/spec/defaultBackend").is_some_and(|backend| !backend.is_null()) {
        hosts.push(("spec.defaultBackend".to_owned(), String::new()));
    }
    hosts
}

/// Annotations, where a policy has a word on Ingresses: these give orders to controllers of the host.
fn annotations(object: &Value, policy: &Policy) -> Vec<Violation> {
    let Some(rule) = &policy.network.ingresses else { return Vec::new() };
    let keys = object
        .pointer("/metadata/annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, _)| key);
    keys.filter(|key| {
        !labels::is_reserved(key)
            && *key != LEGACY_CLASS
            && *key != "kubectl.kubernetes.io/last-applied-configuration"
    })
    .filter(|key| !rule.annotations.iter().any(|allowed| glob::text(allowed, key)))
    .map(|key| {
        let field = format!("metadata.annotations[{key}]");
        Violation::of(rules::INGRESS_ANNOTATIONS, field, "set", &policy.title(), &any_of(&rule.annotations))
    })
    .collect()
}

/// A claim.
pub(crate) fn claim(question: &Question<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(claim) = question.object.filter(|_| question.old.is_none()) else { return Vec::new() };
    let Some(rule) = &policy.workloads.storage_classes else { return Vec::new() };
    let title = policy.title();
    let mut found = Vec::new();
    if let Some(allowed) = &rule.allowed {
        let class = claim.pointer("/spec/storageClassName").and_then(Value::as_str);
        // Without a name the host's default class fills it in before we are asked; an empty one means no class.
        if let Some(class) = class.filter(|class| !allowed.iter().any(|allowed| allowed == class)) {
            let field = "spec.storageClassName".to_owned();
            found.push(Violation::of(
                rules::STORAGE_CLASS,
                field,
                &format!("{class:?}"),
                &title,
                &any_of(allowed),
            ));
        }
    }
    if rule.data_sources == Some(DataSources::Deny) {
        for source in ["dataSource", "dataSourceRef"] {
            if claim.pointer(&format!("/spec/{source}")).is_some_and(|value| !value.is_null()) {
                found.push(Violation::of(
                    rules::DATA_SOURCE,
                    format!("spec.{source}"),
                    "set",
                    &title,
                    "only empty claims",
                ));
            }
        }
    }
    found
}
