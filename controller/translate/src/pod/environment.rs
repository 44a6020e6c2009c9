//! Environment variables: references by name, fields of the pod, and where the nested API is.

use super::{Visit, array, field, object, only, pod_secret, text};
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
                    field::Rewritten::Secret(key) => {
                        let reference = json!({"name": pod_secret(&self.origin.uid), "key": key});
                        host.insert("secretKeyRef".into(), reference);
                    }
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

    /// The variables that a kubelet adds: where the API is, and the Services of the pod's namespace. Those of the host, which its kubelet
    /// would add, are about another cluster. What the tenant has set stays the tenant's.
    pub(super) fn service_environment(&self, container: &mut Map<String, Value>) {
        let mut ours = service_variables("kubernetes", &self.context.server_ip, &api_ports());
        if self.pod.pointer("/spec/enableServiceLinks") != Some(&Value::Bool(false)) {
            for service in self.services {
                ours.extend(links(service));
            }
        }
        let env = container.entry("env").or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(env) = env else { return };
        // In front, so that the tenant's own variables may refer to them.
        let missing: Vec<Value> = ours
            .into_iter()
            .filter(|(name, _)| !env.iter().any(|variable| variable["name"] == name.as_str()))
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        env.splice(0..0, missing);
    }
}

fn api_ports() -> Vec<Value> {
    vec![json!({"name": "https", "port": 443, "protocol": "TCP"})]
}

/// The variables of a Service of the pod's namespace. None for one without an address of its own, nor for the API's, which is set in
/// any case.
fn links(service: &Value) -> Vec<(String, String)> {
    let text = |pointer: &str| service.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (name, namespace, ip) =
        (text("/metadata/name"), text("/metadata/namespace"), text("/spec/clusterIP"));
    if ip.is_empty() || ip == "None" || (namespace, name) == ("default", "kubernetes") {
        return Vec::new();
    }
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
    service_variables(name, ip, &ports)
}

/// `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT[_PORT-NAME]` and the older `NAME_PORT_…` ones, as documented under "Environment variables" of
/// Services.
fn service_variables(name: &str, ip: &str, ports: &[Value]) -> Vec<(String, String)> {
    let shout = |text: &str| text.replace('-', "_").to_ascii_uppercase();
    let address = |ip: &str| if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let name = shout(name);
    let number = |port: &Value| port["port"].as_u64().unwrap_or_default();
    let mut variables = vec![(format!("{name}_SERVICE_HOST"), ip.to_owned())];
    let Some(first) = ports.first() else { return variables };
    variables.push((format!("{name}_SERVICE_PORT"), number(first).to_string()));
    for port in ports {
        if let Some(port_name) = port["name"].as_str().filter(|name| !name.is_empty()) {
            variables.push((format!("{name}_SERVICE_PORT_{}", shout(port_name)), number(port).to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let url = format!("{}://{}:{}", protocol.to_ascii_lowercase(), address(ip), number(port));
        if index == 0 {
            variables.push((format!("{name}_PORT"), url.clone()));
        }
        let prefix = format!("{name}_PORT_{}_{}", number(port), protocol.to_ascii_uppercase());
        variables.push((format!("{prefix}_PROTO"), protocol.to_ascii_lowercase()));
        variables.push((format!("{prefix}_PORT"), number(port).to_string()));
        variables.push((format!("{prefix}_ADDR"), ip.to_owned()));
        variables.push((prefix, url));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_announced_as_a_kubelet_does() {
        let service = json!({"metadata": {"name": "my-db", "namespace": "shop"}, "spec": {"clusterIP": "10.96.5.5", "ports": [
            {"name": "sql", "port": 5432, "protocol": "TCP"}, {"name": "stats-udp", "port": 9999, "protocol": "UDP"},
        ]}});
        let variables: Vec<String> =
            links(&service).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            variables,
            [
                "MY_DB_SERVICE_HOST=10.96.5.5",
                "MY_DB_SERVICE_PORT=5432",
                "MY_DB_SERVICE_PORT_SQL=5432",
                "MY_DB_SERVICE_PORT_STATS_UDP=9999",
                "MY_DB_PORT=tcp://10.96.5.5:5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_ADDR=10.96.5.5",
                "MY_DB_PORT_5432_TCP=tcp://10.96.5.5:5432",
                "MY_DB_PORT_9999_UDP_PROTO=udp",
                "MY_DB_PORT_9999_UDP_PORT=9999",
                "MY_DB_PORT_9999_UDP_ADDR=10.96.5.5",
                "MY_DB_PORT_9999_UDP=udp://10.96.5.5:9999",
            ]
        );
        let headless = json!({"metadata": {"name": "x", "namespace": "shop"}, "spec": {"clusterIP": "None"}});
        assert!(links(&headless).is_empty());
    }
}
