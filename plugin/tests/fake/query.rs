//! What a request asks for besides its path, and what a patch does.

use axum::http::Uri;
use serde_json::{Value, json};

#[derive(Clone, Default)]
pub(super) struct Query {
    pub(super) watch: bool,
    pub(super) name: Option<String>,
    pub(super) labels: Vec<(String, Option<String>)>,
    limit: Option<usize>,
    first: usize,
}

impl Query {
    pub(super) fn parse(uri: &Uri) -> Self {
        let mut query = Self::default();
        for pair in uri.query().unwrap_or_default().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace("%3D", "=").replace("%2F", "/").replace("%2C", ",");
            match key {
                "watch" => query.watch = value == "true",
                "limit" => query.limit = value.parse().ok(),
                "continue" => query.first = value.parse().unwrap_or_default(),
                "fieldSelector" => query.name = value.strip_prefix("metadata.name=").map(str::to_owned),
                "labelSelector" => {
                    query.labels = value
                        .split(',')
                        .filter(|part| !part.is_empty())
                        .map(|part| match part.split_once('=') {
                            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                            None => (part.to_owned(), None),
                        })
                        .collect();
                }
                _ => {}
            }
        }
        query
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.name.as_deref().is_none_or(|name| object["metadata"]["name"] == name)
            && self.labels.iter().all(|(key, value)| match value {
                Some(value) => labels[key] == value.as_str(),
                None => !labels[key].is_null(),
            })
    }

    /// One page of a list, and where the next begins, if there is more.
    pub(super) fn page<'a>(&self, items: &'a [&'a Value]) -> (&'a [&'a Value], String) {
        let rest = &items[self.first.min(items.len())..];
        match self.limit {
            Some(limit) if limit > 0 && limit < rest.len() => {
                (&rest[..limit], (self.first + limit).to_string())
            }
            _ => (rest, String::new()),
        }
    }
}

/// A JSON merge patch (RFC 7396).
pub(super) fn merge(object: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            object.as_object_mut().expect("an object").remove(key);
        } else {
            merge(&mut object[key], value);
        }
    }
}
