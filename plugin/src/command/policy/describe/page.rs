//! The page, from what was observed. Pure.

use super::Observed;
use crate::command::policy::{counted, sentences};
use crate::output::{age, table};
use k3k_api::v1beta1::policy::EnforcementMode;
use k3k_policy::Policy;
use k8s_openapi::api::core::v1::Event;

/// How many of the latest events are shown.
const EVENTS: usize = 8;
/// How many examples of violations are shown.
const EXAMPLES: usize = 5;
/// Exemptions that end this soon are pointed out.
const SOON: i64 = 14 * 24 * 3600;

/// The page.
pub(super) fn render(observed: &Observed, now: jiff::Timestamp) -> String {
    let metadata = &observed.object.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let status = observed.object.status.clone().unwrap_or_default();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut many = |title: &str, lines: Vec<String>| {
        for (index, line) in lines.into_iter().enumerate() {
            rows.push(vec![if index == 0 { title.to_owned() } else { String::new() }, line]);
        }
    };
    if let Some(summary) = &status.summary {
        many("Status", vec![summary.clone()]);
    }
    many("Break-glass", observed.broken.iter().cloned().collect());
    match &observed.compiled {
        Ok(policy) => {
            for (area, lines) in sentences::areas(policy) {
                many(area, lines);
            }
            many("Enforcement", sentences::enforcement(policy));
            many("Exemptions", sentences::exemptions(policy, now));
        }
        Err(error) => many("Unreadable", vec![error.to_string()]),
    }
    let namespaces = match &observed.namespaces {
        None => vec!["not known: you may not list namespaces".to_owned()],
        Some(bound) if bound.is_empty() => vec!["none".to_owned()],
        Some(bound) => bound
            .iter()
            .map(|one| format!("{}  {}", one.name, counted(one.clusters as usize, "cluster")))
            .collect(),
    };
    many("Namespaces", namespaces);
    let conditions = status.conditions.iter().map(|condition| {
        format!("{} {}: {} {}", condition.type_, condition.status, condition.reason, condition.message)
            .trim_end()
            .to_owned()
    });
    many("Conditions", conditions.collect());
    if let Some(found) = &status.violations {
        let when = found
            .counted_at
            .as_deref()
            .and_then(|time| time.parse::<jiff::Timestamp>().ok())
            .map_or_else(String::new, |time| format!(", counted {} ago", ago(time, now)));
        let mut lines = vec![format!(
            "{} would be denied, {} warned about, {} audited{when}",
            found.enforced, found.warned, found.audited
        )];
        lines.extend(found.examples.iter().take(EXAMPLES).cloned());
        many("Violations", lines);
    }
    many("Events", events(&observed.events, now));
    many("Hints", hints(observed, name, now));
    let generation =
        metadata.generation.map_or_else(String::new, |generation| match status.observed_generation {
            Some(seen) if seen < generation => {
                format!(" · generation {generation}, of which {seen} is in force")
            }
            _ => format!(" · generation {generation}"),
        });
    let age = age::since(metadata.creation_timestamp.as_ref(), now);
    format!("{name} · created {age} ago{generation}\n{}", table::render(None, &rows))
}

fn ago(time: jiff::Timestamp, now: jiff::Timestamp) -> String {
    age::short(std::time::Duration::try_from(now.duration_since(time)).unwrap_or_default())
}

fn events(events: &[Event], now: jiff::Timestamp) -> Vec<String> {
    let time = |event: &Event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        last.or(event.event_time.as_ref().map(|time| time.0)).or(event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0))
    };
    let mut all: Vec<&Event> = events.iter().collect();
    all.sort_by_key(|event| time(event));
    let first = all.len().saturating_sub(EVENTS);
    all[first..]
        .iter()
        .map(|event| {
            format!(
                "{} ago  {} {}: {}",
                time(event).map_or_else(|| "?".to_owned(), |time| ago(time, now)),
                event.type_.as_deref().unwrap_or("Normal"),
                event.reason.as_deref().unwrap_or_default(),
                event.message.as_deref().unwrap_or_default().trim(),
            )
        })
        .collect()
}

/// What to do next.
fn hints(observed: &Observed, name: &str, now: jiff::Timestamp) -> Vec<String> {
    let Ok(policy) = &observed.compiled else {
        return vec![format!(
            "nothing new can be made in its namespaces until it is corrected: kubectl edit {}/{name}",
            crate::policies::REFERENCE
        )];
    };
    let mut hints = Vec::new();
    if observed.namespaces.as_ref().is_some_and(Vec::is_empty) {
        hints.push(format!("it governs nothing yet: kubectl k3k policy bind {name} NAMESPACE"));
    }
    let status = observed.object.status.clone().unwrap_or_default();
    if status.violations.is_some_and(|found| found.enforced + found.warned > 0) {
        hints.push(format!("what breaks it: kubectl k3k policy audit {name}"));
    }
    let default =
        policy.spec.enforcement.as_ref().and_then(|enforcement| enforcement.mode).unwrap_or_default();
    if default != EnforcementMode::Enforce {
        hints.push(format!(
            "rules that are not listed refuse nothing; when \"kubectl k3k policy audit {name}\" finds nothing more, set spec.enforcement.mode Enforce"
        ));
    }
    hints.extend(endings(policy, now));
    hints
}

fn endings(policy: &Policy, now: jiff::Timestamp) -> Vec<String> {
    let mut hints = Vec::new();
    for (until, exemption) in policy.exemptions() {
        let left = until.as_second() - now.as_second();
        if left <= 0 {
            hints.push(format!("exemption {} has ended and can be removed", exemption.name));
        } else if left < SOON {
            hints.push(format!("exemption {} ends soon: {}", exemption.name, exemption.expires_at));
        }
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;
    use k3k_api::v1beta1::policy::BoundNamespace;
    use serde_json::{Value, json};

    fn observed(spec: &Value, status: &Value) -> Observed {
        let object = json!({"apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy",
            "metadata": {"name": "gold", "generation": 4, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec, "status": status});
        Observed {
            compiled: k3k_policy::read_policy(&object),
            object: serde_json::from_value(object).expect("policy"),
            broken: None,
            namespaces: Some(vec![BoundNamespace { name: "team-a".into(), clusters: 2 }]),
            events: vec![
                serde_json::from_value(
                    json!({"metadata": {}, "involvedObject": {}, "type": "Warning", "reason": "Degraded",
                "message": "the webhook does not answer\n", "lastTimestamp": "2026-01-01T00:01:00Z"}),
                )
                .expect("event"),
            ],
        }
    }

    fn now() -> jiff::Timestamp {
        "2026-01-04T00:00:00Z".parse().expect("time")
    }

    #[test]
    fn everything_that_a_policy_can_say() {
        let spec = json!({
            "allowedMode": "virtual", "podSecurityAdmissionLevel": "restricted", "defaultPriorityClass": "tenants",
            "defaultNodeSelector": {"pool": "tenants"}, "runtimeClassName": "kata", "hostUsers": false,
            "quota": {"hard": {"requests.cpu": "8", "pods": "100"}}, "limit": {"limits": []},
            "sync": {"ingresses": {"enabled": true}, "services": {"enabled": false}},
            "tenancy": {"tenant": "team-a", "clustersPerNamespace": "Single"},
            "enforcement": {"mode": "Warn", "rules": [{"name": "images", "mode": "Enforce"}], "exemptions": [
                {"name": "agent", "rules": ["podSecurity.hostPath"], "clusters": ["ca"], "virtualNamespaces": ["monitoring"],
                    "reason": "node log agent", "expiresAt": "2026-01-10T00:00:00Z"},
                {"name": "old", "rules": ["images"], "reason": "migration", "expiresAt": "2026-01-02T00:00:00Z"}]},
            "podSecurity": {"privileged": [{"virtualNamespaces": ["kube-system"], "allow": ["HostPath"], "hostPaths": [{"path": "/var/log"}]}],
                "userNamespaces": "Require", "controlPlane": "RequireDedicatedNodes", "volumeTypes": ["ConfigMap", "Csi"], "csiDrivers": ["ebs.csi.aws.com"]},
            "images": {"digest": "Resolve", "pullPolicy": "Always", "allowedRegistries": [{"host": "r.example", "repositories": ["a/**", "b/*"], "network": "Private"}],
                "pins": [{"image": "busybox:1", "digest": format!("sha256:{}", "0".repeat(64))}]},
            "nodes": {"placement": "Exclusive", "requiredSelector": {"node-restriction.kubernetes.io/t": "a"},
                "tolerations": {"required": [{"key": "t"}]}, "schedulers": ["default-scheduler"], "topologyKeys": ["kubernetes.io/hostname"]},
            "resources": {"perCluster": {"pods": "50"}, "perPod": {"max": {"cpu": "4"}, "maxContainers": 5},
                "containers": {"defaults": {"requests": {"cpu": "50m"}, "limits": {"memory": "1Gi"}}, "require": ["MemoryLimit"]}, "extended": []},
            "workloads": {"priorityClasses": ["low"], "runtimeClasses": {"required": "gvisor"}, "storageClasses": {"allowed": ["fast"], "dataSources": "Deny"},
                "allowedAnnotations": ["prometheus.io/*"], "maxTerminationGracePeriodSeconds": 60},
            "network": {"services": {"types": ["ClusterIP"], "nodePortRange": {"min": 30000, "max": 30010}},
                "ingresses": {"hosts": ["*.a.example"], "classes": ["nginx"]}, "isolation": {"egressExcept": ["10.0.0.0/8"], "ingress": "SameNamespace"}},
        });
        let status = json!({"observedGeneration": 3, "conditions": [{"type": "Accepted", "status": "True", "reason": "Compiled", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "violations": {"enforced": 1, "warned": 2, "audited": 0, "countedAt": "2026-01-03T23:59:00Z", "examples": ["team-a/web: images.digest"]}});
        let mut observed = observed(&spec, &status);
        observed.broken = Some("the glass is broken by ann".to_owned());
        insta::assert_snapshot!(render(&observed, now()));
    }

    #[test]
    fn nothing_said_is_not_nothing() {
        let mut observed = observed(&json!({}), &json!({}));
        observed.namespaces = Some(Vec::new());
        observed.events = Vec::new();
        insta::assert_snapshot!(render(&observed, now()));
    }

    #[test]
    fn a_policy_that_cannot_be_understood_says_why() {
        let mut observed = observed(
            &json!({"enforcement": {"rules": [{"name": "images.digets", "mode": "Warn"}]}}),
            &json!({}),
        );
        observed.namespaces = None;
        insta::assert_snapshot!(render(&observed, now()));
    }
}
