//! Whether servers and agents may be privileged: those of clusters in mode virtual are nodes, and a privileged container is root on the
//! node of the host that it runs on.

use crate::policy::Policy;
use crate::{rules, violation};
use k3k_api::v1beta1::PodSecurityLevel;
use k3k_api::v1beta1::policy::{ControlPlanePrivilege, EnforcementMode, Placement};

/// What the policy lets them be. Where none is bound, nothing is said about clusters, and all modes run, as upstream; a policy that does
/// not speak of it denies.
pub(crate) fn ruling(policy: &Policy) -> ControlPlanePrivilege {
    let unlimited = policy.spec.pod_security_admission_level == Some(PodSecurityLevel::Privileged);
    let unsaid = if unlimited || policy.name.is_empty() {
        ControlPlanePrivilege::Allow
    } else {
        ControlPlanePrivilege::Deny
    };
    policy.pod_security.control_plane.unwrap_or(unsaid)
}

/// What the policy allows instead of privileged pods with this RuntimeClass, on nodes with `is_placed` if the pods go where the policy has
/// them go. Nothing if it allows them.
pub(crate) fn allowed_instead(
    policy: &Policy,
    runtime_class: Option<&str>,
    is_placed: bool,
) -> Option<String> {
    match ruling(policy) {
        ControlPlanePrivilege::Allow => None,
        ControlPlanePrivilege::Deny => {
            Some("no privileges for servers and agents (podSecurity.controlPlane)".to_owned())
        }
        ControlPlanePrivilege::RequireSandbox => {
            let classes = &policy.pod_security.sandbox_runtime_classes;
            let is_sandboxed =
                runtime_class.is_some_and(|class| classes.iter().any(|sandbox| sandbox == class));
            (!is_sandboxed).then(|| {
                format!(
                    "privileges for servers and agents only with the RuntimeClass {}",
                    violation::any_of(classes)
                )
            })
        }
        ControlPlanePrivilege::RequireDedicatedNodes => {
            let on_own_nodes = is_placed && policy.placement() != Placement::Shared;
            (!on_own_nodes).then(|| {
                "privileges for servers and agents only on nodes of their own (nodes.placement Dedicated or Exclusive)"
                    .to_owned()
            })
        }
    }
}

/// Why a cluster in mode virtual, whose spec names this RuntimeClass, cannot run under the policy: what that allows instead. Nothing if it
/// can, or if the rule is not enforced or somebody is excused from it: then its pods are judged.
pub fn refusal(policy: &Policy, runtime_class: Option<&str>) -> Option<String> {
    let is_excused = policy.exemptions().any(|(_, exemption)| {
        exemption.rules.iter().any(|rule| rule == rules::CONTROL_PLANE || rule == "podSecurity")
    });
    if is_excused || policy.mode(rules::CONTROL_PLANE) != EnforcementMode::Enforce {
        return None;
    }
    let runtime_class = policy.spec.runtime_class_name.as_deref().or(runtime_class);
    allowed_instead(policy, runtime_class, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::unsaid(json!({}), None, Some("no privileges"))]
    #[case::no_level(json!({ "podSecurityAdmissionLevel": "privileged" }), None, None)]
    #[case::denied(json!({ "podSecurityAdmissionLevel": "privileged", "podSecurity": { "controlPlane": "Deny" } }), None, Some("no privileges"))]
    #[case::allowed(json!({ "podSecurity": { "controlPlane": "Allow" } }), None, None)]
    #[case::no_sandbox(json!({ "podSecurity": { "controlPlane": "RequireSandbox", "sandboxRuntimeClasses": ["kata"] } }), Some("runc"), Some("privileges for servers and agents only with the RuntimeClass"))]
    #[case::sandbox(json!({ "podSecurity": { "controlPlane": "RequireSandbox", "sandboxRuntimeClasses": ["kata"] } }), Some("kata"), None)]
    #[case::imposed(json!({ "runtimeClassName": "kata", "podSecurity": { "controlPlane": "RequireSandbox", "sandboxRuntimeClasses": ["kata"] } }), Some("runc"), None)]
    #[case::shared_nodes(json!({ "podSecurity": { "controlPlane": "RequireDedicatedNodes" } }), None, Some("privileges for servers and agents only on nodes"))]
    #[case::own_nodes(json!({ "nodes": { "placement": "Dedicated" }, "podSecurity": { "controlPlane": "RequireDedicatedNodes" } }), None, None)]
    #[case::warned(json!({ "enforcement": { "mode": "Warn" } }), None, None)]
    #[case::warned_of_it(json!({ "enforcement": { "rules": [{ "name": "podSecurity.controlPlane", "mode": "Audit" }] } }), None, None)]
    #[case::excused(json!({ "enforcement": { "exemptions": [{ "name": "x", "rules": ["podSecurity"], "reason": "r", "expiresAt": "2030-01-01T00:00:00Z" }] } }), None, None)]
    fn a_virtual_cluster_under_a_policy(
        #[case] spec: Value,
        #[case] runtime_class: Option<&str>,
        #[case] refused: Option<&str>,
    ) {
        let policy = Policy::compile("p", 1, serde_json::from_value(spec).unwrap()).unwrap();
        let refusal = refusal(&policy, runtime_class);
        match refused {
            None => assert_eq!(refusal, None),
            Some(begin) => {
                assert!(refusal.as_deref().is_some_and(|refusal| refusal.starts_with(begin)), "{refusal:?}");
            }
        }
    }

    #[test]
    fn without_a_policy_nothing_is_refused() {
        assert_eq!(refusal(&Policy::default(), None), None);
    }
}
