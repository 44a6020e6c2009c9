//! The lab: a whole Kubernetes host, started by `make lab`. See `tests/lab`.

use crate::workspace;
use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::PathBuf;
use std::process::{Command, Output};

/// A command in the host's network, with its kubeconfig and with `kubectl` and `kubectl-k3k` on PATH.
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

/// The path of the host's kubeconfig. Fails with a sentence if the lab is not up.
pub fn kubeconfig() -> Result<PathBuf> {
    let path = succeed(in_host("printenv").arg("KUBECONFIG"))
        .context("the lab is not up: start it with `make lab`")?;
    Ok(PathBuf::from(path.trim()))
}

/// A client of the host as its administrator. Only a process inside the host's network reaches it: run such tests by
/// `tests/lab/in-host`.
pub async fn client() -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig()?)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
