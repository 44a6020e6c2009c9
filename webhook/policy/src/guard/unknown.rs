//! Fields that this version does not know. Kubernetes gains some with each release, and not each is harmless: a tenant's pod with one is refused
//! until it has been looked at.

use crate::pod::Role;
use crate::question::Question;
use crate::rules::UNKNOWN;
use crate::violation::{Violation, shorten};
use serde_json::Value;
use std::fmt;

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

/// Fields of a container, of whatever list.
const CONTAINER: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "securityContext",
    "startupProbe",
    "stdin",
    "stdinOnce",
    "targetContainerName",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
];
/// Fields of a container's security context.
const CONTAINER_SECURITY: &[&str] = &[
    "allowPrivilegeEscalation",
    "appArmorProfile",
    "capabilities",
    "privileged",
    "procMount",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxOptions",
    "seccompProfile",
    "windowsOptions",
];
/// Fields of a pod's security context.
const POD_SECURITY: &[&str] = &[
    "appArmorProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxChangePolicy",
    "seLinuxOptions",
    "seccompProfile",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "sysctls",
    "windowsOptions",
];
/// What can be projected into a volume. Identities of the host are refused by a rule of their own.
const PROJECTIONS: &[&str] =
    &["clusterTrustBundle", "configMap", "downwardAPI", "podCertificate", "secret", "serviceAccountToken"];

/// Fields of a pod, as far as what is new in them could be a power.
pub(super) fn pod(question: &Question<'_>) -> Vec<Violation> {
    let Some(pod) = question.object.filter(|_| question.changes("/spec")) else { return Vec::new() };
    if Role::of(pod) == Role::ControlPlane {
        return Vec::new();
    }
    let Some(spec) = pod.get("spec") else { return Vec::new() };
    let mut found = Vec::new();
    unknown(spec, format_args!("spec"), SPEC, &mut found);
    if let Some(security) = spec.get("securityContext") {
        unknown(security, format_args!("spec.securityContext"), POD_SECURITY, &mut found);
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for (index, container) in items(spec.get(list)) {
            unknown(container, format_args!("spec.{list}[{index}]"), CONTAINER, &mut found);
            if let Some(security) = container.get("securityContext") {
                let path = format_args!("spec.{list}[{index}].securityContext");
                unknown(security, path, CONTAINER_SECURITY, &mut found);
            }
        }
    }
    for (index, volume) in items(spec.get("volumes")) {
        for (at, source) in items(volume.pointer("/projected/sources")) {
            let path = format_args!("spec.volumes[{index}].projected.sources[{at}]");
            unknown(source, path, PROJECTIONS, &mut found);
        }
    }
    found
}

fn items(list: Option<&Value>) -> impl Iterator<Item = (usize, &Value)> {
    list.and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// Fields of the object at `path` that are not among `known`, which are in order.
fn unknown(object: &Value, path: fmt::Arguments<'_>, known: &[&str], found: &mut Vec<Violation>) {
    let fields = object.as_object().into_iter().flatten();
    let unknown = fields
        .filter(|(key, value)| known.binary_search(&key.as_str()).is_err() && !value.is_null())
        .map(|(key, _)| key);
    found.extend(unknown.map(|key| {
        let field = format!("{path}.{}", shorten(key));
        let why = if known == SPEC && REFUSED.contains(&key.as_str()) {
            "is not for pods in a cluster's namespace"
        } else {
            "is not known to this version of k3k"
        };
        Violation::new(UNKNOWN, field.clone(), format!("{field} {why}"))
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{
        Container, EphemeralContainer, PodSecurityContext, PodSpec, SecurityContext, VolumeProjection,
    };
    use std::collections::BTreeSet;

    fn fields<T: schemars::JsonSchema>() -> BTreeSet<String> {
        let schema = schemars::schema_for!(T);
        schema.get("properties").and_then(|all| all.as_object()).unwrap().keys().cloned().collect()
    }

    fn listed(lists: &[&[&str]]) -> BTreeSet<String> {
        lists.iter().copied().flatten().map(|field| (*field).to_owned()).collect()
    }

    #[test]
    fn every_field_of_the_schema_is_known_or_refused() {
        let mut spec = fields::<PodSpec>();
        spec.insert("workloadRef".to_owned()); // of the version before
        assert_eq!(spec, listed(&[SPEC, REFUSED]));
        assert_eq!(&fields::<Container>() | &fields::<EphemeralContainer>(), listed(&[CONTAINER]));
        assert_eq!(fields::<SecurityContext>(), listed(&[CONTAINER_SECURITY]));
        assert_eq!(fields::<PodSecurityContext>(), listed(&[POD_SECURITY]));
        assert_eq!(fields::<VolumeProjection>(), listed(&[PROJECTIONS]));
        for list in [SPEC, CONTAINER, CONTAINER_SECURITY, POD_SECURITY, PROJECTIONS] {
            assert!(list.is_sorted(), "they are looked up in order: {list:?}");
        }
    }
}
