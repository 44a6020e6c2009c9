//! The webhook's process.

use anyhow::Context;
use clap::Parser;
use k3k_webhook::args::Args;

// One thread: a decision takes microseconds, and each further thread would cost memory.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // Fails only when a provider is installed already, which is then the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse();
    args.log.init()?;
    let shutdown = k3k_runtime::shutdown::on_signal().context("installing signal handlers")?;
    let config = kube::Config::infer().await.context("finding the API server")?;
    k3k_webhook::run(args, config, shutdown).await?;
    Ok(())
}
