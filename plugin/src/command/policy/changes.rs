//! What a policy changes in an object, a line each.

use json_patch::PatchOperation;
use serde_json::Value;

/// The changes from `old` to `new`; fields begin with `prefix`.
pub(super) fn between(old: &Value, new: &Value, prefix: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for operation in json_patch::diff(old, new).0 {
        match operation {
            PatchOperation::Add(added) => {
                let path = added.path.to_string();
                spread("+", &field(&path, prefix), &added.value, &mut lines);
            }
            PatchOperation::Replace(replaced) => {
                let path = replaced.path.to_string();
                let before = old.pointer(&path).cloned().unwrap_or_default();
                lines.push(format!("~ {}: {before} -> {}", field(&path, prefix), replaced.value));
            }
            PatchOperation::Remove(removed) => {
                lines.push(format!("- {}", field(&removed.path.to_string(), prefix)));
            }
            PatchOperation::Move(_) | PatchOperation::Copy(_) | PatchOperation::Test(_) => {}
        }
    }
    lines
}

/// One line for each plain value that is added.
fn spread(sign: &str, field: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                spread(sign, &format!("{field}{}", step(key)), inner, lines);
            }
        }
        _ => lines.push(format!("{sign} {field}: {value}")),
    }
}

/// A JSON pointer as people write paths of fields.
fn field(pointer: &str, prefix: &str) -> String {
    let mut text = String::new();
    for part in pointer.split('/').skip(1) {
        text.push_str(&step(&part.replace("~1", "/").replace("~0", "~")));
    }
    format!("{prefix}{}", text.trim_start_matches('.'))
}

fn step(part: &str) -> String {
    let plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if number || !plain { format!("[{part}]") } else { format!(".{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_change_is_a_line() {
        let old = json!({"spec": {"containers": [{"name": "a", "imagePullPolicy": "IfNotPresent"}], "priority": 1}});
        let new = json!({"spec": {"containers": [{"name": "a", "imagePullPolicy": "Always"}],
            "nodeSelector": {"k3k.io/tenant": "a"}, "tolerations": [{"key": "k"}]}});
        assert_eq!(
            between(&old, &new, "spec.template."),
            [
                "~ spec.template.spec.containers[0].imagePullPolicy: \"IfNotPresent\" -> \"Always\"",
                "+ spec.template.spec.nodeSelector[k3k.io/tenant]: \"a\"",
                "+ spec.template.spec.tolerations: [{\"key\":\"k\"}]",
                "- spec.template.spec.priority",
            ]
        );
    }
}
