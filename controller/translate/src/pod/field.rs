//! Fields of the pod that its containers read (the downward API). The host's kubelet would answer with the host pod's
//! values; a tenant must see the nested pod's.

use super::{Visit, object, only, text};
use crate::Refusal;
use k3k_api::labels;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// What takes the place of a field reference in an environment variable.
pub(super) enum Rewritten {
    /// A value known now.
    Value(String),
    /// A reference that the host's kubelet resolves.
    Reference(Value),
    /// A key of the pod's Secret. What may change is read when a container starts, and taken literally: in a value, `$(NAME)` would be
    /// another variable.
    Secret(String),
}

pub(super) fn in_environment(visit: &mut Visit<'_>, value: &Value, path: &str) -> Result<Rewritten, Refusal> {
    let field = field_path(value, path)?;
    let spec = visit.pod.get("spec");
    Ok(match field {
        "metadata.name" => Rewritten::Value(visit.origin.name.clone()),
        "metadata.namespace" => Rewritten::Value(visit.origin.namespace.clone()),
        "metadata.uid" => Rewritten::Value(visit.origin.uid.clone()),
        "spec.nodeName" => {
            let node = spec.and_then(|spec| spec.get("nodeName")).and_then(Value::as_str);
            Rewritten::Value(node.unwrap_or(&visit.context.node_name).to_owned())
        }
        "spec.serviceAccountName" => {
            let name = spec.and_then(|spec| spec.get("serviceAccountName")).and_then(Value::as_str);
            Rewritten::Value(name.unwrap_or("default").to_owned())
        }
        "status.hostIP" | "status.hostIPs" => Rewritten::Value(visit.context.node_ip.clone()),
        "status.podIP" | "status.podIPs" => Rewritten::Reference(value.clone()),
        _ => match subscript(field) {
            Some((map @ ("metadata.labels" | "metadata.annotations"), key)) => {
                Rewritten::Secret(visit.file_of_key(map, key))
            }
            _ => return Err(Refusal::unknown(path)),
        },
    })
}

/// The items of a `downwardAPI` volume or projection, split: those that the host's kubelet fills in, and those that come from the pod's
/// Secret because the host pod would tell another truth: labels and annotations.
pub(super) struct Items {
    pub(super) downward: Vec<Value>,
    pub(super) secret: Vec<Value>,
}

pub(super) fn in_volume(visit: &mut Visit<'_>, items: &Value, path: &str) -> Result<Items, Refusal> {
    let mut split = Items { downward: Vec::new(), secret: Vec::new() };
    for (index, item) in super::array(items, path)?.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let item = object(Some(item), &path)?;
        only(item, &["fieldRef", "mode", "path", "resourceFieldRef"], &path)?;
        let mut item = item.clone();
        let Some(reference) = item.get("fieldRef").filter(|reference| !reference.is_null()) else {
            split.downward.push(item.into());
            continue;
        };
        match volume_field(visit, reference, &format!("{path}.fieldRef"))? {
            File::Host(field) => {
                item.insert("fieldRef".into(), json!({"fieldPath": field}));
                split.downward.push(item.into());
            }
            File::Secret(key) => {
                item.remove("fieldRef");
                item.insert("key".into(), key.into());
                split.secret.push(item.into());
            }
        }
    }
    Ok(split)
}

/// Longest key of a Secret.
const LONGEST_KEY: usize = 253;

/// Where a file with a field of the pod comes from.
enum File {
    /// A field path of the host pod.
    Host(String),
    /// A key of the pod's Secret.
    Secret(String),
}

fn volume_field(visit: &mut Visit<'_>, value: &Value, path: &str) -> Result<File, Refusal> {
    let field = field_path(value, path)?;
    Ok(match field {
        "metadata.name" => File::Host(annotation(labels::VIRTUAL_NAME)),
        "metadata.namespace" => File::Host(annotation(labels::VIRTUAL_NAMESPACE)),
        "metadata.uid" => File::Host(annotation(labels::VIRTUAL_UID)),
        "metadata.labels" => File::Secret(visit.file("labels", lines(visit.pod, "labels"))),
        "metadata.annotations" => File::Secret(visit.file("annotations", lines(visit.pod, "annotations"))),
        _ => match subscript(field) {
            Some((map @ ("metadata.labels" | "metadata.annotations"), key)) => {
                File::Secret(visit.file_of_key(map, key))
            }
            _ => return Err(Refusal::unknown(path)),
        },
    })
}

impl Visit<'_> {
    fn file(&mut self, key: &str, content: String) -> String {
        self.files.insert(key.to_owned(), content);
        key.to_owned()
    }

    /// The file with the value of one label or annotation.
    fn file_of_key(&mut self, map: &str, key: &str) -> String {
        let map = map.trim_start_matches("metadata.");
        self.file(&secret_key(map, key), tenant_value(self.pod, map, key))
    }
}

/// The key of a Secret for that of a label or annotation, another for each: keys of Secrets are of letters, digits, `-`, `_` and `.`, at
/// most 253 of them; those of annotations may be longer and have a slash besides.
fn secret_key(map: &str, key: &str) -> String {
    let all = format!("{map}.{}", key.replace('_', "__").replace('/', "_."));
    if all.len() <= LONGEST_KEY {
        return all;
    }
    let digest = Sha256::digest(all.as_bytes());
    // Nothing above makes a `_-`.
    let cut: String = all.chars().take(LONGEST_KEY / 2).collect();
    digest.iter().take(16).fold(cut + "_-", |text, byte| text + &format!("{byte:02x}"))
}

/// A whole map as the downward API writes it: `key="value"`, sorted, the value quoted as Go quotes it.
fn lines(pod: &Value, map: &str) -> String {
    let values = pod.pointer(&format!("/metadata/{map}")).and_then(Value::as_object);
    let mut lines: Vec<String> = values
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quoted(value.as_str().unwrap_or_default())))
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// `text` in double quotes, with the escapes of Go's `strconv.Quote` for what labels and annotations may hold.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn annotation(key: &str) -> String {
    format!("metadata.annotations['{key}']")
}

fn tenant_value(pod: &Value, map: &str, key: &str) -> String {
    let values = pod.pointer(&format!("/metadata/{map}")).and_then(Value::as_object);
    values.and_then(|values| values.get(key)).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn field_path<'a>(value: &'a Value, path: &str) -> Result<&'a str, Refusal> {
    let map: &Map<String, Value> = object(Some(value), path)?;
    only(map, &["apiVersion", "fieldPath"], path)?;
    text(map, "fieldPath", path)
}

/// `metadata.labels['key']` as (`metadata.labels`, `key`).
fn subscript(field: &str) -> Option<(&str, &str)> {
    let (map, rest) = field.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn maps_are_written_as_the_downward_api_writes_them() {
        let pod = json!({"metadata": {"annotations": {"b": "two\nlines", "a.io/x": "say \"hi\"\u{1}"}}});
        assert_eq!(lines(&pod, "annotations"), "a.io/x=\"say \\\"hi\\\"\\x01\"\nb=\"two\\nlines\"");
        assert_eq!(lines(&pod, "labels"), "");
    }

    #[test]
    fn every_annotation_has_a_key_of_its_own() {
        let long = "x".repeat(300);
        let keys =
            ["note", "a/b", "a_.b", "a_/b", "a__.b", "a/_b", &format!("{long}/a"), &format!("{long}/b")]
                .map(|key| secret_key("annotations", key));
        assert_eq!(keys[0], "annotations.note");
        for key in &keys {
            let is_valid = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
            assert!(key.len() <= LONGEST_KEY && key.chars().all(is_valid), "{key}");
        }
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "{keys:?}");
    }
}
