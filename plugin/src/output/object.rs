//! `-o json|yaml|name|wide`: the API's objects, never a shape of our own.

use crate::error::Error;
use clap::ValueEnum;
use serde_json::{Value, json};

/// The formats of `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The objects as JSON.
    Json,
    /// The objects as YAML.
    Yaml,
    /// One `resource/name` a line.
    Name,
    /// The table with more columns.
    Wide,
}

/// Text of `objects` in `format`: a single object as itself, else a `v1` List. `Wide` is not for objects and
/// gives nothing.
pub(crate) fn render(format: Format, objects: &[Value], single: bool) -> Result<String, Error> {
    if format == Format::Name {
        return Ok(objects.iter().flat_map(|object| [reference(object), "\n".to_owned()]).collect());
    }
    let document = match objects {
        [object] if single => object.clone(),
        _ => json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": objects }),
    };
    document_text(format, &document)
}

/// Any value as JSON or YAML.
pub(crate) fn document_text(format: Format, document: &Value) -> Result<String, Error> {
    match format {
        Format::Json => serde_json::to_string_pretty(document)
            .map(|text| text + "\n")
            .map_err(|error| Error::Kubeconfig(error.to_string())),
        Format::Yaml => yaml(document).map_err(Error::Kubeconfig),
        Format::Name | Format::Wide => Ok(String::new()),
    }
}

/// A value as YAML that YAML 1.1 readers, such as kubectl, understand alike.
pub(crate) fn yaml(document: &Value) -> Result<String, String> {
    // Folded scalars would break long lines of base64, which some readers do not join again.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(document, options).map_err(|error| error.to_string())
}

/// `cluster.k3k.io/dev`: how kubectl names an object in a confirmation.
pub(crate) fn reference(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_ascii_lowercase();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match object["apiVersion"].as_str().and_then(|version| version.split_once('/')) {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

/// Without the bookkeeping of server-side apply, which nobody reads.
pub(crate) fn without_managed_fields(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_is_itself_and_many_are_a_list() {
        let object = json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "metadata": {"name": "dev"}});
        let text = render(Format::Json, std::slice::from_ref(&object), true).expect("json");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("valid"), object);
        let text = render(Format::Yaml, &[object.clone(), object.clone()], false).expect("yaml");
        let list: Value = serde_saphyr::from_str(&text).expect("valid");
        assert_eq!((list["kind"].as_str(), list["items"][1].clone()), (Some("List"), object.clone()));
        assert_eq!(render(Format::Name, &[object], true).expect("name"), "cluster.k3k.io/dev\n");
    }

    #[test]
    fn strings_that_look_like_something_else_stay_strings() {
        for text in
            ["yes", "on", "1e3", "0x10", "012", "null", "~", "1.5", "2026-01-01", "", "a: b", "#x", "'q'"]
        {
            let document = json!({ "value": text });
            let back: Value = serde_saphyr::from_str(&yaml(&document).expect("yaml")).expect("valid");
            assert_eq!(back, document, "{text}");
        }
        let long = "QUJD".repeat(600);
        assert!(yaml(&json!({ "data": long })).expect("yaml").contains(&format!("data: {long}\n")));
    }
}
