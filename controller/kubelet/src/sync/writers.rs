//! One writer at a time for each copy. Many pods that come at once use the same ConfigMaps – every pod that of the cluster's
//! authority – and each of them becomes an owner of the copy. Who waited finds what the one before wrote, which mostly is enough.

use crate::uses::Key;
use crate::world::lock;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::OwnedMutexGuard;

/// What was written last, since somebody has been waiting: from which version of the nested object, and for which owners.
pub type Last = Option<(String, Vec<Value>)>;

/// Who writes which copy.
#[derive(Debug, Default)]
pub struct Writers(Mutex<HashMap<Key, Weak<tokio::sync::Mutex<Last>>>>);

impl Writers {
    /// Waits until nobody else writes the copy of `key`.
    pub async fn turn(&self, key: &Key) -> OwnedMutexGuard<Last> {
        self.queue(key).lock_owned().await
    }

    fn queue(&self, key: &Key) -> Arc<tokio::sync::Mutex<Last>> {
        let mut queues = lock(&self.0);
        if let Some(queue) = queues.get(key).and_then(Weak::upgrade) {
            return queue;
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::default();
        queues.insert(key.clone(), Arc::downgrade(&queue));
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Name;
    use k3k_translate::data::DataKind;

    #[tokio::test]
    async fn who_waits_learns_what_was_written_and_nothing_is_kept() {
        let key = |name: &str| (DataKind::ConfigMap, Name { namespace: "a".into(), name: name.into() });
        let writers = Arc::new(Writers::default());
        let mut first = writers.turn(&key("x")).await;
        let second = tokio::spawn({
            let writers = writers.clone();
            async move { writers.turn(&key("x")).await.clone() }
        });
        // Another copy is nobody's concern here.
        drop(writers.turn(&key("y")).await);
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        *first = Some(("5".into(), Vec::new()));
        drop(first);
        assert_eq!(second.await.unwrap(), Some(("5".into(), Vec::new())));
        assert_eq!(*writers.turn(&key("x")).await, None, "nobody waited, so nothing was kept");
        assert_eq!(lock(&writers.0).len(), 1);
    }
}
