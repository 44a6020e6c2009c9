//! Environment variables: references by name, fields of the pod, and where the nested API is.

use super::{Visit, array, field, object, only, text};
use crate::Refusal;
use crate::data::DataKind;
use serde_json::{Map, Value, json};

impl Visit<'_> {
    pub(super) fn env(&mut self, list: &Value, path: &str) -> Result<Value, Refusal> {
        let mut variables = Vec::new();
        for (index, variable) in array(list, path)?.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let variable = object(Some(variable), &path)?;
            only(variable, &["name", "value", "valueFrom"], &path)?;
            variables.push(match variable.get("valueFrom") {
                None | Some(Value::Null) => Value::Object(variable.clone()),
                Some(source) => {
                    self.env_source(text(variable, "name", &path)?, source, &format!("{path}.valueFrom"))?
                }
            });
        }
        Ok(variables.into())
    }

    fn env_source(&mut self, name: &str, source: &Value, path: &str) -> Result<Value, Refusal> {
        let source = object(Some(source), path)?;
        let mut host = Map::new();
        for (kind, value) in source {
            let path = format!("{path}.{kind}");
            match kind.as_str() {
                "configMapKeyRef" => {
                    drop(host.insert(kind.clone(), self.key_reference(DataKind::ConfigMap, value, &path)?));
                }
                "secretKeyRef" => {
                    drop(host.insert(kind.clone(), self.key_reference(DataKind::Secret, value, &path)?));
                }
                "resourceFieldRef" => drop(host.insert(kind.clone(), value.clone())),
                "fieldRef" => match field::in_environment(self, value, &path)? {
                    field::Rewritten::Value(value) => return Ok(json!({"name": name, "value": value})),
                    field::Rewritten::Reference(value) => drop(host.insert(kind.clone(), value)),
                },
                "fileKeyRef" => return Err(Refusal::unsupported(path)),
                _ => return Err(Refusal::unknown(path)),
            }
        }
        Ok(json!({"name": name, "valueFrom": host}))
    }

    fn key_reference(&mut self, kind: DataKind, value: &Value, path: &str) -> Result<Value, Refusal> {
        let map = object(Some(value), path)?;
        only(map, &["name", "key", "optional"], path)?;
        self.named(kind, map, path, "name")
    }

    pub(super) fn env_from(&mut self, list: &Value, path: &str) -> Result<Value, Refusal> {
        let mut sources = Vec::new();
        for (index, source) in array(list, path)?.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let mut host = Map::new();
            for (field, value) in object(Some(source), &path)? {
                let path = format!("{path}.{field}");
                let kind = match field.as_str() {
                    "prefix" => {
                        host.insert(field.clone(), value.clone());
                        continue;
                    }
                    "configMapRef" => DataKind::ConfigMap,
                    "secretRef" => DataKind::Secret,
                    _ => return Err(Refusal::unknown(path)),
                };
                let map = object(Some(value), &path)?;
                only(map, &["name", "optional"], &path)?;
                host.insert(field.clone(), self.named(kind, map, &path, "name")?);
            }
            sources.push(host.into());
        }
        Ok(Value::Array(sources))
    }

    /// `map` with the name under `key` replaced by the copy's.
    pub(super) fn named(
        &mut self,
        kind: DataKind,
        map: &Map<String, Value>,
        path: &str,
        key: &str,
    ) -> Result<Value, Refusal> {
        let optional = map.get("optional").and_then(Value::as_bool).unwrap_or(false);
        let mut host = map.clone();
        host.insert(key.to_owned(), self.reference(kind, text(map, key, path)?, optional).into());
        Ok(host.into())
    }

    /// Points a container at the nested API. The host's kubelet would otherwise fill these in with its own API; a
    /// variable that the tenant has set stays the tenant's.
    pub(super) fn api_environment(&self, container: &mut Map<String, Value>) {
        let ip = &self.context.server_ip;
        let ours = [
            ("KUBERNETES_SERVICE_HOST", ip.clone()),
            ("KUBERNETES_SERVICE_PORT", "443".to_owned()),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "443".to_owned()),
            ("KUBERNETES_PORT", format!("tcp://{ip}:443")),
            ("KUBERNETES_PORT_443_TCP", format!("tcp://{ip}:443")),
            ("KUBERNETES_PORT_443_TCP_ADDR", ip.clone()),
            ("KUBERNETES_PORT_443_TCP_PORT", "443".to_owned()),
            ("KUBERNETES_PORT_443_TCP_PROTO", "tcp".to_owned()),
        ];
        let env = container.entry("env").or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(env) = env else { return };
        // In front, so that the tenant's own variables may refer to them.
        let missing: Vec<Value> = ours
            .into_iter()
            .filter(|(name, _)| !env.iter().any(|variable| variable["name"] == *name))
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        env.splice(0..0, missing);
    }
}
