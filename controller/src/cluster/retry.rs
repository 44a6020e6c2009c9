//! How soon a failed reconcile is tried again: each cluster has its own, growing interval.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The first interval.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest interval.
const LONGEST: Duration = Duration::from_secs(120);

/// Failures in a row, by the Cluster's UID.
#[derive(Debug, Default)]
pub struct Retries(Mutex<HashMap<String, u32>>);

impl Retries {
    /// Counts a failure and gives the time to wait.
    pub fn failed(&self, uid: &str) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = failures.entry(uid.to_owned()).or_default();
        let wait = SHORTEST.saturating_mul(1 << (*failures).min(16)).min(LONGEST);
        *failures += 1;
        wait
    }

    /// Failures in a row so far.
    pub fn failures(&self, uid: &str) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid).copied().unwrap_or_default()
    }

    /// Begins anew: a reconcile went through, or the cluster is gone.
    pub fn reset(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Forgets what is not among `present`: it may have gone in the middle of its failures.
    pub fn keep(&self, present: &HashSet<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| present.contains(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_per_cluster_and_start_over() {
        let retries = Retries::default();
        let waits: Vec<u128> = (0..4).map(|_| retries.failed("a").as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600]);
        assert_eq!(retries.failed("b"), SHORTEST);
        for _ in 0..100 {
            assert!(retries.failed("a") <= LONGEST);
        }
        assert_eq!(retries.failed("a"), LONGEST);
        retries.reset("a");
        assert_eq!(retries.failed("a"), SHORTEST);
        retries.keep(&HashSet::from(["b".to_owned()]));
        assert_eq!((retries.failures("a"), retries.failures("b")), (0, 1), "who is gone is forgotten");
    }
}
