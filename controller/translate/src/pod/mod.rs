//! A nested pod, bound to our virtual node, as the pod that the host runs for it.
//!
//! One visitor goes over every field. A field is kept, rewritten, left out because it has already had its effect in
//! the nested cluster (scheduling, say), or refused; a field that is in none of these tables is refused by name.

mod container;
mod dns;
mod environment;
mod field;
pub mod ports;
mod volume;

use crate::data::DataKind;
use crate::{Origin, Owner, Refusal};
use k3k_api::{labels, names};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What a translation needs to know of the cluster.
#[derive(Clone, Debug)]
pub struct Context {
    /// The cluster.
    pub owner: Owner,
    /// Name of the virtual node.
    pub node_name: String,
    /// Address of the virtual node, shown to tenants as the host IP.
    pub node_ip: String,
    /// Address of the nested API, port 443.
    pub server_ip: String,
    /// Address of the nested cluster's DNS.
    pub dns_ip: String,
    /// The nested cluster's DNS domain, `cluster.local` by default.
    pub cluster_domain: String,
    /// Whether nested nodes stand for nodes of the host of the same names. A pod then runs on the node that it is bound to.
    pub mirrors_nodes: bool,
    /// Labels of the host nodes on which tenants' pods run.
    pub node_selector: BTreeMap<String, String>,
}

/// An object of the nested cluster that a pod refers to.
pub type Reference = (DataKind, String);

/// A service-account token that a pod wants in one of its volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Key in the Secret [`Translated::secret`].
    pub key: String,
    /// Audience; the nested API server's own when absent.
    pub audience: Option<String>,
    /// Lifetime in seconds that the pod asks for.
    pub expiration_seconds: i64,
}

/// A host pod and what it needs beside it.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The host pod.
    pub object: Value,
    /// ConfigMaps and Secrets it refers to, and whether each may be missing.
    pub references: BTreeMap<Reference, bool>,
    /// Tokens to be requested for [`Self::service_account`], bound to the nested pod.
    pub tokens: Vec<Token>,
    /// Files with fields of the nested pod, by their keys in [`Self::secret`].
    pub files: BTreeMap<String, String>,
    /// The host Secret that carries tokens and files.
    pub secret: String,
    /// The nested service account.
    pub service_account: String,
}

/// The host Secret of the nested pod `uid`: its tokens, which are bound to it, and its labels and annotations as files. The UID says it
/// all, and leaves the name short enough never to be cut.
pub fn pod_secret(uid: &str) -> String {
    names::prefixed(&["pod", uid])
}

/// Collects what the visitor meets on its way.
struct Visit<'a> {
    context: &'a Context,
    pod: &'a Value,
    services: &'a [Value],
    origin: Origin,
    references: BTreeMap<Reference, bool>,
    tokens: Vec<Token>,
    files: BTreeMap<String, String>,
}

/// Translates a nested pod. `services` are those of its namespace, for its environment.
///
/// # Errors
/// The first field that cannot be taken to the host.
pub fn translate(context: &Context, pod: &Value, services: &[Value]) -> Result<Translated, Refusal> {
    let origin = Origin::of_nested(pod)
        .ok_or_else(|| Refusal::new("metadata", "the pod has no name, namespace or UID"))?;
    let spec = object(pod.get("spec"), "spec")?;
    let mut visit = Visit {
        context,
        pod,
        services,
        origin,
        references: BTreeMap::new(),
        tokens: Vec::new(),
        files: BTreeMap::new(),
    };
    let mut host = Map::new();
    for (field, value) in spec {
        visit.spec_field(&mut host, field, value)?;
    }
    if let Some(list) = spec.get("ephemeralContainers") {
        // What they refer to has to be in the host before they are; whether they can be taken there is said when they are added.
        drop(visit.containers(list, "spec.ephemeralContainers", container::Kind::Ephemeral));
    }
    visit.defaults(&mut host, spec);

    let mut metadata = context.owner.metadata(&visit.origin, pod.pointer("/metadata/labels"));
    metadata["labels"][labels::AGENT_NAME] = context.node_name.clone().into();
    Ok(Translated {
        object: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": host}),
        references: visit.references,
        tokens: visit.tokens,
        files: visit.files,
        secret: pod_secret(&visit.origin.uid),
        service_account: service_account(spec).to_owned(),
    })
}

/// The fields of a running pod that Kubernetes lets change in place, as they should be in the host, from a fresh
/// translation: images and `activeDeadlineSeconds`.
pub fn mutable(translated: &Value) -> Value {
    let images = |list: &str| -> Vec<Value> {
        let containers = translated.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        let containers = containers.into_iter().flatten();
        containers.map(|container| json!({"name": container["name"], "image": container["image"]})).collect()
    };
    let mut spec = json!({"containers": images("containers")});
    let init = images("initContainers");
    if !init.is_empty() {
        spec["initContainers"] = init.into();
    }
    if let Some(seconds) = translated.pointer("/spec/activeDeadlineSeconds") {
        spec["activeDeadlineSeconds"] = seconds.clone();
    }
    json!({"metadata": {"labels": translated["metadata"]["labels"]}, "spec": spec})
}

/// What of the spec in [`mutable`] is not in `before`, which was carried over already: what did not change may have got a digest in the host,
/// which must not be taken away.
pub fn changed(before: &Value, wanted: &Value) -> Value {
    let mut changed = wanted.clone();
    if let Some(fields) = changed.as_object_mut() {
        fields.retain(|field, value| match (value.as_array_mut(), before[field].as_array()) {
            (Some(containers), Some(before)) => {
                containers.retain(|container| !before.contains(container));
                !containers.is_empty()
            }
            _ => *value != before[field],
        });
    }
    changed
}

/// The amounts of a pod's containers, as the host pod's `resize` subresource takes them. In-place resize is KEP-1287.
pub fn amounts(translated: &Value) -> Value {
    let amounts = |list: &str| -> Vec<Value> {
        let containers = translated.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        let containers =
            containers.into_iter().flatten().filter(|container| container.get("resources").is_some());
        containers
            .map(|container| json!({"name": container["name"], "resources": container["resources"]}))
            .collect()
    };
    let mut spec = json!({"containers": amounts("containers")});
    let init = amounts("initContainers");
    if !init.is_empty() {
        spec["initContainers"] = init.into();
    }
    json!({"spec": spec})
}

fn service_account(spec: &Map<String, Value>) -> &str {
    spec.get("serviceAccountName")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .unwrap_or("default")
}

impl Visit<'_> {
    fn spec_field(
        &mut self,
        host: &mut Map<String, Value>,
        field: &str,
        value: &Value,
    ) -> Result<(), Refusal> {
        let path = format!("spec.{field}");
        let rewritten = match field {
            // Of the same meaning on both sides. What is dangerous here is judged by the host's admission, which
            // knows the policy.
            "activeDeadlineSeconds"
            | "hostIPC"
            | "hostNetwork"
            | "hostPID"
            | "hostUsers"
            | "hostname"
            | "hostnameOverride"
            | "os"
            | "resources"
            | "restartPolicy"
            | "runtimeClassName"
            | "securityContext"
            | "shareProcessNamespace"
            | "terminationGracePeriodSeconds" => value.clone(),
            // Had its effect when the pod was admitted and bound in the nested cluster, or names something that
            // exists only there; the host decides anew. Ephemeral containers are added to a running pod through a
            // subresource of their own, see `ephemeral_containers`.
            "affinity"
            | "automountServiceAccountToken"
            | "dnsConfig"
            | "dnsPolicy"
            | "enableServiceLinks"
            | "ephemeralContainers"
            | "hostAliases"
            | "nodeName"
            | "nodeSelector"
            | "overhead"
            | "preemptionPolicy"
            | "priority"
            | "priorityClassName"
            | "readinessGates"
            | "schedulerName"
            | "schedulingGates"
            | "serviceAccount"
            | "serviceAccountName"
            | "setHostnameAsFQDN"
            | "subdomain"
            | "tolerations"
            | "topologySpreadConstraints" => return Ok(()),
            "containers" => self.containers(value, &path, container::Kind::Main)?,
            "initContainers" => self.containers(value, &path, container::Kind::Init)?,
            "volumes" => self.volumes(value, &path)?,
            "imagePullSecrets" => self.pull_secrets(value, &path)?,
            "resourceClaims" | "schedulingGroup" | "workloadRef" => {
                return Err(Refusal::unsupported(path));
            }
            _ => return Err(Refusal::unknown(path)),
        };
        host.insert(field.to_owned(), rewritten);
        Ok(())
    }

    /// What every host pod gets, whatever the tenant says.
    fn defaults(&self, host: &mut Map<String, Value>, spec: &Map<String, Value>) {
        // The identity inside a tenant's pod is its nested service account, never one of the host.
        host.insert("automountServiceAccountToken".into(), false.into());
        // Names of the host's Services, including other tenants', do not belong in a tenant's environment.
        host.insert("enableServiceLinks".into(), false.into());
        if spec.get("hostNetwork") != Some(&Value::Bool(true)) {
            host.entry("hostname").or_insert_with(|| hostname(&self.origin.name).into());
            if let Some(name) = self.full_hostname(host, spec) {
                host.insert("hostnameOverride".into(), name.into());
            }
        }
        let dns = dns::resolve(self.context, &self.origin.namespace, spec);
        host.insert("dnsPolicy".into(), dns.policy.into());
        if let Some(config) = dns.config {
            host.insert("dnsConfig".into(), config);
        }
        host.insert("hostAliases".into(), dns::host_aliases(self.context, spec));
        if !self.context.node_selector.is_empty() {
            host.insert("nodeSelector".into(), json!(self.context.node_selector));
        }
        // As a DaemonSet does it: the host's scheduler still checks what else it knows.
        if let Some(node) = spec.get("nodeName").filter(|_| self.context.mirrors_nodes) {
            let here = json!({"key": "metadata.name", "operator": "In", "values": [node]});
            host.insert(
                "affinity".into(),
                json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchFields": [here]}],
                }}}),
            );
        }
    }

    /// The hostname of a pod with `setHostnameAsFQDN`, spelled out: the node would make it of the host's namespace. A name above the 64
    /// characters of a Linux hostname is refused by the host, as the kubelet refuses it.
    fn full_hostname(&self, host: &Map<String, Value>, spec: &Map<String, Value>) -> Option<String> {
        let as_full_name = spec.get("setHostnameAsFQDN") == Some(&Value::Bool(true));
        let subdomain = spec.get("subdomain").and_then(Value::as_str).filter(|name| !name.is_empty());
        let hostname = host.get("hostname").and_then(Value::as_str)?;
        let (namespace, domain) = (&self.origin.namespace, &self.context.cluster_domain);
        subdomain
            .filter(|_| as_full_name)
            .map(|subdomain| format!("{hostname}.{subdomain}.{namespace}.svc.{domain}"))
    }

    fn pull_secrets(&mut self, value: &Value, path: &str) -> Result<Value, Refusal> {
        let mut secrets = Vec::new();
        for (index, secret) in array(value, path)?.iter().enumerate() {
            let secret = object(Some(secret), &format!("{path}[{index}]"))?;
            only(secret, &["name"], &format!("{path}[{index}]"))?;
            // The kubelet starts a pod whose pull secret is missing, so it may be missing here.
            if let Some(name) = secret.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) {
                secrets.push(json!({"name": self.reference(DataKind::Secret, name, true)}));
            }
        }
        Ok(secrets.into())
    }

    /// Notes that the pod uses `name` and gives the name of its copy in the host.
    fn reference(&mut self, kind: DataKind, name: &str, optional: bool) -> String {
        let may_miss = self.references.entry((kind, name.to_owned())).or_insert(true);
        *may_miss &= optional;
        self.context.owner.host_name(&self.origin.namespace, name)
    }
}

/// The ephemeral containers of a nested pod, translated for the host pod's `ephemeralcontainers` subresource. References
/// in their environment go through the same rules as in any container.
///
/// # Errors
/// The first field that cannot be taken to the host.
pub fn ephemeral_containers(
    context: &Context,
    pod: &Value,
    services: &[Value],
) -> Result<Vec<Value>, Refusal> {
    let Some(list) = pod.pointer("/spec/ephemeralContainers") else { return Ok(Vec::new()) };
    let origin = Origin::of_nested(pod)
        .ok_or_else(|| Refusal::new("metadata", "the pod has no name, namespace or UID"))?;
    let mut visit = Visit {
        context,
        pod,
        services,
        origin,
        references: BTreeMap::new(),
        tokens: Vec::new(),
        files: BTreeMap::new(),
    };
    match visit.containers(list, "spec.ephemeralContainers", container::Kind::Ephemeral)? {
        Value::Array(list) => Ok(list),
        _ => Ok(Vec::new()),
    }
}

/// A pod's default hostname is its name, cut to a DNS label as the kubelet cuts it.
fn hostname(name: &str) -> &str {
    let end = name.len().min(63);
    name.get(..end).unwrap_or(name).trim_end_matches(['-', '.'])
}

fn object<'a>(value: Option<&'a Value>, path: &str) -> Result<&'a Map<String, Value>, Refusal> {
    value.and_then(Value::as_object).ok_or_else(|| Refusal::new(path, "an object is expected here"))
}

fn array<'a>(value: &'a Value, path: &str) -> Result<&'a [Value], Refusal> {
    match value {
        Value::Array(list) => Ok(list),
        Value::Null => Ok(&[]),
        _ => Err(Refusal::new(path, "a list is expected here")),
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str, path: &str) -> Result<&'a str, Refusal> {
    map.get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::new(format!("{path}.{key}"), "a string is expected here"))
}

/// Refuses the first field of `map` that is not in `known`.
fn only(map: &Map<String, Value>, known: &[&str], path: &str) -> Result<(), Refusal> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Refusal::unknown(format!("{path}.{key}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
