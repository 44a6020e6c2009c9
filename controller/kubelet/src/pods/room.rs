//! Pods for which a quota of the host had no room. Each host pod of ours that ends makes room, and those who have waited longest are tried
//! first. Room that others make, or the administrator, is found by trying now and then.

use crate::watch::Name;
use crate::world::lock;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

/// How many are tried when a pod ends: not all, as each is a request that the host will most likely refuse.
const AT_ONCE: usize = 2;
/// How long after: the host counts what has ended a little later.
pub const DELAY: Duration = Duration::from_secs(2);

/// Those who wait, in their order.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<VecDeque<Name>>);

impl Waiting {
    /// There was no room for a pod. It goes to the end of the line.
    pub fn join(&self, name: &Name) {
        let mut line = lock(&self.0);
        line.retain(|other| other != name);
        line.push_back(name.clone());
    }

    /// A pod does not wait any more.
    pub fn leave(&self, name: &Name) {
        lock(&self.0).retain(|other| other != name);
    }

    /// Whom to try now that there may be room. Who is refused again joins again.
    pub fn next(&self) -> Vec<Name> {
        let mut line = lock(&self.0);
        let count = AT_ONCE.min(line.len());
        line.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_longest_is_tried_first() {
        let name = |name: &str| Name { namespace: "default".into(), name: name.into() };
        let waiting = Waiting::default();
        for pod in ["a", "b", "c", "a", "d"] {
            waiting.join(&name(pod));
        }
        waiting.leave(&name("c"));
        assert_eq!(waiting.next(), [name("b"), name("a")]);
        assert_eq!(waiting.next(), [name("d")]);
        assert_eq!(waiting.next(), []);
    }
}
