//! Where things are in this repository.

use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// A file of the repository, relative to [`root`].
pub fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// A file of the repository that `make TARGET` makes. Fails with a sentence that says so if it is missing.
pub fn made_by(target: &str, relative: &str) -> Result<PathBuf> {
    let path = path(relative);
    ensure!(
        path.exists(),
        "{} is missing: make it with `make {target}` in the repository's root",
        path.display()
    );
    Ok(path)
}
