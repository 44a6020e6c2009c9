//! A bounded memory of recent answers, each with its own term.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// At most `capacity` answers. When it is full, those that have expired make room; if none has, all are forgotten:
/// the answers are cheap to get again, and a caller must not make us grow.
pub(super) struct Cache<K, V> {
    capacity: usize,
    answers: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, answers: Mutex::new(HashMap::new()) }
    }

    /// The answer for `key`, if it has not expired.
    pub(super) fn recall(&self, key: &K) -> Option<V> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(key).filter(|(_, expiry)| Instant::now() < *expiry).map(|(answer, _)| answer.clone())
    }

    /// Keeps `answer` for `term`.
    pub(super) fn remember(&self, key: K, answer: V, term: Duration) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if answers.len() >= self.capacity && !answers.contains_key(&key) {
            answers.retain(|_, (_, expiry)| now < *expiry);
            if answers.len() >= self.capacity {
                answers.clear();
            }
        }
        answers.insert(key, (answer, now + term));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn answers_expire() {
        let cache = Cache::new(4);
        cache.remember("a", true, TERM);
        assert_eq!(cache.recall(&"a"), Some(true));
        assert_eq!(cache.recall(&"b"), None);
        tokio::time::advance(TERM).await;
        assert_eq!(cache.recall(&"a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_small_and_prefers_what_is_alive() {
        let cache = Cache::new(4);
        cache.remember(0, (), TERM);
        tokio::time::advance(TERM).await;
        for key in 1..=4 {
            cache.remember(key, (), TERM);
        }
        assert_eq!((1..=4).filter(|key| cache.recall(key).is_some()).count(), 4);
        cache.remember(4, (), TERM);
        assert!(cache.recall(&1).is_some(), "an answer that is renewed needs no room");
        for key in 5..1000 {
            cache.remember(key, (), TERM);
            assert!(cache.answers.lock().unwrap().len() <= 4);
            assert!(cache.recall(&key).is_some());
        }
    }
}
