//! Fields that this version does not know. Kubernetes gains some with each release, and not each is harmless: a tenant's pod with one is refused
//! until it has been looked at.

use crate::pod::Role;
use crate::question::{Operation, Question};
use crate::rules::UNKNOWN;
use crate::violation::Violation;
use serde_json::Value;

/// Fields of a pod's spec in Kubernetes 1.36. A test holds the list against the schema.
const SPEC: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "ephemeralContainers",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostname",
    "hostnameOverride",
    "imagePullSecrets",
    "initContainers",
    "nodeName",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resources",
    "restartPolicy",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
];
/// Known, but never for tenants: devices of the host, and groups of pods that are scheduled as one.
const REFUSED: &[&str] = &["resourceClaims", "schedulingGroup", "workloadRef"];

/// Fields of a pod's spec.
pub(super) fn pod(question: &Question<'_>) -> Vec<Violation> {
    let Some(pod) = question.object.filter(|_| question.operation == Operation::Create) else {
        return Vec::new();
    };
    if Role::of(pod) == Role::ControlPlane {
        return Vec::new();
    }
    let fields = pod.get("spec").and_then(Value::as_object).into_iter().flatten();
    fields
        .filter(|(key, value)| !value.is_null() && !SPEC.contains(&key.as_str()))
        .map(|(key, _)| {
            let field = format!("spec.{key}");
            let why = if REFUSED.contains(&key.as_str()) {
                "is not for pods in a cluster's namespace"
            } else {
                "is not known to this version of k3k"
            };
            Violation::new(UNKNOWN, field.clone(), format!("{field} {why}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;

    #[test]
    fn every_field_of_the_schema_is_known_or_refused() {
        let schema = schemars::schema_for!(PodSpec);
        let properties = schema.get("properties").and_then(|all| all.as_object()).unwrap();
        let unclassified: Vec<&String> = properties
            .keys()
            .filter(|key| !SPEC.contains(&key.as_str()) && !REFUSED.contains(&key.as_str()))
            .collect();
        assert!(unclassified.is_empty(), "{unclassified:?}");
        let gone: Vec<&&str> =
            SPEC.iter().chain(REFUSED).filter(|field| !properties.contains_key(**field)).collect();
        assert!(gone.iter().all(|field| **field == "workloadRef"), "{gone:?}");
    }
}
