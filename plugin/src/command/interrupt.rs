//! Ctrl-C and the end of patience.

use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Resolves when the user or the system asks the command to stop.
pub(super) async fn asked_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Resolves when `timeout` is over.
pub(super) fn deadline(timeout: Duration) -> Sleep {
    // Farther than anyone waits, and near enough for the clock.
    sleep_until(Instant::now() + timeout.min(Duration::from_secs(365 * 86400)))
}
