//! What the API server wants said, and the corpus has no need to say.

use serde_json::{Value, json};

/// `object` with what its kind requires.
pub(crate) fn complete(mut object: Value, resource: &str) -> Value {
    match resource {
        "pods" => pod(&mut object["spec"]),
        "podtemplates" => {
            template(&mut object["template"], None);
        }
        "replicationcontrollers" => {
            let labels = template(&mut object["spec"]["template"], None);
            object["spec"]["selector"] = labels;
        }
        "deployments" | "statefulsets" | "daemonsets" | "replicasets" => {
            let labels = template(&mut object["spec"]["template"], None);
            object["spec"]["selector"] = json!({"matchLabels": labels});
            for claim in list(&mut object["spec"], "volumeClaimTemplates") {
                self::claim(&mut claim["spec"]);
            }
        }
        "jobs" => {
            template(&mut object["spec"]["template"], Some("Never"));
        }
        "cronjobs" => {
            fill(&mut object["spec"], "schedule", json!("0 0 * * *"));
            template(&mut object["spec"]["jobTemplate"]["spec"]["template"], Some("Never"));
        }
        "persistentvolumeclaims" => claim(&mut object["spec"]),
        "ingresses" => {
            for rule in list(&mut object["spec"], "rules") {
                if let Some(http) = rule.get_mut("http") {
                    if http["paths"].as_array().is_some_and(Vec::is_empty) {
                        http["paths"] = json!([{"path": "/", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]);
                    }
                    for path in list(http, "paths") {
                        fill(path, "pathType", json!("Prefix"));
                    }
                }
            }
        }
        _ => {}
    }
    object
}

/// Fills in a template, and says what its labels are.
fn template(template: &mut Value, restart: Option<&str>) -> Value {
    if template["metadata"]["labels"].as_object().is_none_or(serde_json::Map::is_empty) {
        template["metadata"]["labels"] = json!({"app": "tried"});
    }
    if let Some(restart) = restart {
        fill(&mut template["spec"], "restartPolicy", json!(restart));
    }
    pod(&mut template["spec"]);
    template["metadata"]["labels"].clone()
}

fn pod(spec: &mut Value) {
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        spec["containers"] = json!([{"name": "main", "image": "i"}]);
    }
    // A token is of an account, which another part of the API server would fill in.
    let has_token = list(spec, "volumes").any(|volume| {
        let sources = volume.pointer("/projected/sources").and_then(Value::as_array);
        sources
            .is_some_and(|sources| sources.iter().any(|source| source.get("serviceAccountToken").is_some()))
    });
    if has_token {
        fill(spec, "serviceAccountName", json!("default"));
    }
    for volume in list(spec, "volumes") {
        if let Some(ephemeral) = volume.get_mut("ephemeral") {
            claim(&mut ephemeral["volumeClaimTemplate"]["spec"]);
        }
    }
}

fn claim(spec: &mut Value) {
    fill(spec, "accessModes", json!(["ReadWriteOnce"]));
    fill(spec, "resources", json!({"requests": {"storage": "1Gi"}}));
}

/// What a pod has to say so that it can be resized.
pub(crate) fn resizable(pod: &mut Value) {
    for container in list(&mut pod["spec"], "containers") {
        fill(&mut container["resources"], "requests", json!({"cpu": "1m", "memory": "1Mi"}));
    }
}

fn fill(object: &mut Value, key: &str, value: Value) {
    if object[key].is_null() {
        object[key] = value;
    }
}

fn list<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}
