//! Whose turn it is to be looked at. Pure.
//!
//! What breaks no policy is looked at now and then. Where something was found, somebody mends it, and wants to see that: it is looked at soon
//! again, and less and less often while nothing changes.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long until the next look at a policy that is kept.
const PERIOD: Duration = Duration::from_secs(10 * 60);
/// How soon after something was found.
const SOON: Duration = Duration::from_secs(30);

/// The generation of a policy, and the namespaces that it governs.
pub type State = (i64, Vec<String>);

/// When each policy is due, by name.
#[derive(Debug, Default)]
pub struct Turns(HashMap<String, Turn>);

#[derive(Debug)]
struct Turn {
    state: State,
    found: Option<u32>,
    pause: Duration,
    due: Instant,
}

impl Turns {
    /// Whether a policy is to be looked at now: its time has come, or it is not what it was then.
    pub fn is_due(&self, name: &str, state: &State, now: Instant) -> bool {
        self.0.get(name).is_none_or(|turn| turn.due <= now || turn.state != *state)
    }

    /// A policy was looked at, and so many violations were found; nothing if it could not be told.
    pub fn looked(&mut self, name: &str, state: State, found: Option<u32>, now: Instant) {
        let before = self.0.get(name).filter(|turn| turn.state == state && turn.found == found);
        let pause = match (found, before) {
            (Some(0), _) => PERIOD,
            (_, Some(before)) => (before.pause * 2).min(PERIOD),
            (_, None) => SOON,
        };
        // Not all controllers of a large host at the same moment, nor all policies of one.
        let pause_now = pause.mul_f64(fastrand::f64().mul_add(0.2, 0.9));
        self.0.insert(name.to_owned(), Turn { state, found, pause, due: now + pause_now });
    }

    /// How long until anything is due.
    pub fn next_in(&self, now: Instant) -> Duration {
        let next = self.0.values().map(|turn| turn.due).min();
        next.map_or(PERIOD, |due| due.saturating_duration_since(now))
    }

    /// All are due.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Forgets policies that are gone.
    pub fn keep(&mut self, exists: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| exists(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(generation: i64) -> State {
        (generation, vec!["t".to_owned()])
    }

    #[test]
    fn who_changes_is_looked_at_at_once_and_who_is_kept_now_and_then() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        assert!(turns.is_due("gold", &state(1), now));
        turns.looked("gold", state(1), Some(0), now);
        assert!(!turns.is_due("gold", &state(1), now + PERIOD / 2));
        assert!(turns.is_due("gold", &state(1), now + PERIOD * 2));
        assert!(turns.is_due("gold", &state(2), now), "another generation");
        assert!(turns.is_due("gold", &(1, Vec::new()), now), "other namespaces");
        turns.forget();
        assert!(turns.is_due("gold", &state(1), now));
    }

    #[test]
    fn what_was_found_is_looked_at_soon_and_then_less_often() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        turns.looked("gold", state(1), Some(2), now);
        assert!(turns.next_in(now) < SOON * 2);
        for _ in 0..20 {
            turns.looked("gold", state(1), Some(2), now);
        }
        assert!(turns.next_in(now) > SOON * 2 && turns.next_in(now) < PERIOD * 2);
        turns.looked("gold", state(1), Some(1), now);
        assert!(turns.next_in(now) < SOON * 2, "somebody is mending");
        turns.looked("gold", state(1), None, now);
        assert!(turns.next_in(now) < SOON * 2, "it failed");
        turns.keep(|_| false);
        assert_eq!(turns.next_in(now), PERIOD);
    }
}
