//! What policies say about Services, Ingresses and claims.

use crate::Facts;
use crate::glob;
use crate::pod::{is_kubernetes_own, metadata_annotation, metadata_label};
use crate::policy::Policy;
use crate::question::{Question, label};
use crate::rules;
use crate::violation::{Violation, any_of, shorten};
use k3k_api::labels;
use k3k_api::v1beta1::policy::DataSources;
use serde_json::Value;

/// The class that Ingresses named before they had a field for it.
const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";
/// The class that claims named before they had a field for it.
const LEGACY_STORAGE: &str = "volume.beta.kubernetes.io/storage-class";

/// A Service.
pub(crate) fn service(question: &Question<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(service) = question.object else { return Vec::new() };
    let mut found = metadata(question, policy);
    let Some(rule) = policy.network.services.as_ref().filter(|_| question.changes("/spec")) else {
        return found;
    };
    let title = policy.title();
    let text = |field: &str| {
        service.pointer(&format!("/spec/{field}")).and_then(Value::as_str).filter(|text| !text.is_empty())
    };
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
        // A port that the host chose itself is not to be refused at the next change.
        let before: Vec<i64> =
            question.old.map(node_ports).unwrap_or_default().into_iter().map(|(_, port)| port).collect();
        for (field, port) in node_ports(service) {
            if !before.contains(&port) && !(i64::from(range.min)..=i64::from(range.max)).contains(&port) {
                // The host has chosen before it asks us, and does not say so.
                let allowed = format!(
                    "{} to {}: name one of these, as the host would choose of all ports",
                    range.min, range.max
                );
                found.push(Violation::of(rules::NODE_PORTS, field, &port.to_string(), &title, &allowed));
            }
        }
    }
    found
}

/// Every port that a Service has on the nodes, with its field.
fn node_ports(service: &Value) -> Vec<(String, i64)> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten().enumerate();
    let ports = ports.map(|(index, port)| (format!("spec.ports[{index}].nodePort"), port.get("nodePort")));
    let health = ("spec.healthCheckNodePort".to_owned(), service.pointer("/spec/healthCheckNodePort"));
    ports
        .chain([health])
        .filter_map(|(field, port)| Some((field, port?.as_i64().filter(|port| *port != 0)?)))
        .collect()
}

/// An Ingress.
pub(crate) fn ingress(question: &Question<'_>, policy: &Policy, facts: &Facts<'_>) -> Vec<Violation> {
    let Some(ingress) = question.object else { return Vec::new() };
    let mut found = metadata(question, policy);
    let class_changes =
        question.changes(&format!("/metadata/annotations/{}", LEGACY_CLASS.replace('/', "~1")));
    if !question.changes("/spec") && !class_changes {
        return found;
    }
    for (field, name) in &hosts(ingress) {
        found.extend(host(field, name, policy, facts));
    }
    let title = policy.title();
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
            // The annotation, where it says something else than the field.
            let (field, shown) = match legacy {
                Some(legacy) if !classes.iter().any(|one| one == legacy) => {
                    (format!("metadata.annotations[{LEGACY_CLASS}]"), format!("{legacy:?}"))
                }
                _ if class.is_empty() => ("spec.ingressClassName".to_owned(), "not set".to_owned()),
                _ => ("spec.ingressClassName".to_owned(), format!("{class:?}")),
            };
            found.push(Violation::of(rules::INGRESS_CLASS, field, &shown, &title, &any_of(classes)));
        }
    }
    found
}

/// A host name at `field` of an Ingress, or of something that becomes one. An empty one is every host.
pub(crate) fn host(field: &str, name: &str, policy: &Policy, facts: &Facts<'_>) -> Option<Violation> {
    let rule = policy.network.ingresses.as_ref()?;
    let forbidden =
        rule.hosts.as_ref().filter(|allowed| !allowed.iter().any(|allowed| glob::host(allowed, name)));
    if let Some(allowed) = forbidden {
        let shown =
            if name.is_empty() { "empty, which is every host".to_owned() } else { format!("{name:?}") };
        let title = policy.title();
        return Some(Violation::of(rules::INGRESS_HOSTS, field.to_owned(), &shown, &title, &any_of(allowed)));
    }
    // Whose it is, is nobody else's business.
    (!name.is_empty() && (facts.host_is_taken)(name)).then(|| {
        let message = format!("{field} is {:?}, which another namespace has already", shorten(name));
        Violation::new(rules::INGRESS_HOSTS, field, message)
    })
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
    // It answers for every host that no rule names.
    if ingress.pointer("/spec/defaultBackend").is_some_and(|backend| !backend.is_null()) {
        hosts.push(("spec.defaultBackend".to_owned(), String::new()));
    }
    hosts
}

/// Annotations of Services and Ingresses, where a policy has a word on Ingresses: these give orders to controllers of the host.
pub(crate) fn orders<'a>(
    place: &str,
    keys: impl Iterator<Item = &'a str>,
    policy: &Policy,
) -> Vec<Violation> {
    let Some(rule) = &policy.network.ingresses else { return Vec::new() };
    let others = policy.workloads.allowed_annotations.iter().flatten();
    let allowed: Vec<&str> = rule.annotations.iter().chain(others).map(String::as_str).collect();
    keys.filter(|key| !is_kubernetes_own(key) && *key != LEGACY_CLASS)
        .filter(|key| !allowed.iter().any(|allowed| glob::text(allowed, key)))
        .map(|key| {
            let field = format!("{place}[{key}]");
            Violation::of(rules::INGRESS_ANNOTATIONS, field, "set", &policy.title(), &any_of(&allowed))
        })
        .collect()
}

/// Labels and annotations that come to an object, as far as tenants write them.
pub(crate) fn metadata(question: &Question<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(object) = question.object else { return Vec::new() };
    if question.requester.is_trusted() || label(object, labels::COMPONENT).is_some() {
        return Vec::new();
    }
    let new = |kind: &str| -> Vec<&str> {
        let of = |object: Option<&'_ Value>, key: &str| {
            object.and_then(|object| object.get("metadata")?.get(kind)?.get(key)).cloned()
        };
        let keys = object.get("metadata").and_then(|metadata| metadata.get(kind)?.as_object());
        let keys = keys.into_iter().flatten().map(|(key, _)| key.as_str());
        keys.filter(|key| question.old.is_none() || of(question.old, key) != of(Some(object), key)).collect()
    };
    let annotations = new("annotations");
    let is_network = matches!(question.resource, "services" | "ingresses");
    let mut found = if is_network && policy.network.ingresses.is_some() {
        orders("metadata.annotations", annotations.into_iter(), policy)
    } else {
        let rest = annotations.into_iter().filter(|key| *key != LEGACY_CLASS);
        rest.filter_map(|key| metadata_annotation(key, policy)).collect()
    };
    found.extend(new("labels").into_iter().filter_map(|key| metadata_label(key, policy)));
    found
}

/// A claim.
pub(crate) fn claim(question: &Question<'_>, policy: &Policy) -> Vec<Violation> {
    let Some(claim) = question.object else { return Vec::new() };
    let mut found = metadata(question, policy);
    if question.old.is_none() {
        found.extend(claim_spec(claim, "", policy));
    }
    found
}

/// The class and the sources of a claim, or of the template of one, at `prefix`.
pub(crate) fn claim_spec(claim: &Value, prefix: &str, policy: &Policy) -> Vec<Violation> {
    let Some(rule) = &policy.workloads.storage_classes else { return Vec::new() };
    let title = policy.title();
    let mut found = Vec::new();
    if let Some(allowed) = &rule.allowed {
        // Without a name the host's default class fills it in before we are asked; an empty one means no class. The annotation is as old
        // as classes are, and goes before the field.
        let named = [
            (
                format!("{prefix}spec.storageClassName"),
                claim.pointer("/spec/storageClassName").and_then(Value::as_str),
            ),
            (
                format!("{prefix}metadata.annotations[{LEGACY_STORAGE}]"),
                crate::question::annotation(claim, LEGACY_STORAGE),
            ),
        ];
        let wrong = named.into_iter().filter_map(|(field, class)| Some((field, class?)));
        for (field, class) in wrong.filter(|(_, class)| !allowed.iter().any(|allowed| allowed == class)) {
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
                    format!("{prefix}spec.{source}"),
                    "set",
                    &title,
                    "only empty claims",
                ));
            }
        }
    }
    found
}
