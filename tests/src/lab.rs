//! The lab: a whole Kubernetes host, started by `make lab`. See `tests/lab`.

use crate::workspace;
use anyhow::{Context, Result, ensure};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

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

fn name() -> String {
    std::env::var("LAB_NAME").unwrap_or_else(|_| "k3k".to_owned())
}

/// The kubeconfig of the host's administrator.
pub fn host_kubeconfig() -> PathBuf {
    PathBuf::from(format!("/run/{}-lab/host.kubeconfig", name()))
}

/// Moves this thread, and with it what it starts from now on, into the network of the lab's first node: where [`client`] reaches the
/// host and the nested clusters. For a thread of its own with a runtime of its own.
pub fn enter_network() -> Result<()> {
    let path = format!("/run/netns/{}-node-0", name());
    let network = File::open(&path).with_context(|| format!("{path}: the lab does not run: make lab"))?;
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("entering {path}: root is needed"))
}

/// A client as `kubeconfig` says, for a thread that has entered the lab's network. It gives an API server that has gone away a few
/// seconds, not minutes.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let text =
        Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(text, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_secs(20));
    config.write_timeout = Some(Duration::from_secs(20));
    Ok(Client::try_from(config)?)
}

/// `tests/lab/crash`: ends a part of the lab without warning.
pub fn crash(arguments: &[&str]) -> Result<()> {
    succeed(Command::new(workspace::path("tests/lab/crash")).args(arguments)).map(drop)
}
