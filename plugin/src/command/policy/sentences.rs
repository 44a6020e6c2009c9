//! What a policy says, in sentences.

use super::get::mode;
use jiff::Timestamp;
use k3k_api::v1beta1::policy::{
    AllowedRegistry, ClustersPerNamespace, ControlPlanePrivilege, DataSources, DigestRule, Egress,
    IngressFrom, OnResolveFailure, Placement, RegistryNetwork, UserNamespaces,
};
use k3k_policy::Policy;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;
use std::collections::BTreeMap;

/// An area, and what is said of it.
pub(super) type Area = (&'static str, Vec<String>);

/// What the policy says, area by area. Areas of which it says nothing are left out.
pub(super) fn areas(policy: &Policy) -> Vec<Area> {
    let all = [
        ("Clusters", clusters(policy)),
        ("Pods", pods(policy)),
        ("Images", images(policy)),
        ("Nodes", nodes(policy)),
        ("Resources", resources(policy)),
        ("Workloads", workloads(policy)),
        ("Network", network(policy)),
        ("Sync", sync(policy)),
    ];
    all.into_iter().filter(|(_, lines)| !lines.is_empty()).collect()
}

/// Areas of which two policies say something else, with both.
pub(super) fn differences(before: &Policy, after: &Policy) -> Vec<(&'static str, String)> {
    let (mut old, mut new) = (areas(before), areas(after));
    old.push(("Enforcement", enforcement(before)));
    new.push(("Enforcement", enforcement(after)));
    let of = |areas: &[Area], name: &str| {
        areas.iter().find(|(area, _)| *area == name).map(|(_, lines)| lines.clone()).unwrap_or_default()
    };
    let mut names: Vec<&'static str> = new.iter().map(|(area, _)| *area).collect();
    names
        .extend(old.iter().map(|(area, _)| *area).filter(|area| !new.iter().any(|(other, _)| other == area)));
    let mut found = Vec::new();
    for name in names {
        let (old, new) = (of(&old, name), of(&new, name));
        for line in new.iter().filter(|line| !old.contains(line)) {
            found.push((name, line.clone()));
        }
        for line in old.iter().filter(|line| !new.contains(line)) {
            found.push((name, format!("no longer: {line}")));
        }
    }
    found
}

fn clusters(policy: &Policy) -> Vec<String> {
    let spec = &policy.spec;
    let mut lines = Vec::new();
    // The default policy leaves the mode to each cluster.
    if !policy.name.is_empty() {
        lines.push(format!("mode {} only", spec.allowed_mode()));
    }
    let tenancy = spec.tenancy.clone().unwrap_or_default();
    if tenancy.clusters_per_namespace == Some(ClustersPerNamespace::Single) {
        lines.push("one in each namespace".to_owned());
    }
    if let Some(tenant) = &tenancy.tenant {
        lines.push(format!("of tenant {tenant}"));
    }
    if let Some(class) = &spec.runtime_class_name {
        lines.push(format!("servers and agents have RuntimeClass {class}"));
    }
    if let Some(host) = spec.host_users {
        lines.push(format!(
            "servers and agents have {}",
            if host { "the node's users" } else { "users of their own" }
        ));
    }
    if spec.security_context.is_some() {
        lines.push("servers and agents have the policy's security context".to_owned());
    }
    for (what, affinity) in
        [("servers", &spec.default_server_affinity), ("agents", &spec.default_agent_affinity)]
    {
        if affinity.is_some() {
            lines.push(format!("{what} have the policy's affinity"));
        }
    }
    lines
}

fn pods(policy: &Policy) -> Vec<String> {
    let mut lines = vec![format!("Pod Security Standard {}", capital(policy.level().as_str()))];
    let rules = policy.spec.pod_security.clone().unwrap_or_default();
    for privilege in &rules.privileged {
        let powers: Vec<String> = privilege.allow.iter().map(|power| format!("{power:?}")).collect();
        let clusters = if privilege.clusters.is_empty() {
            String::new()
        } else {
            format!(" of {}", privilege.clusters.join(", "))
        };
        let paths: Vec<&str> = privilege.host_paths.iter().map(|path| path.path.as_str()).collect();
        let paths = if paths.is_empty() { String::new() } else { format!(" ({})", paths.join(", ")) };
        lines.push(format!(
            "may exceed it by {}{paths} in namespaces {} inside clusters{clusters}",
            powers.join(", "),
            privilege.virtual_namespaces.join(", ")
        ));
    }
    match rules.user_namespaces {
        Some(UserNamespaces::Require) => lines.push("users of their own, always".to_owned()),
        Some(UserNamespaces::Forbid) => lines.push("no users of their own".to_owned()),
        Some(UserNamespaces::Allow) | None => {}
    }
    match rules.control_plane {
        Some(ControlPlanePrivilege::Deny) => lines.push("servers and agents are never privileged".to_owned()),
        Some(ControlPlanePrivilege::RequireSandbox) => lines.push(format!(
            "privileged servers and agents only under RuntimeClass {}",
            rules.sandbox_runtime_classes.join(", ")
        )),
        Some(ControlPlanePrivilege::RequireDedicatedNodes) => {
            lines.push("privileged servers and agents only on nodes of their own".to_owned());
        }
        Some(ControlPlanePrivilege::Allow) => lines.push("privileged servers and agents anywhere".to_owned()),
        None => {}
    }
    if !rules.volume_types.is_empty() {
        let types: Vec<String> = rules.volume_types.iter().map(|kind| format!("{kind:?}")).collect();
        lines.push(format!("volumes of type {} only", types.join(", ")));
    }
    if !rules.csi_drivers.is_empty() {
        lines.push(format!("csi volumes of {} only", rules.csi_drivers.join(", ")));
    }
    lines
}

fn images(policy: &Policy) -> Vec<String> {
    let rules = policy.spec.images.clone().unwrap_or_default();
    let mut lines = Vec::new();
    match policy.digest() {
        DigestRule::Off => {}
        DigestRule::Require => lines.push("named by digest, or refused".to_owned()),
        DigestRule::Resolve => {
            let limits = rules.resolve.clone().unwrap_or_default();
            let otherwise = match limits.on_failure.unwrap_or_default() {
                OnResolveFailure::Deny => "refused",
                OnResolveFailure::Admit => "let in with a warning",
            };
            lines.push(format!("tags are resolved to digests; where that fails, {otherwise}"));
        }
    }
    if !rules.allowed_registries.is_empty() {
        let registries: Vec<String> = rules.allowed_registries.iter().map(registry).collect();
        lines.push(format!("from {} only", registries.join(", ")));
    }
    if let Some(policy) = rules.pull_policy {
        lines.push(format!("pulled {}", policy.as_str()));
    }
    if !rules.pins.is_empty() {
        lines.push(format!("{} pinned by the policy itself", super::counted(rules.pins.len(), "image")));
    }
    lines
}

fn registry(registry: &AllowedRegistry) -> String {
    let mut text = match registry.repositories.as_slice() {
        [] => registry.host.clone(),
        [one] => format!("{}/{one}", registry.host),
        many => format!("{}/{{{}}}", registry.host, many.join(",")),
    };
    if registry.network == Some(RegistryNetwork::Private) {
        text.push_str(" (private)");
    }
    text
}

fn nodes(policy: &Policy) -> Vec<String> {
    let rules = policy.spec.nodes.clone().unwrap_or_default();
    let mut lines = Vec::new();
    if !rules.required_selector.is_empty() {
        lines.push(format!("with the labels {} (required)", labels(&rules.required_selector)));
    }
    if !policy.spec.default_node_selector.is_empty() {
        lines.push(format!("with the labels {} (default)", labels(&policy.spec.default_node_selector)));
    }
    match policy.placement() {
        Placement::Shared => {}
        Placement::Dedicated => lines.push("dedicated to this policy's clusters".to_owned()),
        Placement::Exclusive => lines.push("exclusive: no pod of another policy beside them".to_owned()),
    }
    if let Some(tolerations) = &rules.tolerations {
        let required: Vec<&str> = tolerations.required.iter().map(|one| one.key.as_str()).collect();
        let allowed: Vec<&str> = tolerations.allowed.iter().map(|one| one.key.as_str()).collect();
        lines.push(format!("taints tolerated: {}; allowed: {}", words(&required), words(&allowed)));
    }
    if !rules.schedulers.is_empty() {
        lines.push(format!("placed by {}", rules.schedulers.join(" or ")));
    }
    if !rules.topology_keys.is_empty() {
        lines.push(format!("spread by {} only", rules.topology_keys.join(", ")));
    }
    lines
}

fn resources(policy: &Policy) -> Vec<String> {
    let rules = policy.spec.resources.clone().unwrap_or_default();
    let mut lines = Vec::new();
    let mut amount = |what: &str, map: &BTreeMap<String, Quantity>| {
        if !map.is_empty() {
            lines.push(format!("{what} {}", amounts(map)));
        }
    };
    if let Some(hard) = policy.spec.quota.as_ref().and_then(|quota| quota.hard.as_ref()) {
        amount("each namespace at most", hard);
    }
    amount("all clusters of the tenant at most", &rules.per_tenant);
    amount("each cluster at most", &rules.per_cluster);
    if let Some(per_pod) = &rules.per_pod {
        amount("each pod at most", &per_pod.max);
    }
    if let Some(defaults) = rules.containers.as_ref().and_then(|containers| containers.defaults.as_ref()) {
        amount("containers that do not say request", &defaults.requests);
        amount("containers that do not say are limited to", &defaults.limits);
    }
    if let Some(most) = rules.per_pod.as_ref().and_then(|per_pod| per_pod.max_containers) {
        lines.push(format!("at most {most} containers in a pod"));
    }
    let required: Vec<String> = rules
        .containers
        .iter()
        .flat_map(|containers| &containers.require)
        .map(|one| format!("{one:?}"))
        .collect();
    if !required.is_empty() {
        lines.push(format!("containers must say {}", required.join(", ")));
    }
    if let Some(extended) = &rules.extended {
        let names: Vec<&str> = extended.iter().map(String::as_str).collect();
        lines.push(format!("devices: {}", words(&names)));
    }
    if policy.spec.limit.is_some() {
        lines.push("a LimitRange in each namespace".to_owned());
    }
    lines
}

fn workloads(policy: &Policy) -> Vec<String> {
    let rules = policy.spec.workloads.clone().unwrap_or_default();
    let mut lines = Vec::new();
    if let Some(class) = policy.spec.default_priority_class.as_ref().filter(|class| !class.is_empty()) {
        lines.push(format!("PriorityClass {class} unless they say another"));
    }
    let mut only = |what: &str, list: Option<&Vec<String>>| {
        if let Some(list) = list {
            let names: Vec<&str> = list.iter().map(String::as_str).collect();
            lines.push(format!("{what}: {}", words(&names)));
        }
    };
    only("PriorityClasses", rules.priority_classes.as_ref());
    let runtime = rules.runtime_classes.clone().unwrap_or_default();
    only("RuntimeClass, required", runtime.required.map(|class| vec![class]).as_ref());
    only("RuntimeClasses", runtime.allowed.as_ref());
    let storage = rules.storage_classes.clone().unwrap_or_default();
    only("StorageClasses", storage.allowed.as_ref());
    only("annotations", rules.allowed_annotations.as_ref());
    only("labels", rules.allowed_labels.as_ref());
    if storage.data_sources == Some(DataSources::Deny) {
        lines.push("claims begin empty".to_owned());
    }
    if let Some(most) = rules.max_termination_grace_period_seconds {
        lines.push(format!("at most {most}s to end"));
    }
    lines
}

fn network(policy: &Policy) -> Vec<String> {
    let rules = policy.spec.network.clone().unwrap_or_default();
    let mut lines = Vec::new();
    if let Some(services) = &rules.services {
        if let Some(types) = &services.types {
            let names: Vec<&str> = types.iter().map(|kind| kind.as_str()).collect();
            lines.push(format!("Services of type {}", words(&names)));
        }
        if let Some(range) = services.node_port_range {
            lines.push(format!("node ports {} to {}", range.min, range.max));
        }
    }
    if let Some(ingresses) = &rules.ingresses {
        for (what, list) in [("Ingresses for", &ingresses.hosts), ("Ingresses of class", &ingresses.classes)]
        {
            if let Some(list) = list {
                let names: Vec<&str> = list.iter().map(String::as_str).collect();
                lines.push(format!("{what} {}", words(&names)));
            }
        }
    }
    if policy.spec.disable_network_policy() {
        lines.push("not isolated by a NetworkPolicy".to_owned());
    } else if let Some(isolation) = &rules.isolation {
        if isolation.egress.unwrap_or_default() == Egress::Deny {
            lines.push("pods reach nothing outside of their cluster".to_owned());
        } else if !isolation.egress_except.is_empty() {
            lines.push(format!("pods do not reach {}", isolation.egress_except.join(", ")));
        }
        if isolation.ingress.unwrap_or_default() == IngressFrom::SameNamespace {
            lines.push("pods are reached from their own namespace only".to_owned());
        }
    }
    lines
}

fn sync(policy: &Policy) -> Vec<String> {
    let value = serde_json::to_value(&policy.spec.sync).unwrap_or_default();
    let mut lines = Vec::new();
    for (state, enabled) in [("on", true), ("off", false)] {
        let kinds: Vec<&str> = value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, rule)| rule.get("enabled").and_then(Value::as_bool) == Some(enabled))
            .map(|(kind, _)| kind.as_str())
            .collect();
        if !kinds.is_empty() {
            lines.push(format!("{state}: {}", kinds.join(", ")));
        }
    }
    lines
}

/// How rules are enforced: the mode of all, then those that differ.
pub(super) fn enforcement(policy: &Policy) -> Vec<String> {
    let enforcement = policy.spec.enforcement.clone().unwrap_or_default();
    let mut lines =
        vec![format!("{} for every rule that is not listed", mode(enforcement.mode.unwrap_or_default()))];
    for rule in &enforcement.rules {
        lines.push(format!("{} for {}", mode(rule.mode), rule.name));
    }
    lines
}

/// Who is excused, until when and why.
pub(super) fn exemptions(policy: &Policy, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for (until, exemption) in policy.exemptions() {
        let list = |what: &str, names: &[String]| {
            if names.is_empty() { String::new() } else { format!(", {what} {}", names.join(", ")) }
        };
        let when = if until <= now {
            "ended".to_owned()
        } else {
            let left = std::time::Duration::try_from(until.duration_since(now)).unwrap_or_default();
            format!("ends in {}", crate::output::age::short(left))
        };
        lines.push(format!(
            "{}: {}{}{}; {when} ({}): {}",
            exemption.name,
            exemption.rules.join(", "),
            list("clusters", &exemption.clusters),
            list("namespaces inside", &exemption.virtual_namespaces),
            exemption.expires_at,
            exemption.reason,
        ));
    }
    lines
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn labels(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

fn amounts(map: &BTreeMap<String, Quantity>) -> String {
    map.iter().map(|(resource, amount)| format!("{resource} {}", amount.0)).collect::<Vec<_>>().join(", ")
}

fn words(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
