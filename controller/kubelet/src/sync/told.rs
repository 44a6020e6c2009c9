//! What tenants are told about their objects, by Events on them.

use crate::watch::Name;
use crate::world::{World, lock};
use k3k_translate::Refusal;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::events::{Event as Notice, EventType};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Mutex;

/// Longest message of an Event (validation of events.k8s.io/v1), in bytes.
const LONGEST_NOTE: usize = 1024;

/// Tells the tenant something about a nested object by an Event on it.
pub async fn notice(
    world: &World,
    resource: &ApiResource,
    nested: &Value,
    reason: &str,
    kind: EventType,
    note: &str,
) {
    let Ok(object) = serde_json::from_value::<DynamicObject>(nested.clone()) else { return };
    let mut end = note.len().min(LONGEST_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    let notice = Notice {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(note[..end].to_owned()),
        action: "Sync".to_owned(),
        secondary: None,
    };
    let reference = kube::Resource::object_ref(&object, resource);
    if let Err(error) = world.recorder.publish(&notice, &reference).await {
        tracing::warn!(kind = resource.kind, reason, note, %error, "what happened to an object could not be recorded as an event");
    }
}

/// The refusals in one text.
pub fn joined(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What tenants were told is left out of their objects, with the UID of the object.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<Name, (String, Vec<Refusal>)>>);

impl Told {
    /// Notes what is left out of `nested` now. Says whether there is something to be told.
    pub fn is_news(&self, name: &Name, nested: &Value, left_out: &[Refusal]) -> bool {
        let mut told = lock(&self.0);
        if left_out.is_empty() {
            told.remove(name);
            return false;
        }
        let uid = nested["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let now = (uid, left_out.to_vec());
        told.insert(name.clone(), now.clone()) != Some(now)
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, name: &Name) {
        lock(&self.0).remove(name);
    }
}
