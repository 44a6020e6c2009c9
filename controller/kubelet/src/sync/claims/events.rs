//! What the host says about its claims, and what tenants are told about theirs.

use super::Claims;
use super::converge::Error;
use crate::converge::{Next, Requests};
use crate::sync::events::write;
use crate::watch::{Name, json, origin};
use crate::world::{core, lock};
use futures::StreamExt;
use k3k_translate::event::retell;
use kube::api::{Api, DynamicObject};
use kube::runtime::events::{Event as Notice, EventType};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::Value;

/// Nested controllers say these themselves, in the nested cluster's terms.
const SAID_INSIDE: [&str; 2] = ["WaitForFirstConsumer", "ExternalProvisioning"];

impl Claims {
    /// Follows the host's Events about claims: one kind of them is news, that a claim waits for a pod; others are retold.
    pub(super) async fn hear(&self, requests: &Requests<Name>) {
        if self.host.wait_until_ready().await.is_err() {
            return;
        }
        let namespace = &self.world.context.owner.namespace;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.world.host.clone(), namespace, &core("Event"));
        let config = watcher::Config::default().fields("involvedObject.kind=PersistentVolumeClaim");
        let events =
            watch(api, config).modify(|event| event.metadata.managed_fields = None).default_backoff();
        let events = events.for_each_concurrent(4, |event| async move {
            match event {
                Ok(Event::Apply(event) | Event::InitApply(event)) => self.hear_one(requests, &json(&event)).await,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the watch of host events about claims broke; it is taken up again"),
            }
        });
        events.await;
    }

    pub(super) async fn hear_one(&self, requests: &Requests<Name>, event: &Value) {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let owner = &self.world.context.owner;
        let host = self.host_claim(text("/involvedObject/name"));
        let is_about = |host: &&std::sync::Arc<DynamicObject>| {
            host.metadata.uid.as_deref() == Some(text("/involvedObject/uid"))
        };
        let made_for = host.as_ref().filter(is_about).and_then(|host| origin(owner, host));
        if text("/reason") == "WaitForFirstConsumer" {
            lock(&self.waiting).insert(text("/involvedObject/uid").to_owned());
            requests.send_all(made_for.clone().map(Name::from));
        }
        let Some(origin) = made_for.filter(|_| !SAID_INSIDE.contains(&text("/reason"))) else { return };
        let Some(nested) = retell(owner, event, &origin, &self.world.context.node_name) else { return };
        write(&self.world, &nested).await;
    }

    /// Tells the tenant by an Event on the claim what keeps it from being served, where the tenant or the host's policy must
    /// change. Gives what follows.
    pub(super) async fn tell(&self, name: &Name, error: &Error) -> Next {
        let (reason, next) = match error {
            Error::Api { .. } => {
                tracing::warn!(claim = %name, %error, "a claim is out of date");
                return Next::Retry;
            }
            // The claim itself must change, and a change brings us back.
            Error::Refused(_) => ("NotSupported", Next::Done),
            Error::Retained { .. } => ("VolumeRetained", Next::Done),
            Error::Lost => ("VolumeLost", Next::Done),
            Error::Taken { .. } => ("HostNameTaken", Next::Refused),
            Error::Denied(denied) => (denied.reason, Next::Refused),
        };
        let message = error.to_string();
        tracing::info!(claim = %name, reason, message, "a claim is not served");
        let claim =
            self.nested_claim(name).and_then(|claim| serde_json::from_value::<DynamicObject>(claim).ok());
        let Some(claim) = claim else { return next };
        let notice = Notice {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(message.chars().take(1000).collect()),
            action: "Provision".to_owned(),
            secondary: None,
        };
        let reference = kube::Resource::object_ref(&claim, &core("PersistentVolumeClaim"));
        if let Err(error) = self.world.recorder.publish(&notice, &reference).await {
            tracing::warn!(claim = %name, %error, "that a claim is not served could not be recorded as an event");
        }
        next
    }
}
