//! What a pod may share with the node it runs on: nothing. The values follow the Baseline level of the Pod
//! Security Standards.

use super::{Subject, Violation};
use crate::snapshot::Snapshot;

/// No namespaces of the node.
pub(super) const NAMESPACES: &str = "host-namespaces";
/// No ports of the node.
pub(super) const PORTS: &str = "host-ports";
/// No files of the node.
pub(super) const PATH: &str = "host-path";

pub(super) fn namespaces(subject: &Subject<'_>, snapshot: &Snapshot) -> Vec<Violation> {
    let spec = &subject.spec;
    [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)]
        .into_iter()
        .filter(|(_, shared)| *shared == Some(true))
        .map(|(field, _)| {
            Violation::new(
                NAMESPACES,
                format!("spec.{field}"),
                "",
                "true",
                "only false or no value",
                snapshot,
            )
        })
        .collect()
}

pub(super) fn ports(subject: &Subject<'_>, snapshot: &Snapshot) -> Vec<Violation> {
    // A pod in the node's network has every port of it; the API server fills hostPort in, and one reason is enough.
    if subject.spec.host_network == Some(true) {
        return Vec::new();
    }
    let violations = |container: super::Container<'_>| {
        container
            .ports
            .iter()
            .enumerate()
            .filter_map(|(index, port)| port.host_port.filter(|port| *port != 0).map(|port| (index, port)))
            .map(|(index, port)| {
                let field = format!("{}.ports[{index}].hostPort", container.path);
                Violation::new(
                    PORTS,
                    field,
                    container.name,
                    &port.to_string(),
                    "no port of the node",
                    snapshot,
                )
            })
            .collect::<Vec<_>>()
    };
    subject.containers().flat_map(violations).collect()
}

pub(super) fn path(subject: &Subject<'_>, snapshot: &Snapshot) -> Vec<Violation> {
    let volumes = subject.spec.volumes.iter().flatten().enumerate();
    volumes
        .filter_map(|(index, volume)| {
            let path = &volume.host_path.as_ref()?.path;
            let field = format!("spec.volumes[{index}].hostPath.path");
            let found = format!("{path:?} (volume {:?})", volume.name);
            Some(Violation::new(PATH, field, "", &found, "no path of the node", snapshot))
        })
        .collect()
}
