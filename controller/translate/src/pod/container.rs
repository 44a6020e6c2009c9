//! Containers of all three kinds: main, init (with sidecars) and ephemeral.

use super::{Visit, array, object};
use crate::Refusal;
use serde_json::{Map, Value};

/// Which list of the pod a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Main,
    Init,
    Ephemeral,
}

impl Visit<'_> {
    pub(super) fn containers(&mut self, list: &Value, path: &str, kind: Kind) -> Result<Value, Refusal> {
        let mut containers = Vec::new();
        for (index, container) in array(list, path)?.iter().enumerate() {
            let path = format!("{path}[{index}]");
            containers.push(self.container(object(Some(container), &path)?, &path, kind)?.into());
        }
        Ok(Value::Array(containers))
    }

    fn container(
        &mut self,
        container: &Map<String, Value>,
        path: &str,
        kind: Kind,
    ) -> Result<Map<String, Value>, Refusal> {
        let mut host = Map::new();
        for (field, value) in container {
            let path = format!("{path}.{field}");
            let rewritten = match field.as_str() {
                "args"
                | "command"
                | "image"
                | "imagePullPolicy"
                | "lifecycle"
                | "livenessProbe"
                | "name"
                | "ports"
                | "readinessProbe"
                | "resizePolicy"
                | "restartPolicy"
                | "restartPolicyRules"
                | "securityContext"
                | "startupProbe"
                | "stdin"
                | "stdinOnce"
                | "terminationMessagePath"
                | "terminationMessagePolicy"
                | "tty"
                | "volumeMounts"
                | "workingDir" => value.clone(),
                "targetContainerName" if kind == Kind::Ephemeral => value.clone(),
                "resources" => resources(value, &path)?,
                "env" => self.env(value, &path)?,
                "envFrom" => self.env_from(value, &path)?,
                "volumeDevices" => return Err(Refusal::unsupported(path)),
                _ => return Err(Refusal::unknown(path)),
            };
            host.insert(field.clone(), rewritten);
        }
        self.service_environment(&mut host);
        Ok(host)
    }
}

/// Amounts are the host's as they are; claims name ResourceClaims of the nested cluster.
fn resources(value: &Value, path: &str) -> Result<Value, Refusal> {
    if value.get("claims").is_some_and(|claims| !claims.is_null()) {
        return Err(Refusal::unsupported(format!("{path}.claims")));
    }
    Ok(value.clone())
}
