//! Manifests on this machine: files, directories and stdin, documents and lists.

use crate::error::Error;
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Endings of files that are read from a directory.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// One object of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    /// The file.
    pub(crate) file: String,
    /// Which document of the file, from 1.
    pub(crate) number: usize,
    /// The object.
    pub(crate) object: Value,
}

/// How a path is called in messages.
pub(crate) fn shown(path: &Path) -> String {
    if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() }
}

/// Reads the one object that a file has, of this kind.
///
/// # Errors
/// A usage error that names the file.
pub(crate) fn one(path: &Path, api_version: &str, kind: &str) -> Result<Value, Error> {
    let mut documents = documents(path)?;
    if documents.len() != 1 {
        return Err(wrong(path, &format!("{} objects; one {kind} is expected", documents.len())));
    }
    let document = documents.remove(0);
    if document["kind"] != kind || document["apiVersion"] != api_version {
        return Err(wrong(path, &format!("not a {kind} of {api_version}")));
    }
    let good = |key: &str| document.get(key).is_none_or(Value::is_object);
    if !good("metadata") || !good("spec") {
        return Err(wrong(path, "metadata and spec must be maps"));
    }
    Ok(document)
}

/// Reads every object of files and directories; the items of lists are objects of their own.
///
/// # Errors
/// A usage error that names the file and the document.
pub(crate) fn all(paths: &[PathBuf], recursive: bool) -> Result<Vec<Document>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            folder(path, recursive, &mut files)?;
            if files.len() == before {
                return Err(wrong(path, "no .yaml, .yml or .json file in this directory"));
            }
        } else {
            files.push(path.clone());
        }
    }
    let mut objects = Vec::new();
    for file in files {
        for (index, document) in documents(&file)?.into_iter().enumerate() {
            expand(&file, index + 1, document, &mut objects)?;
        }
    }
    if objects.is_empty() {
        return Err(Error::usage("there is no object in these files"));
    }
    Ok(objects)
}

fn folder(path: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |error: std::io::Error| wrong(path, &error.to_string());
    let mut entries = std::fs::read_dir(path)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
        })
        .map_err(failed)?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            if recursive {
                folder(&entry, recursive, files)?;
            }
        } else if entry.extension().is_some_and(|extension| ENDINGS.iter().any(|ending| extension == *ending))
        {
            files.push(entry);
        }
    }
    Ok(())
}

fn expand(file: &Path, number: usize, document: Value, objects: &mut Vec<Document>) -> Result<(), Error> {
    let text = |key: &str| document[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (Some(version), Some(kind)) = (text("apiVersion"), text("kind")) else {
        return Err(wrong(file, &format!("document {number} has no apiVersion and kind")));
    };
    let items = document.get("items").and_then(Value::as_array);
    if let (Some(item_kind), Some(items)) = (kind.strip_suffix("List"), items) {
        for item in items {
            let mut item = item.clone();
            if let Some(item) = item.as_object_mut().filter(|_| !item_kind.is_empty()) {
                item.entry("apiVersion").or_insert_with(|| version.clone().into());
                item.entry("kind").or_insert_with(|| item_kind.into());
            }
            expand(file, number, item, objects)?;
        }
        return Ok(());
    }
    if !document["metadata"].is_object() {
        return Err(wrong(file, &format!("document {number}, a {kind}, has no metadata")));
    }
    objects.push(Document { file: shown(file), number, object: document });
    Ok(())
}

fn documents(path: &Path) -> Result<Vec<Value>, Error> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    read.map_err(|error| wrong(path, &format!("cannot be read: {error}")))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| wrong(path, &format!("not YAML or JSON: {error}")))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn wrong(path: &Path, why: &str) -> Error {
    Error::usage(format!("{}: {why}", shown(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Document>, Error> {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("a.yaml"), text).expect("write");
        std::fs::write(folder.path().join("notes.txt"), "a: [").expect("write");
        all(&[folder.path().to_owned()], false)
    }

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let found = read(
            "---\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\napiVersion: v1\nkind: List\nitems:\n\
             - {apiVersion: v1, kind: Pod, metadata: {name: b}}\n---\napiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: c}\n",
        )
        .expect("read");
        let names: Vec<_> = found
            .iter()
            .map(|one| (one.number, one.object["kind"].as_str(), one.object["metadata"]["name"].as_str()))
            .collect();
        assert_eq!(
            names,
            [(1, Some("Pod"), Some("a")), (2, Some("Pod"), Some("b")), (3, Some("Pod"), Some("c"))]
        );
    }

    #[test]
    fn what_is_no_object_is_a_usage_error() {
        for text in ["", "a: [", "- 1", "kind: Pod", "apiVersion: v1\nkind: Pod", "just text"] {
            let error = read(text).expect_err(text);
            assert_eq!(error.exit().code(), 2, "{text}: {error}");
        }
        assert_eq!(all(&[PathBuf::from("/nonexistent/x")], false).expect_err("missing").exit().code(), 2);
    }
}
