//! Ingresses: a tenant's way in from outside, served by the host's ingress controllers.

use crate::copy::Desired;
use crate::{Origin, Owner, Refusal};
use k3k_api::labels::is_reserved;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What the host's administrator lets Ingresses do.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Annotations that are taken over: names, or domains as `example.com/*`.
    pub annotations: Vec<String>,
    /// The classes that may be named; any when absent.
    pub classes: Option<BTreeSet<String>>,
    /// TLS Secrets are the host's, under the names that the tenant gives.
    pub host_secrets: bool,
}

/// The old way to name a class.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// Annotations of these domains are notes for the nested cluster's own tools.
const NOTES: [&str; 2] = ["kubectl.kubernetes.io/", "meta.helm.sh/"];
/// Our own Secrets in the host begin so.
const OURS: &str = "k3k-";

/// What the host fills in when the tenant does not say it: its default class.
pub const HOST_FILLS: [&str; 1] = ["ingressClassName"];

/// The host's Ingress for a nested one.
///
/// # Errors
/// A field that cannot be judged, a class that is not offered, a backend that is not a Service.
pub fn translate(owner: &Owner, rules: &Rules, nested: &Value) -> Result<Desired, Refusal> {
    let origin = Origin::of_nested(nested)
        .ok_or_else(|| Refusal::new("metadata", "the ingress has no name, namespace or UID"))?;
    let mut visit = Visit { owner, rules, origin: &origin, secrets: BTreeSet::new() };
    let mut spec = Map::new();
    for (field, value) in object(&nested["spec"], "spec")? {
        let path = format!("spec.{field}");
        let rewritten = match field.as_str() {
            _ if value.is_null() => continue,
            "ingressClassName" => visit.class(value, &path)?,
            "defaultBackend" => visit.backend(value, &path)?,
            "rules" => visit.each(value, &path, Visit::rule)?,
            "tls" => visit.each(value, &path, Visit::tls)?,
            _ => return Err(Refusal::unknown(path)),
        };
        spec.insert(field.clone(), rewritten);
    }
    let secrets = visit.secrets.into_iter().collect();
    let mut metadata = owner.metadata(&origin, None);
    let mut left_out = Vec::new();
    for (key, value) in nested["metadata"]["annotations"].as_object().into_iter().flatten() {
        if is_allowed(rules, key) {
            metadata["annotations"][key] = value.clone();
        } else if !is_reserved(key) && !NOTES.iter().any(|domain| key.starts_with(domain)) {
            let why = if key == CLASS_ANNOTATION {
                "name the class in spec.ingressClassName instead"
            } else {
                "this annotation does not reach the host, where it could direct its controllers; its administrator may allow it in spec.sync.ingresses.allowedAnnotations"
            };
            left_out.push(Refusal::new(format!("metadata.annotations[{key}]"), why));
        }
    }
    let object =
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec});
    Ok(Desired::Copy { object, left_out, secrets })
}

/// Names of the host Secrets that a host's Ingress uses.
pub fn host_secrets(host: &Value) -> BTreeSet<String> {
    let tls = host["spec"]["tls"].as_array().into_iter().flatten();
    tls.filter_map(|entry| entry["secretName"].as_str().map(str::to_owned)).collect()
}

/// Where the host serves a nested Ingress, as a merge patch of the nested status; `None` if it says so already.
pub fn told_status(nested: &Value, host: &Value) -> Option<Value> {
    let of = |ingress: &Value| match &ingress["status"]["loadBalancer"]["ingress"] {
        Value::Array(list) if !list.is_empty() => json!(list),
        _ => Value::Null,
    };
    (of(nested) != of(host)).then(|| json!({"status": {"loadBalancer": {"ingress": of(host)}}}))
}

fn is_allowed(rules: &Rules, key: &str) -> bool {
    let allows = |allowed: &String| match allowed.strip_suffix('*') {
        Some(domain) => domain.ends_with('/') && key.starts_with(domain),
        None => allowed == key,
    };
    // The class is judged where it is named.
    !is_reserved(key) && key != CLASS_ANNOTATION && rules.annotations.iter().any(allows)
}

struct Visit<'a> {
    owner: &'a Owner,
    rules: &'a Rules,
    origin: &'a Origin,
    secrets: BTreeSet<String>,
}

impl Visit<'_> {
    fn each(
        &mut self,
        list: &Value,
        path: &str,
        one: fn(&mut Self, &Value, &str) -> Result<Value, Refusal>,
    ) -> Result<Value, Refusal> {
        let Value::Array(list) = list else { return Err(Refusal::new(path, "a list is expected here")) };
        let all = list.iter().enumerate().map(|(index, value)| one(self, value, &format!("{path}[{index}]")));
        all.collect::<Result<Vec<_>, _>>().map(Value::from)
    }

    fn class(&self, value: &Value, path: &str) -> Result<Value, Refusal> {
        let name = value.as_str().unwrap_or_default();
        match &self.rules.classes {
            Some(offered) if !offered.contains(name) => {
                Err(Refusal::new(path, format!("the host offers no ingress class {name:?}")))
            }
            _ => Ok(value.clone()),
        }
    }

    fn rule(&mut self, rule: &Value, path: &str) -> Result<Value, Refusal> {
        let mut host = Map::new();
        for (field, value) in object(rule, path)? {
            let rewritten = match field.as_str() {
                "host" => value.clone(),
                "http" => {
                    let paths = only(value, &["paths"], &format!("{path}.http"))?;
                    let paths = paths.get("paths").unwrap_or(&Value::Null);
                    json!({"paths": self.each(paths, &format!("{path}.http.paths"), Self::path)?})
                }
                _ => return Err(Refusal::unknown(format!("{path}.{field}"))),
            };
            host.insert(field.clone(), rewritten);
        }
        Ok(host.into())
    }

    fn path(&mut self, value: &Value, path: &str) -> Result<Value, Refusal> {
        let mut host = only(value, &["path", "pathType", "backend"], path)?.clone();
        host.insert("backend".into(), self.backend(&value["backend"], &format!("{path}.backend"))?);
        Ok(host.into())
    }

    fn backend(&mut self, value: &Value, path: &str) -> Result<Value, Refusal> {
        if !value["resource"].is_null() {
            let why = "only Services can be backends: other objects are not copied to the host";
            return Err(Refusal::new(format!("{path}.resource"), why));
        }
        only(value, &["service", "resource"], path)?;
        let path = format!("{path}.service");
        let mut service = only(&value["service"], &["name", "port"], &path)?.clone();
        let name = value["service"]["name"].as_str().unwrap_or_default();
        service.insert("name".into(), self.owner.host_name(&self.origin.namespace, name).into());
        Ok(json!({"service": service}))
    }

    fn tls(&mut self, value: &Value, path: &str) -> Result<Value, Refusal> {
        let mut host = only(value, &["hosts", "secretName"], path)?.clone();
        let Some(name) = value["secretName"].as_str().filter(|name| !name.is_empty()) else {
            return Ok(host.into());
        };
        if !self.rules.host_secrets {
            self.secrets.insert(name.to_owned());
            host.insert("secretName".into(), self.owner.host_name(&self.origin.namespace, name).into());
        } else if name.starts_with(OURS) {
            let why = "Secrets of this name are k3k's own in the host";
            return Err(Refusal::new(format!("{path}.secretName"), why));
        }
        Ok(host.into())
    }
}

fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Map<String, Value>, Refusal> {
    value.as_object().ok_or_else(|| Refusal::new(path, "an object is expected here"))
}

/// The object, if it has no field but these.
fn only<'a>(value: &'a Value, known: &[&str], path: &str) -> Result<&'a Map<String, Value>, Refusal> {
    let map = object(value, path)?;
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Refusal::unknown(format!("{path}.{key}"))),
        None => Ok(map),
    }
}

#[cfg(test)]
mod tests;
