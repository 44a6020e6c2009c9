//! Watches that keep a cache and name the keys that changed.

use futures::{Stream, StreamExt};
use k3k_translate::{Origin, Owner};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::reflector::{Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::Value;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The name of a namespaced object of the nested cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<Origin> for Name {
    fn from(origin: Origin) -> Self {
        Self { namespace: origin.namespace, name: origin.name }
    }
}

/// The name of a nested object.
pub fn nested_name(object: &DynamicObject) -> Option<Name> {
    Some(Name { namespace: object.metadata.namespace.clone()?, name: object.metadata.name.clone()? })
}

/// The nested object that a host copy of ours stands for.
pub fn origin(owner: &Owner, object: &DynamicObject) -> Option<Origin> {
    Origin::of_host(owner, &serde_json::to_value(&object.metadata).ok()?)
}

/// The object as the JSON that translations work on.
pub fn json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// What a watch reports once its cache shows it.
#[derive(Debug)]
pub enum Change {
    /// This object was added, changed or removed.
    Object(Box<DynamicObject>),
    /// The cache was filled anew; anything may have changed since the last time.
    Relisted,
}

/// Whether the caches of both sides have been filled. Until then an absence means nothing. Every key is asked for when a cache has been
/// filled, so what is passed over before is not lost.
#[derive(Debug, Default)]
pub struct Listed {
    nested: AtomicBool,
    host: AtomicBool,
}

impl Listed {
    /// Takes note of a change on one side.
    pub fn note(&self, is_nested: bool, change: &Change) {
        if matches!(change, Change::Relisted) {
            let side = if is_nested { &self.nested } else { &self.host };
            side.store(true, Ordering::Release);
        }
    }

    /// Whether both have been filled.
    pub fn both(&self) -> bool {
        self.nested.load(Ordering::Acquire) && self.host.load(Ordering::Acquire)
    }
}

/// Follows `api`, keeping the returned cache. The stream must be polled for the cache to fill; it never ends, and goes on
/// after errors.
pub fn follow(
    api: Api<DynamicObject>,
    resource: &ApiResource,
    config: watcher::Config,
) -> (Store<DynamicObject>, impl Stream<Item = Change> + Send + 'static) {
    let writer = Writer::new(resource.clone());
    let store = writer.as_reader();
    let kind = resource.kind.clone();
    let stream = watch(api, config)
        .modify(|object| object.metadata.managed_fields = None)
        .default_backoff()
        .reflect(writer)
        .filter_map(move |event| {
            let change = match event {
                Ok(Event::Apply(object) | Event::Delete(object)) => Some(Change::Object(Box::new(object))),
                Ok(Event::InitDone) => Some(Change::Relisted),
                Ok(Event::Init | Event::InitApply(_)) => None,
                Err(error) => {
                    tracing::warn!(kind, %error, "a watch broke; it is taken up again");
                    None
                }
            };
            futures::future::ready(change)
        });
    (store, stream)
}

/// The changes of both sides, each with whether it is of the nested side.
pub fn both(
    nested: impl Stream<Item = Change> + Send + 'static,
    host: impl Stream<Item = Change> + Send + 'static,
) -> impl Stream<Item = (bool, Change)> + Send + 'static {
    futures::stream::select(nested.map(|change| (true, change)), host.map(|change| (false, change)))
}
