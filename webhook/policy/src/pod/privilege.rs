//! Which pods may exceed the policy's level, and how far.

use super::Subject;
use crate::pod_security::Finding;
use crate::policy::{Source, covers};
use k3k_api::v1beta1::policy::{Power, Privilege};
use serde_json::Value;

/// Whether one of `privileges` lets what comes from `source` do what `finding` found.
pub(super) fn allows(
    privileges: &[Privilege],
    source: Source<'_>,
    finding: &Finding,
    subject: &Subject<'_>,
) -> bool {
    // Whose pod it is not known, has none.
    if source.cluster.is_empty() {
        return false;
    }
    privileges
        .iter()
        .filter(|privilege| covers(&privilege.clusters, source.cluster))
        .filter(|privilege| privilege.virtual_namespaces.iter().any(|name| name == source.virtual_namespace))
        .any(|privilege| permits(privilege, finding, subject))
}

fn permits(privilege: &Privilege, finding: &Finding, subject: &Subject<'_>) -> bool {
    let has = |power| privilege.allow.contains(&power);
    // A privileged container is root on the node, so nothing is gained by refusing it the rest.
    if has(Power::Privileged) {
        return true;
    }
    match finding.rule {
        "podSecurity.hostNamespaces" => match finding.field.rsplit('.').next() {
            Some("hostNetwork") => has(Power::HostNetwork),
            Some("hostPID") => has(Power::HostPID),
            Some("hostIPC") => has(Power::HostIPC),
            _ => false,
        },
        // In the node's network every port of a pod is the node's.
        "podSecurity.hostPorts" if has(Power::HostNetwork) && subject.spec.host_network == Some(true) => true,
        "podSecurity.hostPorts" => {
            let port = finding.found.parse::<i32>();
            has(Power::HostPort)
                && port.is_ok_and(|port| {
                    privilege.host_ports.iter().any(|range| (range.min..=range.max).contains(&port))
                })
        }
        "podSecurity.hostPath" | "podSecurity.volumeTypes" => {
            has(Power::HostPath) && host_path(privilege, finding, subject)
        }
        "podSecurity.capabilities" => {
            let added = finding.found.trim_matches('"');
            has(Power::Capabilities) && privilege.capabilities.iter().any(|allowed| allowed == added)
        }
        _ => false,
    }
}

/// Whether the volume that `finding` is about mounts an allowed path, read-only where it must be.
fn host_path(privilege: &Privilege, finding: &Finding, subject: &Subject<'_>) -> bool {
    let volume = index(&finding.field).and_then(|index| subject.spec.volumes.get(index));
    let Some((volume, source)) = volume.and_then(|volume| Some((volume, volume.host_path.as_ref()?))) else {
        return false;
    };
    let Some(path) = plain_path(&source.path) else { return false };
    // The kubelet makes these, as root.
    let is_made = source.kind.is_some_and(|kind| kind.ends_with("OrCreate"));
    privilege.host_paths.iter().any(|allowed| {
        plain_path(&allowed.path).is_some_and(|allowed| path.starts_with(&allowed))
            && (allowed.read_only != Some(true) || (!is_made && mounted_read_only(subject.raw, &volume.name)))
    })
}

/// The number in `spec.volumes[3].…`.
fn index(field: &str) -> Option<usize> {
    field.strip_prefix("spec.volumes[")?.split(']').next()?.parse().ok()
}

/// Whether no container of `pod` mounts `volume` otherwise. The mounts are read here alone, so they are no part of the view.
fn mounted_read_only(pod: &Value, volume: &str) -> bool {
    fn list<'a>(of: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
        of.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
    }
    ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"]
        .into_iter()
        .flat_map(|containers| list(pod, containers))
        .flat_map(|container| list(container, "/volumeMounts"))
        .filter(|mount| mount.get("name").and_then(Value::as_str).unwrap_or_default() == volume)
        .all(|mount| mount.get("readOnly") == Some(&Value::Bool(true)))
}

/// The parts of an absolute path; nothing if it is not one, or goes up on its way.
pub(crate) fn plain_path(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty()).collect();
    parts.iter().all(|part| !matches!(*part, "." | "..")).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::plain_path;

    #[test]
    fn a_path_is_compared_by_its_parts() {
        let under = |path: &str, allowed: &str| {
            plain_path(path).is_some_and(|path| path.starts_with(&plain_path(allowed).unwrap()))
        };
        assert!(under("/var/log", "/var/log") && under("/var//log/pods/", "/var/log"));
        assert!(
            !under("/var/logs", "/var/log")
                && !under("/var/log/../lib", "/var/log")
                && !under("var/log", "/var/log")
        );
        assert!(under("/anything", "/"));
    }
}
