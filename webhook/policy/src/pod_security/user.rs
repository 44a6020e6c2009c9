//! Who a container may run as, and what it may become.

use super::Finding;
use super::view::{Fault, NOT_SET, Pod};
use crate::pod::Placed;

/// No process gains more rights than its parent: Pod Security Standards, Restricted, "Privilege Escalation" (v1.8; not
/// on Windows from v1.25 on).
pub const ALLOW_PRIVILEGE_ESCALATION: &str = "podSecurity.allowPrivilegeEscalation";
/// Nobody starts as root: Pod Security Standards, Restricted, "Running as Non-root" (v1.0; not in a pod with users of its
/// own from v1.35 on).
pub const RUN_AS_NON_ROOT: &str = "podSecurity.runAsNonRoot";
/// Nobody is user 0: Pod Security Standards, Restricted, "Running as Non-root user" (v1.23; not in a pod with users of its
/// own from v1.35 on).
pub const RUN_AS_USER: &str = "podSecurity.runAsUser";

const ANYBODY_ELSE: &str = "only users other than 0, or no value";

pub(super) fn pod(pod: &Pod<'_>, found: &mut Vec<Finding>) {
    let Some(context) = pod.security() else { return };
    if !pod.restricted || pod.has_own_users() {
        return;
    }
    if context.run_as_non_root == Some(false) {
        let fault = Fault::restricted(RUN_AS_NON_ROOT, "only true");
        found.push(fault.in_pod("spec.securityContext.runAsNonRoot".to_owned(), "false".to_owned()));
    }
    if context.run_as_user == Some(0) {
        let fault = Fault::restricted(RUN_AS_USER, ANYBODY_ELSE);
        found.push(fault.in_pod("spec.securityContext.runAsUser".to_owned(), "0".to_owned()));
    }
}

pub(super) fn container(pod: &Pod<'_>, container: &Placed<'_>, found: &mut Vec<Finding>) {
    if !pod.restricted {
        return;
    }
    if !pod.is_windows() {
        escalation(container, found);
    }
    if !pod.has_own_users() {
        root(pod, container, found);
    }
}

fn escalation(container: &Placed<'_>, found: &mut Vec<Finding>) {
    let value = container.security_context.as_ref().and_then(|context| context.allow_privilege_escalation);
    if value != Some(false) {
        let fault = Fault::restricted(ALLOW_PRIVILEGE_ESCALATION, "only false");
        found.push(fault.in_container(container, "securityContext.allowPrivilegeEscalation", text(value)));
    }
}

fn root(pod: &Pod<'_>, container: &Placed<'_>, found: &mut Vec<Finding>) {
    let own = container.security_context.as_ref().and_then(|context| context.run_as_non_root);
    let inherited = pod.security().and_then(|context| context.run_as_non_root);
    // What the pod says is its own fault, and no container's.
    if own == Some(false) || own.or(inherited).is_none() {
        let allowed = if own.is_some() { "only true" } else { "only true, here or in spec.securityContext" };
        let fault = Fault::restricted(RUN_AS_NON_ROOT, allowed);
        found.push(fault.in_container(container, "securityContext.runAsNonRoot", text(own)));
    }
    if container.security_context.as_ref().and_then(|context| context.run_as_user) == Some(0) {
        let fault = Fault::restricted(RUN_AS_USER, ANYBODY_ELSE);
        found.push(fault.in_container(container, "securityContext.runAsUser", "0".to_owned()));
    }
}

fn text(value: Option<bool>) -> String {
    value.map_or_else(|| NOT_SET.to_owned(), |value| value.to_string())
}
