//! What a watch has shown, packed. Unpacked, an object takes ten times the memory of its JSON text, and of pods there are many.

use crate::watch::Name;
use crate::world::lock;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

type Objects = BTreeMap<Name, Arc<[u8]>>;

/// The cache of one watch. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cache(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    objects: Objects,
    /// A list that is coming in, to take the place of `objects`.
    listed: Objects,
}

impl Cache {
    /// Takes in what the watch says.
    pub fn take(&self, event: &Event<DynamicObject>) {
        let mut shown = lock(&self.0);
        match event {
            Event::Init => shown.listed.clear(),
            Event::InitApply(object) => drop(shown.listed.insert(name(object), pack(object))),
            Event::InitDone => shown.objects = std::mem::take(&mut shown.listed),
            Event::Apply(object) => drop(shown.objects.insert(name(object), pack(object))),
            Event::Delete(object) => drop(shown.objects.remove(&name(object))),
        }
    }

    /// One object.
    pub fn get(&self, name: &Name) -> Option<Value> {
        let packed = lock(&self.0).objects.get(name).cloned()?;
        serde_json::from_slice(&packed).ok()
    }

    /// All objects as they are now, unpacked one by one.
    pub fn all(&self) -> impl Iterator<Item = Value> + use<> {
        unpacked(lock(&self.0).objects.values().cloned().collect())
    }

    /// Those of one namespace.
    pub fn within(&self, namespace: &str) -> impl Iterator<Item = Value> + use<> {
        let first = Name { namespace: namespace.to_owned(), name: String::new() };
        let shown = lock(&self.0);
        let here = shown.objects.range(first..).take_while(|(name, _)| name.namespace == namespace);
        unpacked(here.map(|(_, packed)| packed.clone()).collect())
    }

    /// The names of all objects.
    pub fn names(&self) -> Vec<Name> {
        lock(&self.0).objects.keys().cloned().collect()
    }
}

fn name(object: &DynamicObject) -> Name {
    let metadata = &object.metadata;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Name { namespace: text(&metadata.namespace), name: text(&metadata.name) }
}

fn pack(object: &DynamicObject) -> Arc<[u8]> {
    // It was read from JSON, so that it can be written as such.
    serde_json::to_vec(object).unwrap_or_default().into()
}

fn unpacked(packed: Vec<Arc<[u8]>>) -> impl Iterator<Item = Value> {
    packed.into_iter().filter_map(|packed| serde_json::from_slice(&packed).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(namespace: &str, name: &str, phase: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "status": {"phase": phase},
        }))
        .unwrap()
    }

    fn name(namespace: &str, name: &str) -> Name {
        Name { namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn it_shows_the_last_whole_list_and_what_came_since() {
        let cache = Cache::default();
        for event in [
            Event::Init,
            Event::InitApply(pod("a", "x", "Pending")),
            Event::InitApply(pod("b", "x", "Pending")),
            Event::InitApply(pod("a", "y", "Pending")),
        ] {
            cache.take(&event);
        }
        assert_eq!(cache.names(), [], "the list is not complete");
        cache.take(&Event::InitDone);
        cache.take(&Event::Apply(pod("a", "x", "Running")));
        assert_eq!(cache.get(&name("a", "x")).unwrap()["status"]["phase"], "Running");
        let here: Vec<_> = cache.within("a").map(|pod| pod["metadata"]["name"].clone()).collect();
        assert_eq!(here, ["x", "y"]);
        cache.take(&Event::Init);
        cache.take(&Event::InitApply(pod("b", "x", "Running")));
        assert_eq!(cache.all().count(), 3, "a list that breaks off changes nothing");
        cache.take(&Event::Init);
        cache.take(&Event::InitDone);
        assert_eq!(cache.all().count(), 0);
        cache.take(&Event::Apply(pod("a", "x", "Running")));
        cache.take(&Event::Delete(pod("a", "x", "Running")));
        assert_eq!(cache.get(&name("a", "x")), None);
    }
}
