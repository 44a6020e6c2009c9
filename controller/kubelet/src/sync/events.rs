//! Events of the host about tenants' pods, retold inside.
//!
//! Warnings are retold at once. What went well is retold when there is time: when hundreds of pods start at once, their tenant waits
//! for the pods, not for being told that each image was there. An Event that cannot be repeated is lost: it is a message, not state.

use crate::clients::bucket::Bucket;
use crate::clients::signed;
use crate::watch::json;
use crate::world::{World, core, lock};
use futures::StreamExt;
use futures::channel::mpsc;
use k3k_translate::event::retell;
use kube::api::{Api, DynamicObject, Patch};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::Value;
use std::time::Duration;

/// Of what went well so much is retold at once.
const BURST: u32 = 50;
/// One more for each of these.
const EVERY: Duration = Duration::from_millis(200);
/// Events that wait for it. More are lost.
const WAITING: usize = 1000;

/// Watches the host's Events on pods in our namespace and repeats those about our tenants' pods in the nested cluster. Never ends.
pub async fn retell_all(world: &World) {
    let resource = core("Event");
    let api: Api<DynamicObject> =
        Api::namespaced_with(world.host.clone(), &world.context.owner.namespace, &resource);
    let config = watcher::Config::default().fields("involvedObject.kind=Pod");
    let events = watch(api, config).modify(|event| event.metadata.managed_fields = None).default_backoff();
    let (later, waiting) = mpsc::channel(WAITING);
    let hear = events.for_each_concurrent(4, |event| {
        let mut later = later.clone();
        async move {
            match event {
                Ok(Event::Apply(event) | Event::InitApply(event)) => {
                    let Some(nested) = retold(world, &json(&event)) else { return };
                    if nested["type"] == "Warning" {
                        write(world, &nested).await;
                    } else if later.try_send(nested.to_string()).is_err() {
                        tracing::debug!("too many events of the host wait; one is not retold");
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the watch of host events broke; it is taken up again");
                }
            }
        }
    });
    futures::join!(hear, tell(world, waiting));
}

/// Writes what waits, one by one.
async fn tell(world: &World, mut waiting: mpsc::Receiver<String>) {
    let mut bucket = Bucket::new(BURST, EVERY);
    while let Some(event) = waiting.next().await {
        tokio::time::sleep_until(bucket.due()).await;
        bucket.take();
        // It was packed by us.
        if let Ok(event) = serde_json::from_str(&event) {
            write(world, &event).await;
        }
    }
}

fn retold(world: &World, event: &Value) -> Option<Value> {
    let host_pod = event.pointer("/involvedObject/name").and_then(Value::as_str).unwrap_or_default();
    let origin = lock(&world.origins).get(host_pod).cloned()?;
    retell(&world.context.owner, event, &origin, &world.context.node_name)
}

/// Makes a nested Event, or brings it up to date.
pub(super) async fn write(world: &World, event: &Value) {
    let text = |field: &str| event["metadata"][field].as_str().unwrap_or_default();
    let api = world.nested_api("Event", text("namespace"));
    let made = async {
        let new: DynamicObject = serde_json::from_value(event.clone()).map_err(kube::Error::SerdeError)?;
        // Nearly all are new, and making costs the API server less than applying.
        match api.create(&signed::create(), &new).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                api.patch(text("name"), &signed::patch(), &Patch::Merge(event)).await
            }
            result => result,
        }
    };
    if let Err(error) = made.await {
        tracing::debug!(event = text("name"), %error, "an event of the host was not retold");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Seen, world};
    use k3k_translate::Origin;
    use serde_json::json;

    fn event(kind: &str, number: usize) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("web.{number}"), "namespace": "k3k-dev"},
            "involvedObject": {"kind": "Pod", "name": "host-web"}, "type": kind, "reason": "Because", "message": "said",
        })
    }

    #[tokio::test(start_paused = true)]
    async fn warnings_overtake_a_crowd_of_good_news() {
        let (world, mut host, mut nested) = world(Seen::default());
        let origin = Origin { namespace: "shop".into(), name: "web".into(), uid: "u".into() };
        lock(&world.origins).insert("host-web".into(), origin);
        let crowd = 60;
        let mut events: Vec<Value> = (0..crowd).map(|number| event("Normal", number)).collect();
        events.push(event("Warning", crowd));
        let telling = async {
            let list = host.expect("GET", "/api/v1/namespaces/k3k-dev/events?").await;
            list.answer(200, &json!({"apiVersion": "v1", "kind": "EventList", "metadata": {"resourceVersion": "1"}, "items": events}));
            let mut told = Vec::new();
            while told.len() <= crowd {
                let call = nested.expect("POST", "/api/v1/namespaces/shop/events").await;
                told.push(call.body["type"].as_str().unwrap().to_owned());
                call.accept();
            }
            told
        };
        let told = tokio::select! {
            () = retell_all(&world) => unreachable!("it never ends"),
            told = telling => told,
        };
        let warning = told.iter().position(|kind| kind == "Warning").unwrap();
        assert!(warning < crowd, "told as number {warning}");
    }

    #[tokio::test]
    async fn what_is_there_is_brought_up_to_date() {
        let (world, _host, mut nested) = world(Seen::default());
        let again = json!({"metadata": {"name": "web.1", "namespace": "shop"}, "count": 2});
        let writing = tokio::spawn(async move { write(&world, &again).await });
        nested.expect("POST", "/api/v1/namespaces/shop/events").await.refuse(409, "AlreadyExists", "there");
        let call = nested.expect("PATCH", "/api/v1/namespaces/shop/events/web.1").await;
        assert_eq!(call.body["count"], 2);
        call.accept();
        writing.await.unwrap();
    }
}
