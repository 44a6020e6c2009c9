//! What pods use of processors and memory, as a kubelet tells it. The source is the host's own `metrics.k8s.io`, which knows rates:
//! amounts over a window of time. A kubelet tells a counter that only grows, so the [`ledger`] adds the rates up.
//!
//! The host is asked when somebody asks us, and not more often than its figures change.

pub mod ledger;
pub mod metrics;
pub mod source;
pub mod summary;

use crate::server::Directory;
use ledger::{Ledger, Report};
use source::Source;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer of the host serves all who ask. A metrics server of the host has new figures every 15 s or so.
const REST: Duration = Duration::from_secs(5);

/// The usage of our pods, observed on demand.
#[derive(Debug)]
pub struct Usage {
    source: Source,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    asked: Option<Instant>,
    report: Option<Arc<Report>>,
}

impl Usage {
    /// From what `source` tells.
    pub fn new(source: Source) -> Self {
        Self { source, state: Mutex::default() }
    }

    /// What the pods of `directory` use; None when the host does not say. Callers at the same time share one answer.
    pub async fn report(&self, directory: &dyn Directory) -> Option<Arc<Report>> {
        let mut state = self.state.lock().await;
        if state.asked.is_none_or(|asked| asked.elapsed() >= REST) {
            let samples = self.source.samples().await;
            let first_failure = samples.is_err() && (state.report.is_some() || state.asked.is_none());
            state.report = match samples {
                Ok(samples) => {
                    let now = k8s_openapi::jiff::Timestamp::now();
                    Some(Arc::new(state.ledger.report(&directory.running(), &samples, now)))
                }
                Err(error) if first_failure => {
                    tracing::warn!(%error, "the host does not tell what pods use; kubectl top has nothing to show");
                    None
                }
                Err(error) => {
                    tracing::debug!(%error, "the host still does not tell what pods use");
                    None
                }
            };
            state.asked = Some(Instant::now());
        }
        state.report.clone()
    }
}
