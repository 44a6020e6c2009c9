//! The object that is judged: its raw JSON, and a typed view of it for reading. The view knows only the fields of
//! the Kubernetes version we are compiled against, so nothing is ever written back from it.

use k8s_openapi::api::core::v1::{
    Container as Plain, ContainerPort, EphemeralContainer, PodSpec, Probe, ResourceRequirements,
    SecurityContext,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// A pod under judgement.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The object as it arrived.
    pub raw: &'a Value,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The part of it that rules read.
    pub spec: PodSpec,
}

/// What is the same in every list of containers.
#[derive(Clone, Debug)]
pub struct Container<'a> {
    /// Where it is, for example `spec.initContainers[1]`.
    pub path: String,
    /// Its name.
    pub name: &'a str,
    /// Its image; empty if it names none.
    pub image: &'a str,
    /// Its pull policy.
    pub pull_policy: Option<&'a str>,
    /// Its security context.
    pub security_context: Option<&'a SecurityContext>,
    /// The ports it declares.
    pub ports: &'a [ContainerPort],
    /// What it requests and is limited to.
    pub resources: Option<&'a ResourceRequirements>,
    /// Its probes, by their fields.
    pub probes: [(&'static str, Option<&'a Probe>); 3],
    /// Whether it was added to a running pod.
    pub is_ephemeral: bool,
    /// Whether it is an init container that does not run on.
    pub is_init: bool,
}

/// A pod that is not one.
#[derive(Debug, thiserror::Error)]
#[error("{path} is not what a pod has there: {message}")]
pub struct Malformed {
    /// Where reading stopped.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl<'a> Subject<'a> {
    /// Reads `raw`, an object with `metadata` and `spec` as a pod or a pod template has them. Fails when any field has the wrong type, or
    /// `spec` is missing.
    pub fn pod(raw: &'a Value) -> Result<Self, Malformed> {
        let metadata = |key: &str| {
            read::<BTreeMap<String, String>>(
                raw.get("metadata").and_then(|metadata| metadata.get(key)),
                &format!("metadata.{key}"),
            )
            .map(Option::unwrap_or_default)
        };
        let spec = read(raw.get("spec"), "spec")?;
        let spec = spec.ok_or_else(|| Malformed {
            path: "spec".to_owned(),
            message: "a pod must have one".to_owned(),
        })?;
        Ok(Self { raw, annotations: metadata("annotations")?, labels: metadata("labels")?, spec })
    }

    /// The namespace, if the object says: it does when it reaches admission.
    pub fn namespace(&self) -> &str {
        self.raw.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default()
    }

    /// Every container of every list.
    pub fn containers(&self) -> impl Iterator<Item = Container<'_>> {
        let spec = &self.spec;
        plain("containers", &spec.containers)
            .chain(plain("initContainers", spec.init_containers.as_deref().unwrap_or_default()))
            .chain(ephemeral(spec.ephemeral_containers.as_deref().unwrap_or_default()))
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Option<&Value>, path: &str) -> Result<Option<T>, Malformed> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    // Twice only when it fails: following the path costs as much as reading.
    T::deserialize(value).map(Some).or_else(|_| serde_path_to_error::deserialize(value).map(Some)).map_err(
        |error| Malformed { path: format!("{path}.{}", error.path()), message: error.inner().to_string() },
    )
}

fn plain<'s>(list: &'static str, containers: &'s [Plain]) -> impl Iterator<Item = Container<'s>> {
    containers.iter().enumerate().map(move |(index, container)| Container {
        path: format!("spec.{list}[{index}]"),
        name: &container.name,
        image: container.image.as_deref().unwrap_or_default(),
        pull_policy: container.image_pull_policy.as_deref(),
        security_context: container.security_context.as_ref(),
        ports: container.ports.as_deref().unwrap_or_default(),
        resources: container.resources.as_ref(),
        probes: [
            ("livenessProbe", container.liveness_probe.as_ref()),
            ("readinessProbe", container.readiness_probe.as_ref()),
            ("startupProbe", container.startup_probe.as_ref()),
        ],
        is_ephemeral: false,
        is_init: list == "initContainers" && container.restart_policy.as_deref() != Some("Always"),
    })
}

fn ephemeral(containers: &[EphemeralContainer]) -> impl Iterator<Item = Container<'_>> {
    containers.iter().enumerate().map(|(index, container)| Container {
        path: format!("spec.ephemeralContainers[{index}]"),
        name: &container.name,
        image: container.image.as_deref().unwrap_or_default(),
        pull_policy: container.image_pull_policy.as_deref(),
        security_context: container.security_context.as_ref(),
        ports: container.ports.as_deref().unwrap_or_default(),
        resources: container.resources.as_ref(),
        probes: [
            ("livenessProbe", container.liveness_probe.as_ref()),
            ("readinessProbe", container.readiness_probe.as_ref()),
            ("startupProbe", container.startup_probe.as_ref()),
        ],
        is_ephemeral: true,
        is_init: false,
    })
}
