//! How soon a watch that broke begins anew. Each has its own interval.

use backon::ExponentialBuilder;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::ExponentialBackoff;
use std::time::Duration;

/// The first interval.
const SHORTEST: Duration = Duration::from_millis(250);
/// The longest: what happens meanwhile is not seen, and there is one controller, so that a host that comes back is not overrun.
const LONGEST: Duration = Duration::from_secs(5);
/// A watch that went well for so long begins with the first interval again.
const FORGIVEN: Duration = Duration::from_secs(120);

/// The intervals of one watch.
pub fn after_errors() -> impl Backoff {
    let growing = ExponentialBuilder::default().with_min_delay(SHORTEST).with_max_delay(LONGEST);
    let growing = growing.with_factor(2.0).with_jitter().without_max_times();
    ResetTimerBackoff::new(ExponentialBackoff::from(growing), FORGIVEN)
}

/// What pauses all watches together when one breaks: nothing. By default each error of each watch doubles the time in which
/// none of them is heard; after an outage, when all of them break, that is minutes.
#[derive(Debug)]
pub struct NoPause;

impl Iterator for NoPause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl Backoff for NoPause {
    fn reset(&mut self) {}
}
