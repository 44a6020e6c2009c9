//! The parts of root's power that a container may have.

use super::Finding;
use super::view::{Fault, NOT_SET, Pod, quoted};
use crate::pod::Placed;

/// No capabilities beyond the usual: Pod Security Standards, Baseline, "Capabilities" (v1.0). Under Restricted all are
/// dropped and only `NET_BIND_SERVICE` is added, except on Windows: "Capabilities" (v1.22, v1.25).
pub const CAPABILITIES: &str = "podSecurity.capabilities";

/// What container runtimes give without being asked, except `NET_RAW`. Names are compared as they stand.
const USUAL: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const ALL: &str = "ALL";
const NET_BIND_SERVICE: &str = "NET_BIND_SERVICE";

pub(super) fn container(pod: &Pod<'_>, container: &Placed<'_>, found: &mut Vec<Finding>) {
    let capabilities = container.security_context.as_ref().and_then(|context| context.capabilities.as_ref());
    let added = capabilities.map(|capabilities| &*capabilities.add).unwrap_or_default();
    let strict = pod.restricted && !pod.is_windows();
    let allowed = if strict {
        "only \"NET_BIND_SERVICE\""
    } else {
        "only AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, SETFCAP, SETGID, \
         SETPCAP, SETUID and SYS_CHROOT"
    };
    for (index, name) in added.iter().enumerate() {
        let fault = if !USUAL.contains(&name.as_str()) {
            Fault::baseline(CAPABILITIES, allowed)
        } else if strict && name.as_str() != NET_BIND_SERVICE {
            Fault::restricted(CAPABILITIES, allowed)
        } else {
            continue;
        };
        let field = format!("securityContext.capabilities.add[{index}]");
        found.push(fault.in_container(container, &field, quoted(name)));
    }
    let dropped = capabilities.and_then(|capabilities| capabilities.drop.as_deref());
    if strict && !dropped.unwrap_or_default().iter().any(|name| name.as_str() == ALL) {
        let fault = Fault::restricted(CAPABILITIES, "only a list with \"ALL\" in it");
        let text = dropped.map_or_else(|| NOT_SET.to_owned(), |dropped| format!("{dropped:?}"));
        found.push(fault.in_container(container, "securityContext.capabilities.drop", text));
    }
}
