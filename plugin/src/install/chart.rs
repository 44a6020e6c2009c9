//! Renders the chart's templates. They keep to a few expressions on purpose: `{{ .Values.a.b }}`,
//! `{{ .Release.Namespace }}`, `{{ .Chart.AppVersion }}`, each optionally through `toJson` or `quote`. Helm gives
//! the same text; here anything else is an error, where Helm would render something unintended or nothing.

use super::embedded;
use super::kinds;
use serde_json::Value;

/// Why the manifests cannot be rendered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// A `{{` without its `}}`.
    #[error("template {file}: an expression is not closed: {{{{{expression}")]
    Unclosed {
        /// Name of the template.
        file: String,
        /// The text after the braces.
        expression: String,
    },
    /// An expression beyond the agreed ones.
    #[error("template {file}: unknown expression {{{{ {expression} }}}}")]
    Unknown {
        /// Name of the template.
        file: String,
        /// The text between the braces.
        expression: String,
    },
    /// A path that the values do not have.
    #[error("template {file}: no value for {{{{ {expression} }}}}")]
    Missing {
        /// Name of the template.
        file: String,
        /// The text between the braces.
        expression: String,
    },
    /// The rendered text is not YAML.
    #[error("template {file} with these values is not YAML: {cause}")]
    Yaml {
        /// Name of the template.
        file: String,
        /// What the parser said.
        cause: String,
    },
    /// A kind that `install` does not know how to apply.
    #[error("template {file}: kind {kind} is unknown to install")]
    Kind {
        /// Name of the template.
        file: String,
        /// apiVersion and kind.
        kind: String,
    },
}

/// What the expressions may refer to.
pub(crate) struct Context<'a> {
    /// `.Values`.
    pub(crate) values: &'a Value,
    /// `.Release.Namespace`.
    pub(crate) namespace: &'a str,
    /// `.Chart.AppVersion`.
    pub(crate) app_version: &'a str,
}

/// All objects of the embedded templates, in the order in which they are applied.
pub(crate) fn objects(values: &Value, namespace: &str) -> Result<Vec<Value>, Error> {
    let chart = parse("Chart.yaml", embedded::CHART)?;
    let app_version = chart.first().and_then(|chart| chart["appVersion"].as_str()).unwrap_or_default();
    let context = Context { values, namespace, app_version };
    let mut objects = Vec::new();
    for (file, template) in embedded::TEMPLATES {
        objects.extend(documents(file, &render(file, template, &context)?)?);
    }
    objects.sort_by_key(kinds::rank);
    Ok(objects)
}

/// The embedded CustomResourceDefinitions.
pub(crate) fn crds() -> Result<Vec<Value>, Error> {
    let mut objects = Vec::new();
    for (file, text) in embedded::CRDS {
        objects.extend(documents(file, text)?);
    }
    Ok(objects)
}

/// The chart's default values.
pub(crate) fn defaults() -> Result<Value, Error> {
    Ok(parse("values.yaml", embedded::VALUES)?.into_iter().next().unwrap_or_default())
}

fn documents(file: &str, text: &str) -> Result<Vec<Value>, Error> {
    let objects: Vec<Value> = parse(file, text)?.into_iter().filter(|object| !object.is_null()).collect();
    for object in &objects {
        if kinds::of(object).is_none() {
            let kind = format!("{} {}", object["apiVersion"], object["kind"]).replace('"', "");
            return Err(Error::Kind { file: file.to_owned(), kind });
        }
    }
    Ok(objects)
}

fn parse(file: &str, text: &str) -> Result<Vec<Value>, Error> {
    serde_saphyr::from_multiple(text)
        .map_err(|error| Error::Yaml { file: file.to_owned(), cause: error.to_string() })
}

/// Replaces the expressions of one template.
pub(crate) fn render(file: &str, template: &str, context: &Context<'_>) -> Result<String, Error> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let Some((expression, after)) = after.split_once("}}") else {
            let expression = after.lines().next().unwrap_or_default().to_owned();
            return Err(Error::Unclosed { file: file.to_owned(), expression });
        };
        text.push_str(&evaluate(file, expression.trim(), context)?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn evaluate(file: &str, expression: &str, context: &Context<'_>) -> Result<String, Error> {
    let unknown = || Error::Unknown { file: file.to_owned(), expression: expression.to_owned() };
    let missing = || Error::Missing { file: file.to_owned(), expression: expression.to_owned() };
    let (path, function) = expression
        .split_once('|')
        .map_or((expression, None), |(path, name)| (path.trim(), Some(name.trim())));
    let value = match path {
        ".Release.Namespace" => Value::from(context.namespace),
        ".Chart.AppVersion" => Value::from(context.app_version),
        _ => {
            let path = path.strip_prefix(".Values.").ok_or_else(unknown)?;
            if path
                .split('.')
                .any(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            {
                return Err(unknown());
            }
            path.split('.')
                .try_fold(context.values, |value, key| value.get(key))
                .cloned()
                .ok_or_else(missing)?
        }
    };
    match (function, &value) {
        (None, Value::String(text)) => Ok(text.clone()),
        (None, Value::Bool(_) | Value::Number(_))
        | (Some("toJson"), _)
        | (Some("quote"), Value::String(_)) => Ok(value.to_string()),
        (Some("quote"), Value::Bool(_) | Value::Number(_)) => Ok(format!("\"{value}\"")),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn with(template: &str) -> Result<String, Error> {
        let values = json!({"a": {"b": "x: y", "n": 2, "on": true, "list": [{"k": "v"}], "map": {}}});
        render("t.yaml", template, &Context { values: &values, namespace: "sys", app_version: "1.2" })
    }

    #[rstest]
    #[case("no expression", "no expression")]
    #[case("v: {{ .Values.a.b }}!", "v: x: y!")]
    #[case("v: {{ .Values.a.b | quote }}", "v: \"x: y\"")]
    #[case("v: {{.Values.a.n}}", "v: 2")]
    #[case("v: {{ .Values.a.n | quote }}", "v: \"2\"")]
    #[case("v: {{ .Values.a.on }}", "v: true")]
    #[case("v: {{ .Values.a.list | toJson }}", "v: [{\"k\":\"v\"}]")]
    #[case("v: {{ .Values.a.map|toJson }}", "v: {}")]
    #[case("{{ .Release.Namespace }}/{{ .Chart.AppVersion }}", "sys/1.2")]
    fn agreed_expressions_are_rendered(#[case] template: &str, #[case] want: &str) {
        assert_eq!(with(template).as_deref(), Ok(want));
    }

    #[rstest]
    #[case("{{ .Values.a.c }}", "no value")]
    #[case("{{ .Values.a.map }}", "unknown expression")]
    #[case("{{ .Values.a.b | upper }}", "unknown expression")]
    #[case("{{ if .Values.a }}", "unknown expression")]
    #[case("{{ .Values.a..b }}", "unknown expression")]
    #[case("{{- .Values.a.b }}", "unknown expression")]
    #[case("{{ .Release.Name }}", "unknown expression")]
    #[case("x: {{ .Values.a", "not closed")]
    fn anything_else_is_an_error(#[case] template: &str, #[case] want: &str) {
        let error = with(template).expect_err("refused").to_string();
        assert!(error.contains(want) && error.contains("t.yaml"), "{error}");
    }

    #[test]
    fn the_embedded_manifests_render() {
        let objects = objects(&defaults().expect("values"), "k3k-system").expect("templates");
        let kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
        for kind in ["Deployment", "ClusterRole", "ValidatingWebhookConfiguration", "Service"] {
            assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
        }
        let webhook = kinds.iter().position(|kind| *kind == "ValidatingWebhookConfiguration");
        assert!(
            kinds.iter().rposition(|kind| *kind == "ClusterRole") < webhook,
            "rights come first: {kinds:?}"
        );
        for object in &objects {
            let (_, namespaced) = kinds::of(object).expect("known kind");
            let namespace = object["metadata"]["namespace"].as_str();
            assert_eq!(namespace, namespaced.then_some("k3k-system"), "{}", object["metadata"]["name"]);
        }
        assert_eq!(crds().expect("crds").len(), 2);
    }
}
