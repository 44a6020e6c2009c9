//! The chart's values as the flags of `install` change them.

use crate::cli::InstallArgs;
use crate::error::Error;
use serde_json::{Map, Value};

/// The defaults with the flags applied; `--set` comes last.
pub(crate) fn from_flags(mut values: Value, args: &InstallArgs) -> Result<Value, Error> {
    if let Some(image) = &args.image {
        let (registry, repository, tag) = split_image(image)?;
        set(&mut values, "image.registry", registry.into())?;
        set(&mut values, "image.repository", repository.into())?;
        if let Some(tag) = tag {
            set(&mut values, "image.tag", tag.into())?;
        }
    }
    if let Some(policy) = &args.image_pull_policy {
        set(&mut values, "image.pullPolicy", policy.as_str().into())?;
    }
    if let Some(image) = &args.server_image {
        set(&mut values, "serverImage", image.as_str().into())?;
    }
    for assignment in &args.set {
        let (path, text) = assignment.split_once('=').ok_or_else(|| {
            Error::usage_hint(format!("--set {assignment}: no value"), "--set webhook.replicas=1")
        })?;
        let known = path.split('.').try_fold(&values, |value, key| value.get(key));
        let value = typed(path, text, known)?;
        set(&mut values, path, value)?;
    }
    Ok(values)
}

/// The text as a value of the type that the chart has there, so that a tag such as `1.10` stays a text.
fn typed(path: &str, text: &str, known: Option<&Value>) -> Result<Value, Error> {
    let parsed = || serde_json::from_str::<Value>(text).ok();
    let (value, what) = match known {
        None => return Err(unknown(path)),
        Some(Value::String(_)) => (Some(Value::from(text)), "a text"),
        Some(Value::Bool(_)) => (parsed().filter(Value::is_boolean), "true or false"),
        Some(Value::Number(_)) => (parsed().filter(Value::is_number), "a number"),
        Some(Value::Array(_)) => (parsed().filter(Value::is_array), "a list in JSON"),
        Some(Value::Object(_)) => (parsed().filter(Value::is_object), "an object in JSON"),
        Some(Value::Null) => (Some(parsed().unwrap_or_else(|| Value::from(text))), "a value"),
    };
    value.ok_or_else(|| Error::usage(format!("--set {path}: \"{text}\" is not {what}")))
}

fn unknown(path: &str) -> Error {
    Error::usage_hint(
        format!("--set {path}: the chart has no such value"),
        "kubectl k3k install --help, and manifests/chart/values.yaml for all values",
    )
}

fn set(values: &mut Value, path: &str, value: Value) -> Result<(), Error> {
    let mut place = values;
    for key in path.split('.') {
        place = place
            .as_object_mut()
            .and_then(|map: &mut Map<String, Value>| map.get_mut(key))
            .ok_or_else(|| unknown(path))?;
    }
    *place = value;
    Ok(())
}

/// Registry, repository and tag. Without a registry it is Docker Hub's, as everywhere.
fn split_image(image: &str) -> Result<(&str, &str, Option<&str>), Error> {
    let wrong = |why: &str| {
        Error::usage_hint(format!("--image {image}: {why}"), "--image registry.example.com/k3k:v0.1.0")
    };
    if image.contains('@') {
        return Err(wrong("a digest is not supported here, give a tag"));
    }
    let (name, tag) = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    };
    let good = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace) && !text.contains('"');
    if !good(name) || !tag.is_none_or(good) {
        return Err(wrong("not an image"));
    }
    match name.split_once('/') {
        Some((registry, repository)) if registry.contains(['.', ':']) || registry == "localhost" => {
            Ok((registry, repository, tag))
        }
        _ => Ok(("docker.io", name, tag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;
    use rstest::rstest;
    use serde_json::json;

    fn values(flags: &[&str]) -> Result<Value, Error> {
        let defaults = json!({
            "image": {"registry": "ghcr.io", "repository": "k3k-io/k3k", "tag": "0.1.0", "pullPolicy": "IfNotPresent"},
            "serverImage": "rancher/k3s", "webhook": {"replicas": 2}, "imagePullSecrets": [],
        });
        let mut line = vec!["kubectl-k3k", "install"];
        line.extend_from_slice(flags);
        let cli = Cli::try_parse_from(line).expect("flags");
        let Some(Command::Install(args)) = cli.command else { panic!("install") };
        from_flags(defaults, &args)
    }

    #[test]
    fn flags_reach_their_values() {
        let made = values(&[
            "--image=reg:5000/a/k3k:v1",
            "--image-pull-policy=Never",
            "--server-image=reg/k3s",
            "--set=webhook.replicas=1",
            "--set",
            "imagePullSecrets=[{\"name\":\"x\"}]",
            "--set=image.tag=1.10",
        ])
        .expect("values");
        assert_eq!(
            made,
            json!({
                "image": {"registry": "reg:5000", "repository": "a/k3k", "tag": "1.10", "pullPolicy": "Never"},
                "serverImage": "reg/k3s", "webhook": {"replicas": 1}, "imagePullSecrets": [{"name": "x"}],
            })
        );
        assert_eq!(values(&["--image=k3k"]).expect("values")["image"]["registry"], "docker.io");
    }

    #[rstest]
    #[case("--set=webhook.replica=1", "no such value")]
    #[case("--set=webhook.replicas=two", "not a number")]
    #[case("--set=webhook", "no value")]
    #[case("--set=image.tag.x=1", "no such value")]
    #[case("--image=a@sha256:00", "digest")]
    #[case("--image=", "not an image")]
    fn wrong_flags_are_usage_errors(#[case] flag: &str, #[case] want: &str) {
        let error = values(&[flag]).expect_err("refused");
        assert_eq!(error.exit().code(), 2);
        assert!(error.to_string().contains(want), "{error}");
    }
}
