//! What all loops over pairs of objects share: caches that must be complete before an absence means anything, changes that ask for
//! keys, and one step at a time for each key.

use crate::converge::{Next, Queue, Requests, run};
use crate::watch::{Change, Name};
use futures::{FutureExt, Stream, StreamExt};
use kube::api::DynamicObject;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

/// Which of several lists were complete once.
#[derive(Debug)]
pub struct Lists(Vec<AtomicBool>);

impl Lists {
    /// For `count` lists, none of which is complete.
    pub fn new(count: usize) -> Self {
        Self((0..count).map(|_| AtomicBool::new(false)).collect())
    }

    /// Notes that one is complete.
    pub fn complete(&self, list: usize) {
        if let Some(list) = self.0.get(list) {
            list.store(true, Ordering::Release);
        }
    }

    /// Whether all are.
    pub fn are_complete(&self) -> bool {
        self.0.iter().all(|list| list.load(Ordering::Acquire))
    }
}

/// Who brings the pairs of one kind to agree.
pub trait Pairs: Send + Sync + 'static {
    /// The lists that decide.
    fn lists(&self) -> &Lists;

    /// Every key that one of the caches speaks of.
    fn known(&self) -> Vec<Name>;

    /// Brings one pair to agree, with all lists complete.
    fn act(&self, name: &Name) -> impl Future<Output = Next> + Send;

    /// One step. Before all lists are complete nothing is done: the last of them asks for everything.
    fn step(&self, name: &Name) -> impl Future<Output = Next> + Send {
        async { if self.lists().are_complete() { self.act(name).await } else { Next::Done } }
    }

    /// Notes that `list` was filled, and asks for everything.
    fn relisted(&self, list: usize, requests: &Requests<Name>) {
        self.lists().complete(list);
        requests.send_all(self.known());
    }
}

/// Takes steps for what is asked for, until `shutdown`.
pub async fn work<P: Pairs>(pairs: Arc<P>, queue: Queue<Name>, at_once: usize, shutdown: CancellationToken) {
    let step = move |name: Name| {
        let pairs = pairs.clone();
        async move { pairs.step(&name).await }.boxed()
    };
    run(queue, at_once, shutdown, step).await;
}

/// Asks for the keys that each change in `list` concerns.
pub async fn follow<P: Pairs, C: IntoIterator<Item = Name>>(
    pairs: &P,
    list: usize,
    changes: impl Stream<Item = Change>,
    requests: &Requests<Name>,
    concerns: impl Fn(&DynamicObject) -> C,
) {
    let changes = changes.for_each(|change| {
        match change {
            Change::Object(object) => requests.send_all(concerns(&object)),
            Change::Relisted => pairs.relisted(list, requests),
        }
        futures::future::ready(())
    });
    changes.await;
}
