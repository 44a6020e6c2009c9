//! What the rules see: the pod, and what is the same in every list of containers.

use super::Finding;
use k3k_api::v1beta1::PodSecurityLevel;
use k8s_openapi::api::core::v1::{
    ContainerPort, Lifecycle, PodSecurityContext, PodSpec, Probe, SecurityContext,
};
use std::collections::BTreeMap;

/// A pod, and how strictly it is judged.
pub(super) struct Pod<'a> {
    pub(super) annotations: &'a BTreeMap<String, String>,
    pub(super) spec: &'a PodSpec,
    /// Whether the level is Restricted, not Baseline.
    pub(super) restricted: bool,
}

/// One container, of whatever list.
pub(super) struct Container<'a> {
    list: &'static str,
    index: usize,
    pub(super) name: &'a str,
    pub(super) security: Option<&'a SecurityContext>,
    pub(super) ports: &'a [ContainerPort],
    pub(super) probes: [(&'static str, Option<&'a Probe>); 3],
    pub(super) lifecycle: Option<&'a Lifecycle>,
}

/// The rule that is broken, and what would not break it.
pub(super) struct Fault {
    rule: &'static str,
    level: PodSecurityLevel,
    allowed: &'static str,
}

impl<'a> Pod<'a> {
    /// Every container of every list: a rule that misses one list is no rule.
    pub(super) fn containers(&self) -> impl Iterator<Item = Container<'a>> {
        let spec = self.spec;
        let first = spec.init_containers.iter().flatten().enumerate();
        let debug = spec.ephemeral_containers.iter().flatten().enumerate();
        let main = spec.containers.iter().enumerate();
        // Two types with the same fields.
        macro_rules! view {
            ($list:literal) => {
                |(index, container)| Container {
                    list: $list,
                    index,
                    name: &container.name,
                    security: container.security_context.as_ref(),
                    ports: container.ports.as_deref().unwrap_or_default(),
                    probes: [
                        ("livenessProbe", container.liveness_probe.as_ref()),
                        ("readinessProbe", container.readiness_probe.as_ref()),
                        ("startupProbe", container.startup_probe.as_ref()),
                    ],
                    lifecycle: container.lifecycle.as_ref(),
                }
            };
        }
        main.map(view!("containers"))
            .chain(first.map(view!("initContainers")))
            .chain(debug.map(view!("ephemeralContainers")))
    }

    /// The pod's own security context.
    pub(super) fn security(&self) -> Option<&'a PodSecurityContext> {
        self.spec.security_context.as_ref()
    }

    /// Whether it says that it runs on Windows (v1.25): what exists on Linux alone need not be set there.
    pub(super) fn is_windows(&self) -> bool {
        self.spec.os.as_ref().is_some_and(|os| os.name == "windows")
    }

    /// Whether its users are not those of the node (v1.35): root inside is nobody outside.
    pub(super) fn has_own_users(&self) -> bool {
        self.spec.host_users == Some(false)
    }
}

impl Container<'_> {
    /// Says that `field` of this container breaks a rule.
    pub(super) fn fault(&self, fault: Fault, field: &str, found: String) -> Finding {
        let path = format!("spec.{}[{}].{field}", self.list, self.index);
        Finding { container: self.name.to_owned(), ..fault.in_pod(path, found) }
    }
}

impl Fault {
    /// A fault that both levels see.
    pub(super) fn baseline(rule: &'static str, allowed: &'static str) -> Self {
        Self { rule, level: PodSecurityLevel::Baseline, allowed }
    }

    /// A fault under Restricted alone.
    pub(super) fn restricted(rule: &'static str, allowed: &'static str) -> Self {
        Self { rule, level: PodSecurityLevel::Restricted, allowed }
    }

    /// Says that the pod's field at `path` breaks a rule.
    pub(super) fn in_pod(self, path: String, found: String) -> Finding {
        let Self { rule, level, allowed } = self;
        Finding { rule, level, field: path, container: String::new(), found, allowed }
    }
}

/// The text for a field without a value.
pub(super) const NOT_SET: &str = "not set";

/// The text for a string.
pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}
