//! `k3k-controller`.

use clap::Parser as _;
use k3k_controller::args::Args;

// One thread is enough: the work is waiting, and each thread costs memory.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    k3k_controller::run(Args::parse()).await
}
