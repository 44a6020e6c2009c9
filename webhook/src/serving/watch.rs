//! Following one object by name.

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher::watch_object};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::future::Future;
use tokio::sync::watch::{Receiver, channel};

/// What is known of an object.
#[derive(Clone, Debug)]
pub enum Seen<K> {
    /// Nothing yet.
    Unknown,
    /// It does not exist.
    Absent,
    /// It was like this.
    Present(K),
}

impl<K> Seen<K> {
    /// The object, if there is one.
    pub fn present(&self) -> Option<&K> {
        match self {
            Self::Present(object) => Some(object),
            Self::Unknown | Self::Absent => None,
        }
    }
}

/// The newest known state of the object called `name`, for as long as the future is polled.
pub fn follow<K>(api: Api<K>, name: &str) -> (Receiver<Seen<K>>, impl Future<Output = ()> + Send + use<K>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default,
{
    let (sender, receiver) = channel(Seen::Unknown);
    let events = watch_object(api, name).default_backoff();
    let (kind, name) = (K::kind(&K::DynamicType::default()).into_owned(), name.to_owned());
    let following = async move {
        futures::pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Some(object)) => drop(sender.send_replace(Seen::Present(object))),
                Ok(None) => drop(sender.send_replace(Seen::Absent)),
                Err(error) => tracing::warn!(kind, name, %error, "watching; going on with what is known"),
            }
        }
    };
    (receiver, following)
}
