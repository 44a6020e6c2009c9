//! The plugin's binary, as a user runs it.

use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

/// `kubectl-k3k` in the folder `K3K_BIN` of the environment, else its newest build. Fails with a sentence that names the make target if there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("K3K_BIN") {
        let path = PathBuf::from(folder).join("kubectl-k3k");
        ensure!(path.is_file(), "{} is missing: make it with `make build`", path.display());
        return Ok(path);
    }
    let target = workspace::path("target");
    let mut folders = vec![target.clone()];
    if let Ok(entries) = target.read_dir() {
        folders.extend(
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.to_string_lossy().contains("-linux-")),
        );
    }
    let built = |path: &Path| {
        path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    folders
        .iter()
        .flat_map(|folder| ["release", "debug"].map(|profile| folder.join(profile).join("kubectl-k3k")))
        .filter(|path| path.is_file())
        .max_by_key(|path| built(path))
        .with_context(|| format!("no kubectl-k3k in {}: make it with `make build`", target.display()))
}

/// The plugin with a kubeconfig, and nothing of this machine's settings.
pub fn command(kubeconfig: &Path) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("KUBECONFIG", kubeconfig);
    if let Some(home) = kubeconfig.parent() {
        command.env("HOME", home);
    }
    Ok(command)
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Result<Ran> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("starting {command:?}"))?;
    Ok(Ran {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}
