//! The profiles that confine a container: SELinux, AppArmor, seccomp.

use super::Finding;
use super::view::{Fault, NOT_SET, Pod, quoted};
use crate::pod::Placed;
use crate::pod::view::{Profile, SeLinux};
use std::cell::LazyCell;
use std::collections::BTreeSet;

/// No SELinux user or role, and only types for containers: Pod Security Standards, Baseline, "SELinux" (v1.0; v1.31
/// allowed one more).
pub const SE_LINUX: &str = "podSecurity.seLinux";
/// No way out of AppArmor, by field or by annotation: Pod Security Standards, Baseline, "AppArmor" (v1.0).
pub const APP_ARMOR: &str = "podSecurity.appArmor";
/// No way out of seccomp: Pod Security Standards, Baseline, "Seccomp" (v1.19). Under Restricted a profile is chosen, too,
/// except on Windows: "Seccomp" (v1.19, v1.25). The annotations that came before mean nothing any more.
pub const SECCOMP: &str = "podSecurity.seccomp";

const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const SE_LINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
const SE_LINUX_ALLOWED: &str =
    "only container_t, container_init_t, container_kvm_t, container_engine_t or no value";
const CONFINING: [&str; 2] = ["RuntimeDefault", "Localhost"];

pub(super) fn annotations(pod: &Pod<'_>, found: &mut Vec<Finding>) {
    // The API server writes the annotation from the field: those whose field has them unconfined are found there.
    let said_by_field = LazyCell::new(|| unconfined_by_field(pod));
    for (key, value) in pod.annotations() {
        let Some(container) = key.strip_prefix(ANNOTATION) else { continue };
        let confines = value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        if confines || said_by_field.contains(container) {
            continue;
        }
        let fault = Fault::baseline(APP_ARMOR, "only \"runtime/default\", \"localhost/…\" or no value");
        let finding = fault.in_pod(format!("metadata.annotations[{key}]"), quoted(value));
        found.push(Finding { container: container.to_owned(), ..finding });
    }
}

pub(super) fn pod(pod: &Pod<'_>, found: &mut Vec<Finding>) {
    let Some(context) = pod.security() else { return };
    let field = |name: &str| format!("spec.securityContext.{name}");
    if let Some(profile) = unconfined(context.app_armor_profile.as_ref()) {
        found.push(app_armor().in_pod(field("appArmorProfile.type"), quoted(profile)));
    }
    if let Some(profile) = unconfined(context.seccomp_profile.as_ref()) {
        found.push(seccomp(pod).in_pod(field("seccompProfile.type"), quoted(profile)));
    }
    for (fault, name, value) in se_linux(context.se_linux_options.as_ref()) {
        found.push(fault.in_pod(field(name), quoted(value)));
    }
}

pub(super) fn container(pod: &Pod<'_>, container: &Placed<'_>, found: &mut Vec<Finding>) {
    let context = container.security_context.as_ref();
    if let Some(profile) = unconfined(context.and_then(|context| context.app_armor_profile.as_ref())) {
        found.push(app_armor().in_container(
            container,
            "securityContext.appArmorProfile.type",
            quoted(profile),
        ));
    }
    let own = context.and_then(|context| context.seccomp_profile.as_ref());
    let inherited = pod.security().and_then(|context| context.seccomp_profile.as_ref());
    if let Some(profile) = unconfined(own) {
        found.push(seccomp(pod).in_container(
            container,
            "securityContext.seccompProfile.type",
            quoted(profile),
        ));
    } else if pod.restricted && !pod.is_windows() && own.or(inherited).is_none() {
        let allowed = "only \"RuntimeDefault\" or \"Localhost\", here or in spec.securityContext";
        let fault = Fault::restricted(SECCOMP, allowed);
        found.push(fault.in_container(container, "securityContext.seccompProfile.type", NOT_SET.to_owned()));
    }
    for (fault, name, value) in se_linux(context.and_then(|context| context.se_linux_options.as_ref())) {
        found.push(fault.in_container(container, &format!("securityContext.{name}"), quoted(value)));
    }
}

/// The names of the containers that a field, their own or the pod's, has unconfined.
fn unconfined_by_field<'a>(pod: &Pod<'a>) -> BTreeSet<&'a str> {
    let inherited = pod.security().and_then(|context| context.app_armor_profile.as_ref());
    let unconfined = |container: &Placed<'a>| {
        let own = container.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
        unconfined(own.or(inherited)).is_some()
    };
    pod.containers().filter(unconfined).map(|container| container.name.as_str()).collect()
}

/// A profile of AppArmor or seccomp that is none.
fn unconfined<'a>(profile: Option<&Profile<'a>>) -> Option<&'a str> {
    profile.map(|profile| profile.kind.as_str()).filter(|profile| !CONFINING.contains(profile))
}

fn app_armor() -> Fault {
    Fault::baseline(APP_ARMOR, "only \"RuntimeDefault\", \"Localhost\" or no value")
}

fn seccomp(pod: &Pod<'_>) -> Fault {
    let allowed = if pod.restricted && !pod.is_windows() {
        "only \"RuntimeDefault\" or \"Localhost\""
    } else {
        "only \"RuntimeDefault\", \"Localhost\" or no value"
    };
    Fault::baseline(SECCOMP, allowed)
}

/// What of SELinux's options is too much: fault, field and value.
fn se_linux<'a>(options: Option<&'a SeLinux<'_>>) -> impl Iterator<Item = (Fault, &'static str, &'a str)> {
    options.into_iter().flat_map(|options| {
        let none: &[&str] = &[""];
        let fields = [
            ("seLinuxOptions.role", options.role.as_deref(), none, "no value"),
            ("seLinuxOptions.type", options.kind.as_deref(), &SE_LINUX_TYPES, SE_LINUX_ALLOWED),
            ("seLinuxOptions.user", options.user.as_deref(), none, "no value"),
        ];
        fields.into_iter().filter_map(|(field, value, known, allowed)| {
            let value = value.filter(|value| !known.contains(value))?;
            Some((Fault::baseline(SE_LINUX, allowed), field, value))
        })
    })
}
