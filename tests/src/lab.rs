//! The lab: a whole Kubernetes host, started by `make lab`. See `tests/lab`.

use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::process::{Command, Output};

/// A command in the host's network, with its kubeconfig and with `kubectl` and `kubectl-k3k` on PATH. Without a lab it
/// fails with a sentence that names the make target.
pub fn in_host(program: &str) -> Command {
    let mut command = Command::new(workspace::path("tests/lab/in-host"));
    command.arg(program);
    command
}

/// Runs `command` to its end, and fails unless it succeeds. Returns its standard output.
pub fn succeed(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("starting {command:?}"))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ensure!(status.success(), "{command:?} failed, {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
    Ok(stdout.into_owned())
}
