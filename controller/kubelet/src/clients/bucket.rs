//! A bucket of tokens, one for each thing done. A full bucket is for bursts; in the long run one waits for new tokens.

use std::time::Duration;
use tokio::time::Instant;

/// See the module.
#[derive(Clone, Debug)]
pub struct Bucket {
    burst: u32,
    every: Duration,
    /// When the bucket is full again. Each token taken makes it later; how far in the future it lies says how much is missing.
    full: Instant,
}

impl Bucket {
    /// A full bucket of `burst` tokens, each of which takes as long as `every` to be replaced.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, full: Instant::now() }
    }

    /// When there is a token.
    pub fn due(&self) -> Instant {
        // When no more than all others of the burst are missing.
        let token = self.full + self.every;
        token.checked_sub(self.every * self.burst).unwrap_or(token)
    }

    /// Takes one.
    pub fn take(&mut self) {
        self.full = self.full.max(Instant::now()) + self.every;
    }
}
