//! Clusters in the user's kubeconfig: what we add is marked, and only what is marked as ours is changed or removed.

mod document;
mod file;

pub(crate) use document::{Entry, Origin};

use crate::connect::Files;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Why a kubeconfig was left as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file cannot be read or written.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The file is not a kubeconfig.
    #[error("{} is not a kubeconfig: {cause}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// Another program is writing it, or died while it did.
    #[error("{} is locked by another program; if none runs, remove {}", .path.display(), .lock.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// An entry of that name belongs to something else.
    #[error("{kind} \"{name}\" in {} belongs to something else", .path.display())]
    Taken {
        /// The file.
        path: PathBuf,
        /// context, cluster or user.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// There is nothing to go back to.
    #[error(
        "{}",
        .current.as_ref().map_or_else(
            || "no context is current".to_owned(),
            |current| format!("the current context \"{current}\" was not reached by kubectl k3k connect"),
        )
    )]
    Nothing {
        /// The current context.
        current: Option<String>,
    },
    /// No file to write to: there is no home directory.
    #[error("there is no kubeconfig to write to: set KUBECONFIG or HOME")]
    Nowhere,
    /// The kubeconfig of the cluster itself cannot be understood.
    #[error("the cluster's kubeconfig cannot be used: {0}")]
    Source(String),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    /// The file that holds the entries now.
    pub(crate) path: PathBuf,
    /// Whether anything in it changed.
    pub(crate) changed: bool,
    /// The context that was current before the switch, if there was a switch.
    pub(crate) previous: Option<String>,
}

/// How to add an entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Make it the current context.
    pub(crate) switch: bool,
    /// Take the name even if it belongs to something else.
    pub(crate) overwrite: bool,
}

/// Adds `entry` to the files, or brings it up to date. Without `overwrite`, entries of the same name that are not
/// ours for the same cluster stay, and nothing is changed.
pub(crate) fn add(files: &Files, entry: &Entry, options: Options) -> Result<Merged, Error> {
    let paths = files.paths();
    let documents = paths.iter().map(|path| file::read(path)).collect::<Result<Vec<_>, _>>()?;
    if !options.overwrite {
        for (path, document) in paths.iter().zip(&documents) {
            if let Some((kind, name)) = document::taken(document, entry) {
                return Err(Error::Taken { path: path.clone(), kind, name });
            }
        }
    }
    let current = documents.iter().find_map(document::current);
    // kubectl uses the first entry of a name, so an entry that exists is changed where it is.
    let place = documents
        .iter()
        .position(|document| document::has_context(document, &entry.name))
        .or_else(|| {
            let current = current.as_deref()?;
            documents.iter().position(|document| document::has_context(document, current))
        })
        .or_else(|| paths.iter().position(|path| path.exists()))
        .unwrap_or(0);
    let path = paths.get(place).ok_or(Error::Nowhere)?;

    let mut entry = entry.clone();
    let switches = options.switch && current.as_deref() != Some(entry.name.as_str());
    entry.origin.previous_context =
        if switches { current.clone() } else { document::previous(&documents[place], &entry.name) };
    let mut changed = file::edit(path, |document| document::add(document, &entry))?;
    if switches {
        let setter =
            documents.iter().position(|document| document::current(document).is_some()).unwrap_or(place);
        changed |= file::edit(&paths[setter], |document| document::set_current(document, Some(&entry.name)))?;
    }
    Ok(Merged { path: path.clone(), changed, previous: if switches { current } else { None } })
}

/// Adds `entry` to one file.
pub(crate) fn add_to(path: &Path, entry: &Entry, options: Options) -> Result<Merged, Error> {
    add(&Files::Explicit(path.to_owned()), entry, options)
}

/// What was removed from one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    /// The file.
    pub(crate) path: PathBuf,
    /// The contexts.
    pub(crate) contexts: Vec<String>,
    /// What became of the current context.
    pub(crate) current: Current,
}

/// What a removal did to the current context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Current {
    /// It was another one, and still is.
    Kept,
    /// It is the one from before the switch again.
    Back(String),
    /// There is none: the one from before is gone too.
    None,
}

/// Removes the contexts that we added for a cluster for which `ours` holds, with their clusters and users if
/// nothing else refers to them. If one of them is current, the context before it becomes current again.
pub(crate) fn remove(files: &Files, ours: impl Fn(&Origin) -> bool) -> Result<Vec<Removed>, Error> {
    let paths = files.paths();
    let documents = paths.iter().map(|path| file::read(path)).collect::<Result<Vec<_>, _>>()?;
    let current = documents.iter().find_map(document::current);
    let mut done = Vec::new();
    let mut back = None;
    for (path, document) in paths.iter().zip(&documents) {
        let names = document::contexts_of(document, &ours);
        if names.is_empty() {
            continue;
        }
        if let Some(current) = current.as_deref().filter(|current| names.iter().any(|name| name == current)) {
            let previous = document::previous(document, current).filter(|name| {
                !names.contains(name) && documents.iter().any(|other| document::has_context(other, name))
            });
            back = Some(previous);
        }
        file::edit(path, |document| document::remove(document, &names))?;
        done.push(Removed { path: path.clone(), contexts: names, current: Current::Kept });
    }
    if let (Some(previous), Some(last)) = (back, done.last_mut()) {
        let setter = documents.iter().position(|document| document::current(document).is_some()).unwrap_or(0);
        file::edit(&paths[setter], |document| document::set_current(document, previous.as_deref()))?;
        last.current = previous.map_or(Current::None, Current::Back);
    }
    Ok(done)
}

/// Makes the context current again that was current before the switch to one of ours. Gives both names.
///
/// # Errors
/// [`Error::Nothing`] if none of ours is current, or if nothing is known of before.
pub(crate) fn back(files: &Files) -> Result<(String, String), Error> {
    let paths = files.paths();
    let documents = paths.iter().map(|path| file::read(path)).collect::<Result<Vec<_>, _>>()?;
    let setter = documents.iter().position(|document| document::current(document).is_some());
    let current = setter.and_then(|setter| document::current(&documents[setter]));
    let (Some(setter), Some(current)) = (setter, current) else {
        return Err(Error::Nothing { current: None });
    };
    let previous = documents.iter().find_map(|document| document::previous(document, &current));
    let previous =
        previous.filter(|name| documents.iter().any(|document| document::has_context(document, name)));
    let Some(previous) = previous else { return Err(Error::Nothing { current: Some(current) }) };
    file::edit(&paths[setter], |document| document::set_current(document, Some(&previous)))?;
    Ok((current, previous))
}

/// Reads a kubeconfig text, such as the one in a cluster's Secret.
pub(crate) fn parse(text: &str) -> Result<Value, Error> {
    serde_saphyr::from_str(text).map_err(|error| Error::Source(error.to_string()))
}

/// Writes a file that only its owner may read, through a temporary file beside it.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    file::write(path, text)
}

#[cfg(test)]
mod tests;
