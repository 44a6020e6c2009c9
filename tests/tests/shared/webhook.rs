//! The webhook beside an API server that asks it at a port of this machine.

use anyhow::{Context, Result};
use clap::Parser;
use k3k_tests::{ApiServer, chart};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::net::TcpListener;
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where k3k is installed.
pub(crate) const NAMESPACE: &str = "k3k-system";
/// Who the webhook is.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:k3k-system:k3k-webhook";

/// A replica of the webhook, on threads of its own: tests come and go with their runtimes. It ends with this.
pub(crate) struct Replica {
    /// Where its probes are answered.
    pub(crate) admin: u16,
    pub(crate) shutdown: CancellationToken,
    pub(crate) thread: Option<JoinHandle<Result<()>>>,
}

impl Replica {
    /// Starts one on `port`, with the service account's rights.
    pub(crate) fn start(server: &ApiServer, identity: &str, port: u16) -> Result<Self> {
        let admin = free_port()?;
        let args = k3k_webhook::args::Args::try_parse_from([
            "k3k-webhook",
            &format!("--address=127.0.0.1:{port}"),
            &format!("--admin-address=127.0.0.1:{admin}"),
            &format!("--namespace={NAMESPACE}"),
            &format!("--identity={identity}"),
            "--serving-name=localhost",
            "--drain=0s",
        ])?;
        let kubeconfig = Kubeconfig::read_from(server.kubeconfig(ACCOUNT, None)?)?;
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let config =
                    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
                k3k_webhook::run(args, config, until).await.context("the webhook")
            })
        });
        Ok(Self { admin, shutdown, thread: Some(thread) })
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Applies the chart as `kubectl k3k install` does, with the webhook at `port`. Again: nothing changes.
pub(crate) fn install(server: &ApiServer, port: u16) -> Result<()> {
    chart::apply(server, &chart::objects_with_webhook_at(NAMESPACE, port)?)
}

/// A port that nobody has.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
