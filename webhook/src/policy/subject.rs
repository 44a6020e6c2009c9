//! The object that is judged: its raw JSON, and a typed view of it for reading. The view knows only the fields of
//! the Kubernetes version we are compiled against, so nothing is ever written back from it.

use k8s_openapi::api::core::v1::{self as core, ContainerPort, Pod, PodSpec, SecurityContext};
use serde_json::Value;

/// A pod under judgement.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The object as it arrived.
    pub raw: &'a Value,
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
    /// Its security context.
    pub security_context: Option<&'a SecurityContext>,
    /// The ports it declares.
    pub ports: &'a [ContainerPort],
}

/// A pod that is not one.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Malformed {
    /// Where reading stopped.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl<'a> Subject<'a> {
    /// Reads `raw` as a pod. Fails when any field has the wrong type, or `spec` is missing.
    pub fn pod(raw: &'a Value) -> Result<Self, Malformed> {
        let pod: Pod = serde_path_to_error::deserialize(raw).map_err(|error| Malformed {
            path: error.path().to_string(),
            message: error.inner().to_string(),
        })?;
        let spec = pod.spec.ok_or_else(|| Malformed {
            path: "spec".to_owned(),
            message: "a pod must have one".to_owned(),
        })?;
        Ok(Self { raw, spec })
    }

    /// Every container of every list.
    pub fn containers(&self) -> impl Iterator<Item = Container<'_>> {
        let spec = &self.spec;
        plain("containers", &spec.containers)
            .chain(plain("initContainers", spec.init_containers.as_deref().unwrap_or_default()))
            .chain(ephemeral(spec.ephemeral_containers.as_deref().unwrap_or_default()))
    }
}

fn plain<'s>(list: &'static str, containers: &'s [core::Container]) -> impl Iterator<Item = Container<'s>> {
    containers.iter().enumerate().map(move |(index, container)| Container {
        path: format!("spec.{list}[{index}]"),
        name: &container.name,
        security_context: container.security_context.as_ref(),
        ports: container.ports.as_deref().unwrap_or_default(),
    })
}

fn ephemeral(containers: &[core::EphemeralContainer]) -> impl Iterator<Item = Container<'_>> {
    containers.iter().enumerate().map(|(index, container)| Container {
        path: format!("spec.ephemeralContainers[{index}]"),
        name: &container.name,
        security_context: container.security_context.as_ref(),
        ports: container.ports.as_deref().unwrap_or_default(),
    })
}
