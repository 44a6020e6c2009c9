//! Whose turn it is. Pure.

use super::Tenant;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// Keys that are due and keys that are being worked on. Tenants with due keys take turns, one key each; within a tenant who was
/// first is first. One tenant alone gets three quarters of the places, so that another never waits for a place.
#[derive(Debug)]
pub(super) struct Turns<K> {
    places: usize,
    share: usize,
    running: HashSet<K>,
    /// How many of `running` each tenant has.
    taken: HashMap<String, usize>,
    due: HashSet<K>,
    /// The due keys of each tenant; none is empty.
    lines: HashMap<String, VecDeque<K>>,
    /// Tenants with due keys, in the order of their turns.
    order: VecDeque<String>,
}

impl<K: Tenant + Clone + Eq + Hash> Turns<K> {
    /// For so many keys at once.
    pub(super) fn new(places: usize) -> Self {
        Self {
            places,
            share: places.saturating_sub(places / 4).max(1),
            running: HashSet::new(),
            taken: HashMap::new(),
            due: HashSet::new(),
            lines: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// `key` is due. Once is enough.
    pub(super) fn due(&mut self, key: K) {
        if !self.due.insert(key.clone()) {
            return;
        }
        let tenant = key.tenant();
        if let Some(line) = self.lines.get_mut(tenant) {
            line.push_back(key);
        } else {
            self.order.push_back(tenant.to_owned());
            self.lines.insert(tenant.to_owned(), VecDeque::from([key]));
        }
    }

    /// The next key to work on, if there is a place for one. A key that is being worked on waits for its end.
    pub(super) fn start(&mut self) -> Option<K> {
        if self.running.len() >= self.places {
            return None;
        }
        for _ in 0..self.order.len() {
            let tenant = self.order.pop_front()?;
            let key = self.first(&tenant);
            if self.lines.get(&tenant).is_some_and(|line| !line.is_empty()) {
                self.order.push_back(tenant.clone());
            } else {
                self.lines.remove(&tenant);
            }
            if let Some(key) = key {
                self.due.remove(&key);
                self.running.insert(key.clone());
                *self.taken.entry(tenant).or_default() += 1;
                return Some(key);
            }
        }
        None
    }

    fn first(&mut self, tenant: &str) -> Option<K> {
        if self.taken.get(tenant).is_some_and(|taken| *taken >= self.share) {
            return None;
        }
        let line = self.lines.get_mut(tenant)?;
        let position = line.iter().position(|key| !self.running.contains(key))?;
        line.remove(position)
    }

    /// Work on `key` has ended.
    pub(super) fn ended(&mut self, key: &K) {
        if !self.running.remove(key) {
            return;
        }
        if let Some(taken) = self.taken.get_mut(key.tenant()) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(key.tenant());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(turns: &mut Turns<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| turns.start()).collect()
    }

    #[test]
    fn tenants_take_turns() {
        let mut turns = Turns::new(100);
        for key in ["a/1", "a/2", "a/3", "b/1", "c/1", "c/2"] {
            turns.due(key);
        }
        assert_eq!(all(&mut turns), ["a/1", "b/1", "c/1", "a/2", "c/2", "a/3"]);
    }

    #[test]
    fn one_tenant_leaves_places_for_others() {
        let mut turns = Turns::new(4);
        for key in ["a/1", "a/2", "a/3", "a/4"] {
            turns.due(key);
        }
        assert_eq!(all(&mut turns), ["a/1", "a/2", "a/3"]);
        turns.due("b/1");
        turns.due("b/2");
        assert_eq!(all(&mut turns), ["b/1"], "four places");
        turns.ended(&"a/2");
        assert_eq!(turns.start(), Some("a/4"), "it was passed over, and not forgotten");
        turns.ended(&"a/1");
        assert_eq!(all(&mut turns), ["b/2"]);
    }

    #[test]
    fn a_key_waits_for_itself_and_is_remembered_once() {
        let mut turns = Turns::new(1);
        turns.due("a/1");
        turns.due("a/1");
        assert_eq!(turns.start(), Some("a/1"), "even a single place is given");
        turns.due("a/1");
        turns.ended(&"a/1");
        assert_eq!(all(&mut turns), ["a/1"]);
        turns.ended(&"a/1");
        assert_eq!(turns.start(), None);
        let mut turns = Turns::new(8);
        turns.due("a/1");
        assert_eq!(turns.start(), Some("a/1"));
        for key in ["a/1", "a/2"] {
            turns.due(key);
        }
        assert_eq!(all(&mut turns), ["a/2"], "others need not wait for it");
        turns.ended(&"a/1");
        assert_eq!(all(&mut turns), ["a/1"]);
        assert!(turns.taken.len() == 1 && turns.lines.is_empty() && turns.order.is_empty());
    }
}
