//! Caches that a standby keeps filled, so that it can take over at once, and that tell a leader what changed.

use crate::cache::Cache;
use crate::watch::Change;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{Stream, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use std::sync::{Arc, Mutex};
use tokio::sync::watch as value;

/// The reading side of one cache. [`Filling`] is the other.
#[derive(Debug)]
pub struct Feed {
    cache: Cache,
    /// Which list the cache is from; 0 before the first.
    filled: value::Sender<u64>,
    /// Which list is asked for.
    wanted: value::Sender<u64>,
    /// Who follows, and from which list on.
    follower: Mutex<Option<(u64, UnboundedSender<Change>)>>,
}

/// The writing side of a cache.
pub struct Filling {
    feed: Arc<Feed>,
    api: Api<DynamicObject>,
    config: watcher::Config,
    kind: String,
}

/// A cache of what `api` and `config` select.
pub fn feed(
    api: Api<DynamicObject>,
    resource: &ApiResource,
    config: watcher::Config,
) -> (Arc<Feed>, Filling) {
    let feed = Arc::new(Feed {
        cache: Cache::default(),
        filled: value::Sender::new(0),
        wanted: value::Sender::new(1),
        follower: Mutex::default(),
    });
    let filling = Filling { feed: feed.clone(), api, config, kind: resource.kind.clone() };
    (feed, filling)
}

impl Feed {
    /// The cache.
    pub fn cache(&self) -> Cache {
        self.cache.clone()
    }

    /// Waits until the cache is filled as last asked for.
    pub async fn filled(&self) {
        let wanted = *self.wanted.borrow();
        // The sender is ours, so this does not fail.
        let _ = self.filled.subscribe().wait_for(|filled| *filled >= wanted).await;
    }

    /// Has the cache filled anew, and follows it from then on. A predecessor may have acted on what our watch, which may hang, has not
    /// shown us yet: who begins to act must not know less.
    pub fn follow_anew(&self) -> impl Stream<Item = Change> + Send + use<> {
        let (sender, changes) = unbounded();
        let mut follower = crate::world::lock(&self.follower);
        self.wanted.send_modify(|wanted| *wanted += 1);
        *follower = Some((*self.wanted.borrow(), sender));
        changes
    }

    fn tell(&self, list: u64, change: Change) {
        let mut follower = crate::world::lock(&self.follower);
        if let Some((from, sender)) = &*follower
            && list >= *from
            && sender.unbounded_send(change).is_err()
        {
            *follower = None;
        }
    }
}

impl Filling {
    /// Keeps the cache filled, for ever.
    pub async fn run(self) {
        let mut wanted = self.feed.wanted.subscribe();
        loop {
            let list = *wanted.borrow_and_update();
            let events = watch(self.api.clone(), self.config.clone())
                .modify(|object| object.metadata.managed_fields = None)
                .default_backoff();
            let mut events = std::pin::pin!(events);
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    _ = wanted.changed() => break,
                };
                match event {
                    Some(Ok(event)) => self.take(list, event),
                    Some(Err(error)) => {
                        tracing::warn!(kind = self.kind, %error, "a watch broke; it is taken up again");
                    }
                    None => break,
                }
            }
        }
    }

    fn take(&self, list: u64, event: Event<DynamicObject>) {
        self.feed.cache.take(&event);
        match event {
            Event::Apply(object) | Event::Delete(object) => {
                self.feed.tell(list, Change::Object(Box::new(object)));
            }
            Event::InitDone => {
                self.feed.filled.send_replace(list);
                self.feed.tell(list, Change::Relisted);
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::core;
    use k3k_runtime::scenario::{Scenario, client};
    use serde_json::json;

    fn pods(names: &[&str]) -> serde_json::Value {
        let pods: Vec<_> =
            names.iter().map(|name| json!({"metadata": {"name": name, "namespace": "a"}})).collect();
        json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": pods})
    }

    /// Answers the next list, and leaves the watch that follows it without an answer.
    async fn list(server: &mut Scenario, names: &[&str]) -> k3k_runtime::scenario::Call {
        let call = server.expect("GET", "/api/v1/pods?").await;
        assert!(!call.uri.contains("watch=true"), "{}", call.uri);
        call.answer(200, &pods(names));
        let watch = server.expect("GET", "/api/v1/pods?").await;
        assert!(watch.uri.contains("watch=true"), "{}", watch.uri);
        watch
    }

    #[tokio::test]
    async fn who_begins_to_follow_is_told_of_a_list_made_since() {
        let (client, mut server) = client();
        let resource = core("Pod");
        let (feed, filling) = feed(Api::all_with(client, &resource), &resource, watcher::Config::default());
        let task = tokio::spawn(filling.run());
        let hung = list(&mut server, &["one"]).await;
        feed.filled().await;
        assert_eq!(feed.cache().names().len(), 1);

        let changes = feed.follow_anew();
        let mut changes = std::pin::pin!(changes);
        assert!(futures::poll!(changes.next()).is_pending(), "what was listed before is not what is meant");
        let asked = feed.filled();
        let mut asked = std::pin::pin!(asked);
        assert!(futures::poll!(asked.as_mut()).is_pending());
        let _watch = list(&mut server, &["one", "two"]).await;
        drop(hung);
        asked.await;
        assert!(matches!(changes.next().await, Some(Change::Relisted)));
        assert_eq!(feed.cache().names().len(), 2);
        task.abort();
    }
}
