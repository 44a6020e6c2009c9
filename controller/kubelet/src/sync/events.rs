//! Events of the host about tenants' pods, retold inside.

use crate::clients::signed;
use crate::watch::json;
use crate::world::{World, core, lock};
use futures::StreamExt;
use k3k_translate::event::retell;
use kube::api::{Api, DynamicObject, Patch};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::Value;
use std::sync::Arc;

/// Watches the host's Events on pods in our namespace and repeats those about our tenants' pods in the nested cluster. An
/// Event that cannot be repeated is lost: it is a message, not state.
pub async fn retell_all(world: Arc<World>) {
    let resource = core("Event");
    let api: Api<DynamicObject> =
        Api::namespaced_with(world.host.clone(), &world.context.owner.namespace, &resource);
    let config = watcher::Config::default().fields("involvedObject.kind=Pod");
    let events = watch(api, config).modify(|event| event.metadata.managed_fields = None).default_backoff();
    events
        .for_each_concurrent(16, |event| {
            let world = world.clone();
            async move {
                match event {
                    Ok(Event::Apply(event) | Event::InitApply(event)) => {
                        one(&world, &json(&event)).await;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the watch of host events broke; it is taken up again");
                    }
                }
            }
        })
        .await;
}

async fn one(world: &World, event: &Value) {
    let host_pod = event.pointer("/involvedObject/name").and_then(Value::as_str).unwrap_or_default();
    let Some(origin) = lock(&world.origins).get(host_pod).cloned() else { return };
    let Some(nested) = retell(&world.context.owner, event, &origin, &world.context.node_name) else { return };
    let name = nested["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let api = world.nested_api("Event", &origin.namespace);
    if let Err(error) = api.patch(&name, &signed::apply(), &Patch::Apply(&nested)).await {
        tracing::debug!(event = name, %error, "an event of the host was not retold");
    }
}
