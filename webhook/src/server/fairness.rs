//! One namespace that asks without end must not keep others waiting: each has a bucket of questions, which fills up again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Questions that a namespace may ask at once.
const BURST: f64 = 1000.0;
/// Questions that it may ask per second in the long run: more than any cluster of ours has been seen to need while it grew as fast as it could.
const RATE: f64 = 250.0;
/// How many namespaces are told apart before those are forgotten that are silent.
const MOST: usize = 4096;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn filled(self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + passed * RATE).min(BURST)
    }
}

impl Fairness {
    /// Whether `namespace` may ask at `now`; if so, that was one question.
    pub(super) fn admits(&self, namespace: &str, now: Instant) -> bool {
        // Our own questions, about ourselves.
        if namespace.is_empty() {
            return true;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(namespace) {
            let silent = Duration::from_secs_f64(BURST / RATE);
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < silent);
        }
        let bucket = buckets.entry(namespace.to_owned()).or_insert(Bucket { left: BURST, at: now });
        let left = bucket.filled(now);
        let admits = left >= 1.0;
        *bucket = Bucket { left: if admits { left - 1.0 } else { left }, at: now };
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_namespace_does_not_use_up_anothers_turn() {
        let (fairness, start) = (Fairness::default(), Instant::now());
        let admitted = (0..10_000).filter(|_| fairness.admits("loud", start)).count();
        assert_eq!(admitted, 1000);
        assert!(fairness.admits("quiet", start) && fairness.admits("", start));
        let later = start + Duration::from_secs(1);
        let admitted = (0..10_000).filter(|_| fairness.admits("loud", later)).count();
        assert_eq!(admitted, 250);
    }

    #[test]
    fn silent_namespaces_are_forgotten() {
        let (fairness, start) = (Fairness::default(), Instant::now());
        for number in 0..MOST {
            fairness.admits(&number.to_string(), start);
        }
        assert!(fairness.admits("new", start + Duration::from_secs(60)));
        assert_eq!(fairness.buckets.lock().unwrap().len(), 1);
    }
}
