//! The chart's objects, rendered with its default values by the few rules that its templates keep to:
//! `{{ .Values.a.b }}`, `{{ .Release.Namespace }}` and `{{ .Chart.AppVersion }}`, as they are or through `toJson` or
//! `quote`.

use crate::{ApiServer, lab, workspace};
use anyhow::{Context, Result, bail};
use k3k_api::managers;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Every object of the chart but the CRDs, as the templates have them, for namespace `namespace`.
pub fn objects(namespace: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for (name, template) in templates()? {
        if Path::new(&name).extension().is_some_and(|extension| extension == "yaml") {
            let text = render(&template, namespace).with_context(|| name.clone())?;
            objects.extend(
                serde_saphyr::from_multiple::<Value>(&text).with_context(|| format!("{name}:\n{text}"))?,
            );
        }
    }
    Ok(objects.into_iter().filter(|object: &Value| !object.is_null()).collect())
}

/// The same, with the webhook at `port` of this machine instead of behind a Service: nothing routes Services beside a lone API server.
pub fn objects_with_webhook_at(namespace: &str, port: u16) -> Result<Vec<Value>> {
    let mut objects = objects(namespace)?;
    for object in &mut objects {
        for webhook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
            let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap_or_default().to_owned();
            webhook["clientConfig"] = json!({"url": format!("https://localhost:{port}{path}")});
        }
    }
    Ok(objects)
}

/// An API server with k3k's CRDs, and `namespace` for the chart.
pub async fn host(namespace: &str) -> Result<ApiServer> {
    let server = ApiServer::start().await?;
    lab::succeed(server.kubectl()?.args(["create", "namespace", namespace]))?;
    lab::succeed(server.kubectl()?.arg("apply").arg("-f").arg(workspace::path("manifests/crds")))?;
    Ok(server)
}

/// Applies objects of the chart as `kubectl k3k install` does.
pub fn apply(server: &ApiServer, objects: &[Value]) -> Result<()> {
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    serde_json::to_writer(&file, &json!({"apiVersion": "v1", "kind": "List", "items": objects}))?;
    let mut command = server.kubectl()?;
    command.args(["apply", "--server-side", "--field-manager", managers::INSTALL, "-f"]).arg(file.path());
    lab::succeed(&mut command).map(drop)
}

/// Name and text of every template, sorted by name.
pub fn templates() -> Result<Vec<(String, String)>> {
    let folder = workspace::path("manifests/chart/templates");
    let mut templates = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            templates.push((name, fs::read_to_string(&path)?));
        }
    }
    templates.sort();
    Ok(templates)
}

/// A YAML file of the chart.
pub fn file(name: &str) -> Result<Value> {
    let text = fs::read_to_string(workspace::path("manifests/chart").join(name))?;
    serde_saphyr::from_str(&text).with_context(|| name.to_owned())
}

/// Replaces the expressions of one template.
pub fn render(template: &str, namespace: &str) -> Result<String> {
    let context = json!({
        "Values": file("values.yaml")?,
        "Chart": {"AppVersion": file("Chart.yaml")?["appVersion"]},
        "Release": {"Namespace": namespace},
    });
    let mut pieces = template.split("{{");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (expression, rest) = piece.split_once("}}").context("an expression is not closed")?;
        text += &evaluate(expression.trim(), &context)?;
        text += rest;
    }
    Ok(text)
}

fn evaluate(expression: &str, context: &Value) -> Result<String> {
    let (path, function) = match expression.split_once(" | ") {
        Some((path, function)) => (path, Some(function)),
        None => (expression, None),
    };
    let keys = path.strip_prefix('.').with_context(|| format!("{expression:?} does not begin with a dot"))?;
    let value = keys.split('.').try_fold(context, |value, key| value.get(key));
    let value = value.with_context(|| format!("{expression:?}: there is no such value"))?;
    Ok(match (function, value) {
        (None, Value::String(text)) => text.clone(),
        (None, Value::Bool(_) | Value::Number(_))
        | (Some("toJson"), _)
        | (Some("quote"), Value::String(_)) => value.to_string(),
        (Some("quote"), Value::Bool(_) | Value::Number(_)) => format!("\"{value}\""),
        _ => bail!("{expression:?} is not one of the few that templates may use"),
    })
}
