//! What was answered before, and what is being asked now: equal questions are asked once.
//!
//! A lookup runs in a task of its own. Whoever waits for it may give up without others losing the answer. An answer
//! that has become old is still better than none when the registry cannot be asked.

use super::error::Problem;
use super::metrics::{Metrics, Outcome};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use lru::LruCache;
use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// After how much of its time, in percent, an answer that is still wanted is asked for again.
const REFRESH_AT: u32 = 80;
/// By how much of their time, in percent, answers expire earlier than they could, so that not all do at once.
const JITTER: u32 = 10;

type Answer = Result<String, Problem>;
type Flight = Shared<BoxFuture<'static, Answer>>;

/// How long one asker waits, and how old an answer may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// When the asker goes away.
    pub(super) deadline: Instant,
    /// How long an answer is believed unasked.
    pub(super) fresh_for: Duration,
    /// How long after that it serves when there is no better one.
    pub(super) stale_for: Duration,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Answers.
    pub(super) answers: NonZeroUsize,
    /// Lookups under way.
    pub(super) lookups: usize,
}

/// Answers by question. Clones share them.
pub(super) struct Cache<K> {
    state: Arc<Mutex<State<K>>>,
    lookups: usize,
    metrics: Metrics,
}

struct State<K> {
    answers: LruCache<K, Entry>,
    flights: HashMap<K, Flight>,
}

#[derive(Default)]
struct Entry {
    good: Option<Good>,
    /// The last problem, and until when it is given for an answer.
    bad: Option<(Problem, Instant)>,
}

struct Good {
    digest: String,
    at: Instant,
    /// In percent, up to [`JITTER`].
    earlier: u32,
}

impl Good {
    fn expires(&self, fresh_for: Duration) -> Instant {
        self.at + fresh_for * (100 - self.earlier) / 100
    }

    fn is_worn(&self, fresh_for: Duration, now: Instant) -> bool {
        now >= self.at + fresh_for * (100 - self.earlier) / 100 * REFRESH_AT / 100
    }
}

/// What is known at once.
enum Known {
    Answer(Answer),
    Coming(Flight),
}

impl<K: Clone + Eq + Hash + Send + 'static> Cache<K> {
    pub(super) fn new(size: Size, metrics: Metrics) -> Self {
        let state = State { answers: LruCache::new(size.answers), flights: HashMap::new() };
        Self { state: Arc::new(Mutex::new(state)), lookups: size.lookups, metrics }
    }

    /// The answer to `key`: a known one, or that of `lookup`, or that of an equal lookup under way.
    pub(super) async fn get<F>(&self, key: &K, terms: Terms, lookup: impl FnOnce() -> F) -> Answer
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let flight = match self.known(key, terms, lookup) {
            Known::Answer(answer) => return answer,
            Known::Coming(flight) => flight,
        };
        match timeout_at(terms.deadline, flight).await.unwrap_or(Err(Problem::Slow)) {
            Err(problem) if problem.is_transient() => match self.lock().stale(key, terms) {
                Some(digest) => {
                    self.metrics.looked_up(Outcome::Stale);
                    Ok(digest)
                }
                None => Err(problem),
            },
            definite => definite,
        }
    }

    fn known<F>(&self, key: &K, terms: Terms, lookup: impl FnOnce() -> F) -> Known
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let now = Instant::now();
        let mut state = self.lock();
        let entry = state.answers.get(key);
        if let Some(good) = entry.and_then(|entry| entry.good.as_ref())
            && now < good.expires(terms.fresh_for)
        {
            let answer = Known::Answer(Ok(good.digest.clone()));
            let (worn, resting) =
                (good.is_worn(terms.fresh_for, now), entry.is_some_and(|entry| entry.rests(now)));
            if worn && !resting && !state.flights.contains_key(key) && state.flights.len() < self.lookups {
                self.metrics.looked_up(Outcome::Refresh);
                drop(self.start(&mut state, key, lookup())); // its task runs on
            }
            self.metrics.looked_up(Outcome::Hit);
            return answer;
        }
        if let Some((problem, until)) = entry.and_then(|entry| entry.bad.as_ref())
            && now < *until
        {
            let problem = problem.clone();
            if problem.is_transient()
                && let Some(digest) = state.stale(key, terms)
            {
                self.metrics.looked_up(Outcome::Stale);
                return Known::Answer(Ok(digest));
            }
            self.metrics.looked_up(Outcome::Negative);
            return Known::Answer(Err(problem));
        }
        if let Some(flight) = state.flights.get(key) {
            self.metrics.looked_up(Outcome::Joined);
            return Known::Coming(flight.clone());
        }
        if state.flights.len() >= self.lookups {
            self.metrics.looked_up(Outcome::Refused);
            return Known::Answer(state.stale(key, terms).ok_or(Problem::Busy));
        }
        self.metrics.looked_up(Outcome::Miss);
        Known::Coming(self.start(&mut state, key, lookup()))
    }

    /// Starts a lookup that ends by itself, whether or not anyone waits for it.
    fn start(
        &self,
        state: &mut State<K>,
        key: &K,
        lookup: impl Future<Output = Answer> + Send + 'static,
    ) -> Flight {
        let landing = Landing { state: self.state.clone(), key: key.clone() };
        let task = tokio::spawn(async move {
            let answer = lookup.await;
            landing.land(&answer);
            answer
        });
        let broken = |_| Err(Problem::unreachable("the lookup was broken off"));
        let flight = async move { task.await.unwrap_or_else(broken) }.boxed().shared();
        state.flights.insert(key.clone(), flight.clone());
        flight
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// An answer that is too old to be given without asking, but not too old to be better than none.
    fn stale(&mut self, key: &K, terms: Terms) -> Option<String> {
        let good = self.answers.get(key)?.good.as_ref()?;
        let end = good.expires(terms.fresh_for) + terms.stale_for;
        (Instant::now() < end).then(|| good.digest.clone())
    }
}

impl Entry {
    /// Whether there is to be no lookup for the time being.
    fn rests(&self, now: Instant) -> bool {
        self.bad.as_ref().is_some_and(|(_, until)| now < *until)
    }
}

/// Ends a flight, also when its task is broken off.
struct Landing<K: Clone + Eq + Hash> {
    state: Arc<Mutex<State<K>>>,
    key: K,
}

impl<K: Clone + Eq + Hash> Landing<K> {
    fn land(&self, answer: &Answer) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = state.answers.get_or_insert_mut(self.key.clone(), Entry::default);
        match answer {
            Ok(digest) => {
                let good = Good { digest: digest.clone(), at: now, earlier: fastrand::u32(0..=JITTER) };
                *entry = Entry { good: Some(good), bad: None };
            }
            Err(problem) => {
                if !problem.is_transient() {
                    entry.good = None;
                }
                entry.bad = Some((problem.clone(), now + problem.keep_for()));
            }
        }
    }
}

impl<K: Clone + Eq + Hash> Drop for Landing<K> {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).flights.remove(&self.key);
    }
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), lookups: self.lookups, metrics: self.metrics.clone() }
    }
}

#[cfg(test)]
#[path = "tests/cache.rs"]
mod tests;
