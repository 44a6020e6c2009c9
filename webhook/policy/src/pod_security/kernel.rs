//! What a container may do to the kernel it runs on.

use super::Finding;
use super::view::{Fault, Pod, quoted};
use crate::pod::Placed;

/// No privileged containers: Pod Security Standards, Baseline, "Privileged Containers" (v1.0).
pub const PRIVILEGED: &str = "podSecurity.privileged";
/// No container sees all of `/proc`: Pod Security Standards, Baseline, "/proc Mount Type" (v1.0). From v1.35 on a pod
/// with users of its own may, under Baseline.
pub const PROC_MOUNT: &str = "podSecurity.procMount";
/// No kernel parameters but those that stay in the pod: Pod Security Standards, Baseline, "Sysctls" (v1.0, v1.27, v1.29
/// and v1.32 each allowed more).
pub const SYSCTLS: &str = "podSecurity.sysctls";

/// In the order of the standard's text; names are compared as they stand, without `/` for `.`.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];
const SAFE_SYSCTLS_TEXT: &str =
    "only sysctls that Kubernetes calls safe: kernel.shm_rmid_forced and some of net.ipv4";

pub(super) fn pod(pod: &Pod<'_>, found: &mut Vec<Finding>) {
    let sysctls = pod.security().map(|context| &*context.sysctls).unwrap_or_default();
    for (index, sysctl) in sysctls.iter().enumerate() {
        if !SAFE_SYSCTLS.contains(&sysctl.name.as_str()) {
            let fault = Fault::baseline(SYSCTLS, SAFE_SYSCTLS_TEXT);
            let field = format!("spec.securityContext.sysctls[{index}].name");
            found.push(fault.in_pod(field, quoted(&sysctl.name)));
        }
    }
}

pub(super) fn container(pod: &Pod<'_>, container: &Placed<'_>, found: &mut Vec<Finding>) {
    let Some(context) = &container.security_context else { return };
    if context.privileged == Some(true) {
        let fault = Fault::baseline(PRIVILEGED, "only false or no value");
        found.push(fault.in_container(container, "securityContext.privileged", "true".to_owned()));
    }
    if let Some(mount) = context.proc_mount.as_deref().filter(|mount| *mount != "Default") {
        let allowed = "only \"Default\" or no value";
        let fault = match (pod.has_own_users(), pod.restricted) {
            (false, _) => Fault::baseline(PROC_MOUNT, allowed),
            (true, true) => Fault::restricted(PROC_MOUNT, allowed),
            (true, false) => return,
        };
        found.push(fault.in_container(container, "securityContext.procMount", quoted(mount)));
    }
}
