//! The HTTPS endpoints of the virtual kubelet, and the renewal of their certificate.

use crate::config::{Config, Files, read};
use crate::world::World;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub async fn serve(
    world: Arc<World>,
    streaming: kube::Client,
    config: &Config,
    files: &Files,
    shutdown: CancellationToken,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
    let _ = (world, streaming, config, files);
    Ok(async move {
        shutdown.cancelled().await;
        Ok(())
    })
}
