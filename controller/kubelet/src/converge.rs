//! Brings pairs of objects – one in the nested cluster, one in the host – to agree, one key at a time.
//!
//! kube's `Controller` reconciles an object that exists. Here a key may have lost either side, and both losses call for
//! work, so the steps are keyed by name. The queue itself – one entry a key, delays – is kube's [`scheduler`]; what is due is run
//! in [`turns`].

mod turns;

use crate::watch::Name;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use turns::Turns;

/// First and longest pause after a failed step.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// First and longest pause after the host refused: its policy may change, but seldom does.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// First and longest pause after a quota of the host was exceeded: others may give up what they use.
const ROOM: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Whom a key belongs to, so that all get their turn.
pub trait Tenant {
    /// The tenant: a namespace of the nested cluster; empty for what belongs to the cluster as a whole.
    fn tenant(&self) -> &str;
}

impl Tenant for Name {
    fn tenant(&self) -> &str {
        &self.namespace
    }
}

impl<Kind> Tenant for (Kind, Name) {
    fn tenant(&self) -> &str {
        self.1.tenant()
    }
}

/// What follows a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until the key is asked for again.
    Done,
    /// Once more after this time.
    After(Duration),
    /// It failed and may go better later.
    Retry,
    /// The host said no.
    Refused,
    /// The host has no room for it now.
    NoRoom,
}

/// Asks for keys to be looked at.
#[derive(Debug)]
pub struct Requests<K>(UnboundedSender<ScheduleRequest<K>>);

impl<K> Clone for Requests<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Requests<K> {
    /// Asks for `key` now.
    pub fn send(&self, key: K) {
        // The receiver is gone only when the process is ending.
        let _ = self.0.unbounded_send(ScheduleRequest { message: key, run_at: Instant::now() });
    }

    /// Asks for all of `keys` now.
    pub fn send_all(&self, keys: impl IntoIterator<Item = K>) {
        keys.into_iter().for_each(|key| self.send(key));
    }

    /// Asks for `key` after `delay`, or earlier if that was asked for before.
    pub fn later(&self, key: K, delay: Duration) {
        let _ = self.0.unbounded_send(ScheduleRequest { message: key, run_at: Instant::now() + delay });
    }
}

/// The keys waiting for [`run`].
#[derive(Debug)]
pub struct Queue<K> {
    requests: Requests<K>,
    incoming: UnboundedReceiver<ScheduleRequest<K>>,
}

#[cfg(test)]
impl<K> Queue<K> {
    /// What was asked for first, if anything.
    pub(crate) fn next_requested(&mut self) -> Option<K> {
        self.incoming.try_recv().ok().map(|request| request.message)
    }
}

/// A queue and the way into it.
pub fn queue<K>() -> (Requests<K>, Queue<K>) {
    let (sender, incoming) = unbounded();
    let requests = Requests(sender);
    (requests.clone(), Queue { requests, incoming })
}

/// Runs `step` for every requested key, at most `concurrency` at once and never two for one key, until `shutdown`. Tenants take
/// turns, and none has all places.
pub async fn run<K, F>(queue: Queue<K>, concurrency: usize, shutdown: CancellationToken, mut step: F)
where
    K: Tenant + Clone + Eq + Hash + Debug + Send + 'static,
    F: FnMut(K) -> BoxFuture<'static, Next>,
{
    let Queue { requests, incoming } = queue;
    let mut scheduler = Box::pin(scheduler(incoming));
    let mut turns: Turns<K> = Turns::new(concurrency);
    let mut failures: HashMap<K, u32> = HashMap::new();
    let mut steps = FuturesUnordered::new();
    loop {
        while let Some(key) = turns.start() {
            steps.push(step(key.clone()).map(move |next| (key, next)));
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some((key, next)) = steps.next(), if !steps.is_empty() => {
                let key: K = key;
                turns.ended(&key);
                let delay = match next {
                    Next::Done => { failures.remove(&key); continue }
                    Next::After(delay) => { failures.remove(&key); delay }
                    Next::Retry => pause(&mut failures, &key, BACKOFF),
                    Next::Refused => pause(&mut failures, &key, PATIENCE),
                    Next::NoRoom => pause(&mut failures, &key, ROOM),
                };
                requests.later(key, delay);
            }
            due = scheduler.next() => {
                let Some(key) = due else { return };
                turns.due(key);
            }
        }
    }
}

fn pause<K: Clone + Eq + Hash>(
    failures: &mut HashMap<K, u32>,
    key: &K,
    (first, longest): (Duration, Duration),
) -> Duration {
    let count = failures.entry(key.clone()).or_default();
    let delay = first.saturating_mul(2_u32.saturating_pow(*count)).min(longest);
    *count = count.saturating_add(1);
    delay
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    impl Tenant for &str {
        fn tenant(&self) -> &str {
            self.split('/').next().unwrap_or_default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_does_not_keep_others_waiting() {
        let (requests, queue) = queue();
        let done = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let seen = done.clone();
        let shutdown = CancellationToken::new();
        tokio::spawn(run(queue, 8, shutdown.clone(), move |name: Name| {
            let seen = seen.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                seen.lock().unwrap().push((name.namespace, start.elapsed().as_secs()));
                Next::Done
            }
            .boxed()
        }));
        let name = |namespace: &str, number: u32| Name {
            namespace: namespace.to_owned(),
            name: format!("pod-{number}"),
        };
        requests.send_all((0..1000).map(|number| name("crowd", number)));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        requests.send(name("quiet", 0));
        tokio::time::sleep(Duration::from_secs(300)).await;
        let done = done.lock().unwrap();
        assert_eq!(done.len(), 1001);
        let quiet = done.iter().find(|(namespace, _)| namespace == "quiet").unwrap();
        assert_eq!(quiet.1, 2, "a place was free at once, though a thousand came before");
        shutdown.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_never_runs_twice_at_once_and_is_not_forgotten() {
        let (requests, queue) = queue();
        let (running, most, runs) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let shutdown = CancellationToken::new();
        let worker = {
            let (running, most, runs) = (running.clone(), most.clone(), runs.clone());
            tokio::spawn(run(queue, 8, shutdown.clone(), move |_: &str| {
                let (running, most, runs) = (running.clone(), most.clone(), runs.clone());
                async move {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    runs.fetch_add(1, Ordering::SeqCst);
                    Next::Done
                }
                .boxed()
            }))
        };
        requests.send("pod");
        tokio::time::sleep(Duration::from_millis(10)).await;
        requests.send("pod");
        requests.send("pod");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert_eq!(runs.load(Ordering::SeqCst), 2, "asked for while it ran: once more, and only once");
        shutdown.cancel();
        worker.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_and_success_forgets_them() {
        let (requests, queue) = queue();
        let times = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let seen = times.clone();
        let shutdown = CancellationToken::new();
        tokio::spawn(run(queue, 1, shutdown.clone(), move |_: &str| {
            let seen = seen.clone();
            async move {
                let mut seen = seen.lock().unwrap();
                seen.push(start.elapsed().as_millis() / 100);
                if seen.len() < 4 { Next::Retry } else { Next::Done }
            }
            .boxed()
        }));
        requests.send("a/1");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(*times.lock().unwrap(), [0, 2, 6, 14]);
        shutdown.cancel();
    }
}
