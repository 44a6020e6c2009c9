//! The object that is judged: its raw JSON, and a typed view of it for reading. The view knows only the fields that
//! rules read, so nothing is ever written back from it.

use super::view::{Container, Resources, Spec, Text};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;

/// A pod under judgement.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The object as it arrived.
    pub raw: &'a Value,
    /// Its annotations.
    pub annotations: BTreeMap<Text<'a>, Text<'a>>,
    /// Its labels.
    pub labels: BTreeMap<Text<'a>, Text<'a>>,
    /// The part of it that rules read.
    pub spec: Spec<'a>,
}

/// A container, and where it is. Its path is written out only for who has to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'s> {
    list: &'static str,
    index: usize,
    container: &'s Container<'s>,
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
    /// Reads `raw`, an object with `metadata` and `spec` as a pod or a pod template has them. Fails when a field that rules read has the wrong
    /// type, or `spec` is missing.
    pub fn pod(raw: &'a Value) -> Result<Self, Malformed> {
        let metadata = |key: &str| {
            let value = raw.get("metadata").and_then(|metadata| metadata.get(key));
            read(value, || format!("metadata.{key}")).map(Option::unwrap_or_default)
        };
        let spec = read(raw.get("spec"), || "spec".to_owned())?;
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

    /// Every container of every list: a rule that misses one list is no rule.
    pub(crate) fn containers(&self) -> impl Iterator<Item = Placed<'_>> {
        let lists = [
            ("containers", &self.spec.containers),
            ("initContainers", &self.spec.init_containers),
            ("ephemeralContainers", &self.spec.ephemeral_containers),
        ];
        lists.into_iter().flat_map(|(list, containers)| {
            containers.iter().enumerate().map(move |(index, container)| Placed { list, index, container })
        })
    }
}

impl<'s> Placed<'s> {
    /// Whether it was added to a running pod.
    pub(crate) fn is_ephemeral(&self) -> bool {
        self.list == "ephemeralContainers"
    }

    /// Whether it starts before the others.
    pub(crate) fn is_init(&self) -> bool {
        self.list == "initContainers"
    }

    /// Whether it runs on beside them.
    pub(crate) fn is_sidecar(&self) -> bool {
        self.is_init() && self.restart_policy.is_some_and(|policy| policy.as_str() == "Always")
    }

    /// What it requests and is limited to.
    pub(crate) fn resources(self) -> Option<&'s Resources<'s>> {
        self.container.resources.as_ref()
    }
}

impl<'s> Deref for Placed<'s> {
    type Target = Container<'s>;

    fn deref(&self) -> &Container<'s> {
        self.container
    }
}

/// Where it is, for example `spec.initContainers[1]`.
impl fmt::Display for Placed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "spec.{}[{}]", self.list, self.index)
    }
}

fn read<'a, T: Deserialize<'a>>(
    value: Option<&'a Value>,
    path: impl Fn() -> String,
) -> Result<Option<T>, Malformed> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    // Twice only when it fails: following the path costs as much as reading.
    T::deserialize(value).or_else(|_| serde_path_to_error::deserialize(value)).map(Some).map_err(|error| {
        Malformed { path: format!("{}.{}", path(), error.path()), message: error.inner().to_string() }
    })
}
