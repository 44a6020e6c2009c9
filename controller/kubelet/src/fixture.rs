//! A kubelet of the cluster `dev` on mock API servers, for tests.

use crate::cache::Cache;
use crate::sync::writers::Writers;
use crate::world::World;
use k3k_api::offered::Offered;
use k3k_api::v1beta1::SyncConfig;
use k3k_runtime::scenario::{Scenario, client};
use k3k_translate::{Owner, pod::Context};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{Store, store::Writer};
use kube::runtime::watcher::Event;
use serde_json::Value;
use std::sync::Mutex;

/// The cluster.
pub(crate) fn owner() -> Owner {
    Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c-uid".into() }
}

/// A cache that holds these objects.
pub(crate) fn store(resource: ApiResource, objects: impl IntoIterator<Item = Value>) -> Store<DynamicObject> {
    let mut writer = Writer::<DynamicObject>::new(resource);
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
    writer.as_reader()
}

/// The same, packed.
fn cache(objects: impl IntoIterator<Item = Value>) -> Cache {
    let cache = Cache::default();
    for object in objects {
        cache.take(&Event::Apply(serde_json::from_value(object).unwrap()));
    }
    cache
}

/// What the world's caches hold.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) nested_pod: Option<Value>,
    pub(crate) nested_service: Option<Value>,
    pub(crate) host_pod: Option<Value>,
    pub(crate) sync: SyncConfig,
    pub(crate) offered: Offered,
}

/// A world that sees these, the host's side of its calls, and the nested one's.
pub(crate) fn world(seen: Seen) -> (World, Scenario, Scenario) {
    let (host, host_calls) = client();
    let (nested, nested_calls) = client();
    let reporter = Reporter { controller: "k3k-kubelet".into(), instance: None };
    let world = World {
        context: Context {
            owner: owner(),
            node_name: "k3k-dev".into(),
            node_ip: "10.96.3.3".into(),
            server_ip: "10.96.1.1".into(),
            dns_ip: "10.96.2.2".into(),
            cluster_domain: "cluster.local".into(),
            mirrors_nodes: false,
            node_selector: std::collections::BTreeMap::new(),
        },
        sync: seen.sync,
        offered: seen.offered,
        host,
        recorder: Recorder::new(nested.clone(), reporter),
        nested,
        nested_pods: cache(seen.nested_pod),
        nested_services: cache(seen.nested_service),
        host_pods: cache(seen.host_pod),
        uses: Mutex::default(),
        writers: Writers::default(),
        origins: Mutex::default(),
        host_nodes: None,
        stopped_until: None,
    };
    (world, host_calls, nested_calls)
}
