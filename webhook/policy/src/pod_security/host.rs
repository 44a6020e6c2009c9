//! What of the node a pod may be part of: nothing.

use super::Finding;
use super::view::{Fault, Pod};
use crate::pod::Placed;
use crate::pod::view::Windows;

/// No network, process or IPC namespace of the node: Pod Security Standards, Baseline, "Host Namespaces" (v1.0).
pub const HOST_NAMESPACES: &str = "podSecurity.hostNamespaces";
/// No process on a Windows node outside a container: Pod Security Standards, Baseline, "HostProcess" (v1.0).
pub const HOST_PROCESS: &str = "podSecurity.hostProcess";

const UNSHARED: &str = "only false or no value";
const OPTION: &str = "securityContext.windowsOptions.hostProcess";

pub(super) fn pod(pod: &Pod<'_>, found: &mut Vec<Finding>) {
    let spec = pod.spec();
    let shared = [("hostIPC", spec.host_ipc), ("hostNetwork", spec.host_network), ("hostPID", spec.host_pid)];
    for (field, _) in shared.into_iter().filter(|(_, shared)| *shared == Some(true)) {
        let fault = Fault::baseline(HOST_NAMESPACES, UNSHARED);
        found.push(fault.in_pod(format!("spec.{field}"), "true".to_owned()));
    }
    if is_host_process(pod.security().and_then(|context| context.windows_options.as_ref())) {
        let fault = Fault::baseline(HOST_PROCESS, UNSHARED);
        found.push(fault.in_pod(format!("spec.{OPTION}"), "true".to_owned()));
    }
}

pub(super) fn container(container: &Placed<'_>, found: &mut Vec<Finding>) {
    if is_host_process(
        container.security_context.as_ref().and_then(|context| context.windows_options.as_ref()),
    ) {
        let fault = Fault::baseline(HOST_PROCESS, UNSHARED);
        found.push(fault.in_container(container, OPTION, "true".to_owned()));
    }
}

fn is_host_process(options: Option<&Windows>) -> bool {
    options.and_then(|options| options.host_process) == Some(true)
}
