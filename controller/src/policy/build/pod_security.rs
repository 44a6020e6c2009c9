//! Labels by which Kubernetes holds a namespace's pods to a Pod Security Standard.
//!
//! Its level is one for all pods of a namespace. So what it enforces is the loosest that any of them may need: the
//! clusters' own pods, and those of tenants that the policy lets exceed the level. The webhook judges tenants' pods
//! one by one, by the policy's level.

use crate::policy::mode;
use jiff::Timestamp;
use k3k_api::v1beta1::policy::Power;
use k3k_api::v1beta1::{Mode, PodSecurityLevel, VirtualClusterPolicySpec};
use k8s_openapi::api::core::v1::SecurityContext;
use std::collections::{BTreeMap, BTreeSet};

/// What all labels begin with.
pub const PREFIX: &str = "pod-security.kubernetes.io/";
/// What a level is used for.
const MODES: [&str; 3] = ["enforce", "warn", "audit"];
/// The version of the standards: that of the host.
const LATEST: &str = "latest";

/// Capabilities that pods of level baseline may add.
const BASELINE_CAPABILITIES: [&str; 13] = [
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

/// The labels that the policy asks for.
pub fn labels(spec: &VirtualClusterPolicySpec, now: Timestamp) -> BTreeMap<String, String> {
    let Some(level) = spec.pod_security_admission_level else { return BTreeMap::new() };
    let enforced = if mode::is_enforced(spec, "podSecurity") {
        Some(looser(looser(level, control_plane(spec)), exceptions(spec, now)))
    } else {
        None
    };
    let told = (level != PodSecurityLevel::Privileged).then_some(level);
    let mut labels = BTreeMap::new();
    for (mode, level) in MODES.into_iter().zip([enforced, told, told]) {
        if let Some(level) = level {
            labels.insert(format!("{PREFIX}{mode}"), level.as_str().to_owned());
            labels.insert(format!("{PREFIX}{mode}-version"), LATEST.to_owned());
        }
    }
    labels
}

fn looser(one: PodSecurityLevel, other: PodSecurityLevel) -> PodSecurityLevel {
    use PodSecurityLevel::{Baseline, Privileged, Restricted};
    match (one, other) {
        (Privileged, _) | (_, Privileged) => Privileged,
        (Baseline, _) | (_, Baseline) => Baseline,
        (Restricted, Restricted) => Restricted,
    }
}

/// What the clusters' own pods meet. A server is root in its container, which level restricted refuses.
pub fn control_plane(spec: &VirtualClusterPolicySpec) -> PodSecurityLevel {
    let imposed = spec.security_context.as_ref();
    if spec.allowed_mode() == Mode::Virtual || imposed.is_some_and(|context| !is_baseline(context)) {
        PodSecurityLevel::Privileged
    } else {
        PodSecurityLevel::Baseline
    }
}

fn is_baseline(context: &SecurityContext) -> bool {
    let added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
    let selinux = context.se_linux_options.as_ref();
    context.privileged != Some(true)
        && added.into_iter().all(|name| BASELINE_CAPABILITIES.contains(&name.as_str()))
        && context.proc_mount.as_deref().is_none_or(|mount| mount == "Default")
        && context.seccomp_profile.as_ref().is_none_or(|profile| profile.type_ != "Unconfined")
        && context.app_armor_profile.as_ref().is_none_or(|profile| profile.type_ != "Unconfined")
        && selinux.is_none_or(|options| {
            let says = |word: &Option<String>| word.as_ref().is_some_and(|word| !word.is_empty());
            !says(&options.user) && !says(&options.role) && !says(&options.type_)
        })
        && context.windows_options.as_ref().is_none_or(|options| options.host_process != Some(true))
}

/// What the tenants' pods meet that may exceed the level.
fn exceptions(spec: &VirtualClusterPolicySpec, now: Timestamp) -> PodSecurityLevel {
    if mode::exemptions(spec, "podSecurity", now).next().is_some() {
        return PodSecurityLevel::Privileged;
    }
    let privileges = spec.pod_security.iter().flat_map(|pod_security| &pod_security.privileged);
    privileges.fold(PodSecurityLevel::Restricted, |loosest, privilege| {
        let is_moderate = privilege.allow.iter().all(|power| *power == Power::Capabilities)
            && privilege.capabilities.iter().all(|name| BASELINE_CAPABILITIES.contains(&name.as_str()));
        looser(loosest, if is_moderate { PodSecurityLevel::Baseline } else { PodSecurityLevel::Privileged })
    })
}

/// What of the wanted labels is ours to set, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What we set.
    pub labels: BTreeMap<String, String>,
    /// What others have set otherwise, as `key=value`. It stays.
    pub of_others: Vec<String>,
}

/// Decides by the labels that the namespace has, and those among them that are `ours`. A level is never taken from who
/// set it, nor given to it: what is somebody else's stays.
pub fn decide(
    wanted: &BTreeMap<String, String>,
    present: &BTreeMap<String, String>,
    ours: &BTreeSet<String>,
) -> Decision {
    let mut decision = Decision::default();
    for mode in MODES {
        let keys = [format!("{PREFIX}{mode}"), format!("{PREFIX}{mode}-version")];
        for key in keys {
            let Some(value) = wanted.get(&key) else { break };
            match present.get(&key).filter(|_| !ours.contains(&key)) {
                None => {
                    decision.labels.insert(key, value.clone());
                }
                Some(other) => {
                    if other != value {
                        decision.of_others.push(format!("{key}={other}"));
                    }
                    // A version belongs to its level.
                    break;
                }
            }
        }
    }
    decision
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn short(labels: &BTreeMap<String, String>) -> String {
        let levels = labels.iter().filter(|(key, _)| !key.ends_with("-version"));
        let levels: Vec<_> =
            levels.map(|(key, level)| format!("{}={level}", key.trim_start_matches(PREFIX))).collect();
        levels.join(" ")
    }

    #[rstest]
    #[case(json!({}), "")]
    #[case(json!({ "podSecurityAdmissionLevel": "privileged" }), "enforce=privileged")]
    #[case(json!({ "podSecurityAdmissionLevel": "baseline" }), "audit=baseline enforce=baseline warn=baseline")]
    // The server is root in its container.
    #[case(json!({ "podSecurityAdmissionLevel": "restricted" }), "audit=restricted enforce=baseline warn=restricted")]
    #[case(json!({ "podSecurityAdmissionLevel": "restricted", "allowedMode": "virtual" }), "audit=restricted enforce=privileged warn=restricted")]
    #[case(json!({ "podSecurityAdmissionLevel": "baseline", "securityContext": { "privileged": true } }), "audit=baseline enforce=privileged warn=baseline")]
    #[case(json!({ "podSecurityAdmissionLevel": "baseline", "securityContext": { "runAsUser": 0, "capabilities": { "drop": ["ALL"] } } }), "audit=baseline enforce=baseline warn=baseline")]
    #[case(json!({ "podSecurityAdmissionLevel": "baseline", "podSecurity": { "privileged": [{ "virtualNamespaces": ["m"], "allow": ["HostPath"] }] } }), "audit=baseline enforce=privileged warn=baseline")]
    #[case(json!({ "podSecurityAdmissionLevel": "baseline", "podSecurity": { "privileged": [{ "virtualNamespaces": ["m"], "allow": ["Capabilities"], "capabilities": ["CHOWN"] }] } }), "audit=baseline enforce=baseline warn=baseline")]
    #[case(json!({ "podSecurityAdmissionLevel": "baseline", "enforcement": { "mode": "Audit" } }), "audit=baseline warn=baseline")]
    fn levels(#[case] spec: Value, #[case] want: &str) {
        let labels = labels(&serde_json::from_value(spec).unwrap(), now());
        assert_eq!(short(&labels), want);
        for key in labels.keys().filter(|key| !key.ends_with("-version")) {
            assert_eq!(labels[&format!("{key}-version")], "latest");
        }
    }

    #[test]
    fn an_exemption_loosens_until_it_ends() {
        let spec: VirtualClusterPolicySpec = serde_json::from_value(json!({
            "podSecurityAdmissionLevel": "baseline",
            "enforcement": { "exemptions": [{ "name": "a", "rules": ["podSecurity"], "reason": "r", "expiresAt": "2026-02-01T00:00:00Z" }] },
        }))
        .unwrap();
        assert_eq!(labels(&spec, now())["pod-security.kubernetes.io/enforce"], "privileged");
        let later = "2026-03-01T00:00:00Z".parse().unwrap();
        assert_eq!(labels(&spec, later)["pod-security.kubernetes.io/enforce"], "baseline");
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned())).collect()
    }

    #[test]
    fn what_others_set_stays() {
        let wanted = map(&[
            ("enforce", "baseline"),
            ("enforce-version", "latest"),
            ("warn", "baseline"),
            ("warn-version", "latest"),
        ]);
        let nobody = BTreeSet::new();
        assert_eq!(
            decide(&wanted, &BTreeMap::new(), &nobody),
            Decision { labels: wanted.clone(), of_others: Vec::new() }
        );

        let theirs = map(&[("enforce", "restricted")]);
        let decision = decide(&wanted, &theirs, &nobody);
        assert_eq!(decision.labels, map(&[("warn", "baseline"), ("warn-version", "latest")]));
        assert_eq!(decision.of_others, ["pod-security.kubernetes.io/enforce=restricted"]);

        // The same level is nothing to speak of, but theirs all the same.
        let theirs = map(&[("enforce", "baseline"), ("enforce-version", "v1.30")]);
        assert_eq!(
            decide(&wanted, &theirs, &nobody).labels,
            map(&[("warn", "baseline"), ("warn-version", "latest")])
        );

        // Only a version: the level is ours to set.
        let theirs = map(&[("enforce-version", "v1.30")]);
        let decision = decide(&wanted, &theirs, &nobody);
        assert_eq!(
            decision.labels.get("pod-security.kubernetes.io/enforce").map(String::as_str),
            Some("baseline")
        );
        assert_eq!(decision.of_others, ["pod-security.kubernetes.io/enforce-version=v1.30"]);

        let ours = wanted.keys().cloned().collect();
        assert_eq!(decide(&wanted, &map(&[("enforce", "privileged")]), &ours).labels, wanted);
    }
}
