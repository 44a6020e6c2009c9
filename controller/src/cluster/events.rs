//! Events on Clusters, when something changes for their owners.

use super::build::Site;
use k3k_api::conditions::{self, EXPOSED, READY};
use k3k_api::managers;
use k3k_api::v1beta1::{ClusterStatus, GROUP, Phase, VERSION};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

/// Publishes events.
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events in the name of this process.
    pub fn new(client: Client, identity: String) -> Self {
        let reporter = Reporter { controller: managers::CONTROLLER.to_owned(), instance: Some(identity) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells what changed from one status to the next, if it concerns the owner. A lost event is not worth a retry:
    /// the status says the same.
    pub async fn transition(&self, site: &Site, before: &ClusterStatus, after: &ClusterStatus) {
        let events = [event(before, after), exposure(before, after)];
        let reference = ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some("Cluster".to_owned()),
            name: Some(site.name.clone()),
            namespace: Some(site.namespace.clone()),
            uid: Some(site.uid.clone()),
            ..ObjectReference::default()
        };
        for event in events.into_iter().flatten() {
            self.publish(&event, &reference).await;
        }
    }

    /// Tells of something. A lost event is not worth a retry.
    pub async fn publish(&self, event: &Event, about: &ObjectReference) {
        if let Err(error) = self.recorder.publish(event, about).await {
            tracing::warn!(kind = about.kind, name = about.name, namespace = about.namespace, %error, "cannot publish an event");
        }
    }
}

/// The event for a change, if it deserves one: becoming ready, ceasing to be, and failures.
fn event(before: &ClusterStatus, after: &ClusterStatus) -> Option<Event> {
    let ready =
        |status: &ClusterStatus| status.conditions.iter().find(|condition| condition.type_ == READY).cloned();
    let (old, new) = (ready(before), ready(after)?);
    let changed = before.phase != after.phase || old.as_ref().map(|old| &old.reason) != Some(&new.reason);
    let was_ready = before.phase == Phase::Ready;
    let type_ = match after.phase {
        Phase::Failed | Phase::Pending => EventType::Warning,
        Phase::Provisioning if was_ready => EventType::Warning,
        Phase::Ready | Phase::Terminating | Phase::Provisioning | Phase::Unknown => EventType::Normal,
    };
    changed.then(|| Event {
        type_,
        reason: if was_ready && after.phase == Phase::Provisioning {
            "NotReady".to_owned()
        } else {
            new.reason
        },
        // An event's note holds at most 1 kB.
        note: Some(new.message.chars().take(900).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}

/// The event for a change of how the API is reached from outside.
fn exposure(before: &ClusterStatus, after: &ClusterStatus) -> Option<Event> {
    let told = |status: &ClusterStatus| conditions::find(&status.conditions, EXPOSED).cloned();
    let (old, new) = (told(before), told(after)?);
    let same = old.is_some_and(|old| old.reason == new.reason && old.message == new.message);
    let (type_, reason) = match new.status.as_str() {
        "True" => (EventType::Normal, "Exposed"),
        _ => (EventType::Warning, "NotExposed"),
    };
    (!same).then(|| Event {
        type_,
        reason: reason.to_owned(),
        note: Some(new.message.chars().take(900).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn status(phase: &str, reason: &str) -> ClusterStatus {
        let condition = json!({ "type": "Ready", "status": "False", "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" });
        serde_json::from_value(json!({ "phase": phase, "conditions": [condition] })).unwrap()
    }

    #[rstest]
    #[case(("Provisioning", "Provisioning"), ("Ready", "Provisioned"), Some((EventType::Normal, "Provisioned")))]
    #[case(("Ready", "Provisioned"), ("Provisioning", "Provisioning"), Some((EventType::Warning, "NotReady")))]
    #[case(("Unknown", ""), ("Pending", "ValidationFailed"), Some((EventType::Warning, "ValidationFailed")))]
    #[case(("Provisioning", "Provisioning"), ("Failed", "ProvisioningFailed"), Some((EventType::Warning, "ProvisioningFailed")))]
    #[case(("Ready", "Provisioned"), ("Terminating", "Terminating"), Some((EventType::Normal, "Terminating")))]
    #[case(("Provisioning", "Provisioning"), ("Provisioning", "Provisioning"), None)]
    fn transitions(
        #[case] before: (&str, &str),
        #[case] after: (&str, &str),
        #[case] want: Option<(EventType, &str)>,
    ) {
        let event = event(&status(before.0, before.1), &status(after.0, after.1));
        assert_eq!(event.as_ref().map(|event| (event.type_, event.reason.as_str())), want);
    }
}
