//! What the pods of a cluster may be to the nodes of the host.

use super::invalid;
use crate::cluster::build::node;
use crate::cluster::error::Error;
use crate::cluster::observe::Observed;
use k3k_api::v1beta1::ClusterSpec;
use k3k_policy::{Policy, control_plane};

/// Pods that are nodes need privileges: as far as the policy grants them, and without fields that take them away again.
pub(super) fn of_nodes(spec: &ClusterSpec, observed: &Observed) -> Result<(), Error> {
    let policy = observed.policy_name.as_deref().zip(observed.policy.as_ref());
    if let Some((name, policy)) = policy
        // One that is not understood lets nothing be made, and says so itself.
        && let Ok(compiled) = Policy::compile(name, observed.policy_generation, policy.clone())
        && let Some(refusal) = control_plane::refusal(&compiled, spec.runtime_class_name.as_deref())
    {
        let message = format!(
            "servers and agents in mode virtual are privileged, and the policy {name:?} allows {refusal}; ask whoever administers the policy, or use mode shared"
        );
        return Err(invalid("spec.mode", message));
    }
    let imposed = policy.and_then(|(name, policy)| Some((name, policy.security_context.as_ref()?)));
    let context = imposed.map(|(_, context)| context).or(spec.security_context.as_ref());
    if let Some((field, reason)) = context.and_then(node::conflict) {
        let whose = imposed.map(|(name, _)| format!(" (as the policy {name:?} has it)")).unwrap_or_default();
        let message = format!("a node cannot be run with it{whose}: {reason}");
        return Err(invalid(format!("spec.securityContext.{field}"), message));
    }
    if let Some((field, reason)) = spec.pod_security_context.as_ref().and_then(node::pod_conflict) {
        let message = format!("a node cannot be run with it: {reason}");
        return Err(invalid(format!("spec.podSecurityContext.{field}"), message));
    }
    Ok(())
}

/// The controller makes pods that the user may not be allowed to make. Only the nodes of a cluster in mode
/// virtual need privileges, so the spec cannot ask for any; a policy, which is an administrator's, can.
pub(super) fn unneeded(spec: &ClusterSpec) -> Result<(), Error> {
    let refuse = |field| Err(invalid(field, "a server that is no node needs no privileges and gets none"));
    if let Some(context) = &spec.security_context {
        if context.privileged == Some(true) {
            return refuse("spec.securityContext.privileged");
        }
        if context.allow_privilege_escalation == Some(true) {
            return refuse("spec.securityContext.allowPrivilegeEscalation");
        }
        let added = context.capabilities.as_ref().and_then(|capabilities| capabilities.add.as_ref());
        if added.is_some_and(|added| !added.is_empty()) {
            return refuse("spec.securityContext.capabilities.add");
        }
        if context.proc_mount.as_deref().is_some_and(|mount| mount != "Default") {
            return refuse("spec.securityContext.procMount");
        }
        if context.seccomp_profile.as_ref().is_some_and(|profile| profile.type_ == "Unconfined") {
            return refuse("spec.securityContext.seccompProfile");
        }
        if context.app_armor_profile.as_ref().is_some_and(|profile| profile.type_ == "Unconfined") {
            return refuse("spec.securityContext.appArmorProfile");
        }
    }
    if let Some(context) = &spec.pod_security_context {
        if context.sysctls.as_ref().is_some_and(|sysctls| !sysctls.is_empty()) {
            return refuse("spec.podSecurityContext.sysctls");
        }
        if context.seccomp_profile.as_ref().is_some_and(|profile| profile.type_ == "Unconfined") {
            return refuse("spec.podSecurityContext.seccompProfile");
        }
        if context.app_armor_profile.as_ref().is_some_and(|profile| profile.type_ == "Unconfined") {
            return refuse("spec.podSecurityContext.appArmorProfile");
        }
    }
    Ok(())
}
