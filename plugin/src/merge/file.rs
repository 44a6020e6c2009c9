//! Kubeconfig files: read whole, written whole, under the lock that kubectl takes too.

use super::Error;
use crate::output::object;
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long another program may hold the lock. kubectl holds it for milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The document in the file; null if there is no file or nothing in it.
pub(super) fn read(path: &Path) -> Result<Value, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Value::Null),
        Err(source) => return Err(Error::Io { what: "read", path: path.to_owned(), source }),
    };
    let invalid = |cause: String| Error::Invalid { path: path.to_owned(), cause };
    let mut documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| invalid(error.to_string()))?;
    documents.retain(|document| !document.is_null());
    match documents.len() {
        0 => Ok(Value::Null),
        1 if documents[0].is_object() => Ok(documents.remove(0)),
        1 => Err(invalid("it is not a map".to_owned())),
        _ => Err(invalid("it holds several documents".to_owned())),
    }
}

/// Reads the file, lets `change` change it, and writes it if `change` says so. Nobody sees a half-written file, and
/// nobody who takes the lock loses a change.
pub(super) fn edit(path: &Path, change: impl FnOnce(&mut Value) -> bool) -> Result<bool, Error> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|source| Error::Io {
            what: "make the folder of",
            path: path.to_owned(),
            source,
        })?;
    }
    let _lock = Lock::take(path)?;
    let mut document = read(path)?;
    let changed = change(&mut document);
    if changed {
        let text =
            object::yaml(&document).map_err(|cause| Error::Invalid { path: path.to_owned(), cause })?;
        write(path, &text)?;
    }
    Ok(changed)
}

/// Replaces the file that `path` leads to, through symlinks, keeping its mode and owner; a new file is its owner's
/// alone.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let error = |what: &'static str| {
        let path = path.to_owned();
        move |source: std::io::Error| Error::Io { what, path, source }
    };
    let target = resolve(path).map_err(error("follow"))?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new()
        .prefix(".kubectl-k3k-")
        .tempfile_in(folder)
        .map_err(error("write beside"))?;
    temporary.write_all(text.as_bytes()).map_err(error("write"))?;
    if let Ok(metadata) = fs::metadata(&target) {
        if metadata.permissions().readonly() {
            return Err(error("write")(std::io::Error::new(ErrorKind::PermissionDenied, "it is read-only")));
        }
        keep_owner(&temporary, &metadata).map_err(error("keep the owner of"))?;
        temporary.as_file().set_permissions(metadata.permissions()).map_err(error("keep the mode of"))?;
    }
    temporary.as_file().sync_all().map_err(error("write"))?;
    temporary.persist(&target).map_err(|failed| error("replace")(failed.error))?;
    Ok(())
}

/// The file at the end of a chain of symlinks; it need not exist.
fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..32 {
        match fs::read_link(&target) {
            Ok(next) => target = target.parent().unwrap_or(Path::new("")).join(next),
            Err(_) => return Ok(target),
        }
    }
    Err(std::io::Error::other("too many symlinks"))
}

#[cfg(unix)]
fn keep_owner(temporary: &tempfile::NamedTempFile, old: &fs::Metadata) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let new = temporary.as_file().metadata()?;
    if (new.uid(), new.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    // A group that we are not in cannot be given; a file of somebody else must not become ours.
    match fchown(temporary.as_file(), Some(old.uid()), Some(old.gid())) {
        Err(_) if new.uid() == old.uid() => Ok(()),
        result => result,
    }
}

#[cfg(not(unix))]
fn keep_owner(_temporary: &tempfile::NamedTempFile, _old: &fs::Metadata) -> std::io::Result<()> {
    Ok(())
}

/// The lock file that client-go uses: the file's name with `.lock`, present while somebody writes.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self, Error> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let started = Instant::now();
        loop {
            match OpenOptions::new().write(true).create_new(true).open(&lock) {
                Ok(_) => return Ok(Self(lock)),
                // Nothing tells when the other is done: the protocol is the file's presence.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && started.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(20));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(Error::Locked { path: path.to_owned(), lock });
                }
                Err(source) => return Err(Error::Io { what: "lock", path: path.to_owned(), source }),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If it cannot be removed, the next writer is told which file is in the way.
        let _ = fs::remove_file(&self.0);
    }
}
