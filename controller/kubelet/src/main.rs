//! `k3k-kubelet`: the virtual kubelet of one nested cluster.

use clap::Parser;
use k3k_kubelet::{args::Args, run};

// One thread: the work is waiting for two API servers, and there is one such process for each cluster.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider was installed first");
    }
    let args = Args::parse();
    args.log.init()?;
    Box::pin(run(args)).await
}
