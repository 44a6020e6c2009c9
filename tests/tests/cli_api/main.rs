//! The plugin against a real API server: its schemas, its rights, its words.

mod clusters;
mod host;
mod policies;

use anyhow::{Result, ensure};
use k3k_tests::plugin::{self, Ran};
use k3k_tests::{ApiServer, lab};
use std::path::PathBuf;

/// A server, and a kubeconfig of its administrator that the plugin may write to.
struct Host {
    server: ApiServer,
    kubeconfig: PathBuf,
    _folder: tempfile::TempDir,
}

impl Host {
    async fn start() -> Result<Self> {
        let server = ApiServer::start().await?;
        let folder = tempfile::tempdir()?;
        let kubeconfig = folder.path().join("config");
        std::fs::copy(server.kubeconfig("admin", Some("system:masters"))?, &kubeconfig)?;
        Ok(Self { server, kubeconfig, _folder: folder })
    }

    /// A server that knows k3k's resources.
    async fn with_resources() -> Result<Self> {
        let host = Self::start().await?;
        let definitions = k3k_tests::workspace::path("manifests/crds");
        lab::succeed(host.server.kubectl()?.args(["apply", "--server-side", "-f"]).arg(definitions))?;
        lab::succeed(host.server.kubectl()?.args([
            "wait",
            "--for=condition=Established",
            "crd/clusters.k3k.io",
        ]))?;
        Ok(host)
    }

    fn run(&self, args: &[&str]) -> Result<Ran> {
        plugin::run(plugin::command(&self.kubeconfig)?.args(args))
    }

    fn kubectl(&self, args: &[&str]) -> Result<String> {
        lab::succeed(self.server.kubectl()?.args(args))
    }
}

/// Fails unless the command ended with `code` and said `words` on stderr.
fn ended(ran: &Ran, code: i32, words: &[&str]) -> Result<()> {
    ensure!(ran.code == Some(code), "exit code {:?}, not {code}: {ran:?}", ran.code);
    for word in words {
        ensure!(ran.stderr.contains(word), "\"{word}\" is not said: {}", ran.stderr);
    }
    Ok(())
}
