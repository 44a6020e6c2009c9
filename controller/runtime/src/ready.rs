//! Readiness: a process is ready when every part that announced itself says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The conjunction of named latches. Clones share them. Without a latch it is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    latches: Arc<Mutex<Vec<Named>>>,
}

type Named = (&'static str, Arc<AtomicBool>);

/// One part's say in readiness; unset at first. Clones share it.
#[derive(Clone, Debug)]
pub struct Latch {
    set: Arc<AtomicBool>,
}

impl Readiness {
    /// Adds a latch, unset. `name` tells people what is being waited for.
    pub fn latch(&self, name: &'static str) -> Latch {
        let set = Arc::new(AtomicBool::new(false));
        self.lock().push((name, set.clone()));
        Latch { set }
    }

    /// Whether every latch is set.
    pub fn is_ready(&self) -> bool {
        self.lock().iter().all(|(_, set)| set.load(Ordering::Acquire))
    }

    /// The names of the latches that are not set, in the order in which they were added.
    pub fn pending(&self) -> Vec<&'static str> {
        self.lock().iter().filter(|(_, set)| !set.load(Ordering::Acquire)).map(|(name, _)| *name).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Named>> {
        // A poisoned list is still a list: pushing is the only change ever made.
        self.latches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latch {
    /// This part is ready.
    pub fn set(&self) {
        self.set.store(true, Ordering::Release);
    }

    /// This part is no longer ready.
    pub fn clear(&self) {
        self.set.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_latch() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let (first, second) = (readiness.latch("first"), readiness.latch("second"));
        assert_eq!(readiness.pending(), ["first", "second"]);
        second.set();
        assert_eq!(readiness.pending(), ["first"]);
        assert!(!readiness.is_ready());
        first.clone().set();
        assert!(readiness.clone().is_ready());
        second.clear();
        assert_eq!(readiness.pending(), ["second"]);
    }
}
