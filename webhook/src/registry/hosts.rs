//! How much one registry is asked at the same time, and that one that fails again and again is left alone for a while.

use super::error::Problem;
use lru::LruCache;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// After how many failures in a row a registry is left alone.
const FAILURES: u32 = 5;
/// For how long.
const PAUSE: Duration = Duration::from_secs(10);
/// How many lookups one registry gets at the same time.
const PER_HOST: usize = 8;
/// How many lookups there are at the same time.
const IN_ALL: usize = 64;
/// How many registries are remembered.
const HOSTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// The registries that were asked.
pub(super) struct Hosts<K> {
    hosts: Mutex<LruCache<K, Arc<Host>>>,
    permits: Arc<Semaphore>,
}

struct Host {
    permits: Arc<Semaphore>,
    breaker: Mutex<Breaker>,
}

/// Leave to ask a registry, until it is dropped.
pub(super) struct Visit {
    host: Arc<Host>,
    _permits: [OwnedSemaphorePermit; 2],
}

impl<K: Eq + Hash> Default for Hosts<K> {
    fn default() -> Self {
        Self { hosts: Mutex::new(LruCache::new(HOSTS)), permits: Arc::new(Semaphore::new(IN_ALL)) }
    }
}

impl<K: Eq + Hash> Hosts<K> {
    /// Waits for leave to ask `host`, unless it is left alone.
    pub(super) async fn enter(&self, host: K) -> Result<Visit, Problem> {
        let host = self.host(host);
        let closed = |_| Problem::Busy; // never: nobody closes them
        // First the narrow gate, so that who waits for a slow registry keeps nobody from others.
        let own = host.permits.clone().acquire_owned().await.map_err(closed)?;
        let common = self.permits.clone().acquire_owned().await.map_err(closed)?;
        let admitted = host.breaker.lock().unwrap_or_else(PoisonError::into_inner).admits(Instant::now());
        if !admitted {
            return Err(Problem::unreachable(
                "it has failed repeatedly, and is asked again in a few seconds",
            ));
        }
        Ok(Visit { host, _permits: [own, common] })
    }

    fn host(&self, name: K) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let new =
            || Arc::new(Host { permits: Arc::new(Semaphore::new(PER_HOST)), breaker: Mutex::default() });
        hosts.get_or_insert(name, new).clone()
    }
}

impl Visit {
    /// Says how it went.
    pub(super) fn end<T>(self, outcome: &Result<T, Problem>) {
        let failed = outcome.as_ref().is_err_and(Problem::is_failure_of_host);
        let mut breaker = self.host.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.record(failed, Instant::now());
    }
}

/// Counts failures.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether to ask now. After the pause one may try, and others wait for another pause or for its success.
    fn admits(&mut self, now: Instant) -> bool {
        match self.open_until {
            Some(until) if now < until => false,
            Some(_) => {
                self.open_until = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    fn record(&mut self, failed: bool, now: Instant) {
        if !failed {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            self.open_until = Some(now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const FAILED: Result<(), Problem> = Err(Problem::Slow);

    async fn visit(hosts: &Hosts<&'static str>, host: &'static str, outcome: &Result<(), Problem>) {
        hosts.enter(host).await.unwrap_or_else(|problem| panic!("{problem}")).end(outcome);
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_again_and_again_is_left_alone() {
        let hosts = Hosts::default();
        for _ in 0..4 {
            visit(&hosts, "a", &FAILED).await;
        }
        visit(&hosts, "a", &Ok(())).await; // a success forgives
        for _ in 0..5 {
            visit(&hosts, "a", &FAILED).await;
        }
        assert!(hosts.enter("a").await.is_err());
        visit(&hosts, "b", &FAILED).await; // others are asked on
        tokio::time::advance(PAUSE).await;
        let trial = hosts.enter("a").await;
        assert!(trial.is_ok() && hosts.enter("a").await.is_err()); // one tries
        trial.unwrap_or_else(|problem| panic!("{problem}")).end(&FAILED);
        assert!(hosts.enter("a").await.is_err());
        tokio::time::advance(PAUSE).await;
        visit(&hosts, "a", &Ok(())).await;
        visit(&hosts, "a", &FAILED).await;
        visit(&hosts, "a", &Ok(())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_we_do_not_like_are_no_failures() {
        let hosts = Hosts::default();
        for _ in 0..10 {
            visit(&hosts, "a", &Err(Problem::NotFound)).await;
            visit(&hosts, "a", &Err(Problem::Forbidden)).await;
        }
    }

    #[tokio::test]
    async fn one_registry_gets_eight_and_all_get_sixty_four() {
        let hosts = Hosts::default();
        let mut visits = Vec::new();
        for host in 0..8 {
            for _ in 0..8 {
                visits.push(hosts.enter(host).now_or_never().unwrap());
            }
            assert!(hosts.enter(host).now_or_never().is_none());
        }
        tokio::task::yield_now().await; // the runtime lets nobody run forever
        assert!(hosts.enter(8).now_or_never().is_none());
        visits.pop();
        assert!(hosts.enter(8).now_or_never().is_some());
    }
}
