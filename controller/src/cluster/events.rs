//! Events on Clusters, when something changes for their owners.

use super::build::Site;
use k3k_api::conditions::{
    self, ETCD_READY, EXPOSED, PAUSED, READY, UPGRADED, paused_reason, reason, upgraded_reason,
};
use k3k_api::managers;
use k3k_api::v1beta1::{ClusterStatus, GROUP, Phase, VERSION};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

/// How many characters of a note are told: it holds at most 1 kB.
const LONGEST_NOTE: usize = 900;

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
        let events = [
            event(before, after),
            exposure(before, after),
            etcd_event(before, after),
            upgrade(before, after),
            pause(before, after),
        ];
        for event in events.into_iter().flatten() {
            self.publish(event, &reference(site)).await;
        }
    }

    /// Tells that a member was taken out of the cluster's etcd.
    pub async fn member_removed(&self, site: &Site, id: &str, why: &str) {
        let event = Event {
            type_: EventType::Normal,
            reason: "EtcdMemberRemoved".to_owned(),
            note: Some(format!("took member {id} out of etcd: {why}")),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        self.publish(event, &reference(site)).await;
    }

    /// Tells of something, as much as an event's note holds. A lost event is not worth a retry.
    pub async fn publish(&self, mut event: Event, about: &ObjectReference) {
        event.note = event.note.map(|note| note.chars().take(LONGEST_NOTE).collect());
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(kind = about.kind, name = about.name, namespace = about.namespace, %error, "cannot publish an event");
        }
    }
}

fn reference(site: &Site) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some("Cluster".to_owned()),
        name: Some(site.name.clone()),
        namespace: Some(site.namespace.clone()),
        uid: Some(site.uid.clone()),
        ..ObjectReference::default()
    }
}

/// The event for a change, if it deserves one: becoming ready, ceasing to be, and failures.
fn event(before: &ClusterStatus, after: &ClusterStatus) -> Option<Event> {
    let ready =
        |status: &ClusterStatus| status.conditions.iter().find(|condition| condition.type_ == READY).cloned();
    let (old, new) = (ready(before), ready(after)?);
    let changed = before.phase != after.phase || old.as_ref().map(|old| &old.reason) != Some(&new.reason);
    if [reason::PAUSING, reason::PAUSED].contains(&new.reason.as_str()) {
        return None; // The condition of the pause has an event of its own.
    }
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
        note: Some(new.message),
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
        note: Some(new.message),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}

/// The event for a step of a pause.
fn pause(before: &ClusterStatus, after: &ClusterStatus) -> Option<Event> {
    let word = |status: &ClusterStatus| {
        let told = conditions::find(&status.conditions, PAUSED)?;
        let word = match told.reason.as_str() {
            paused_reason::PODS_STOPPED | paused_reason::PODS_KEPT => reason::PAUSED,
            paused_reason::PAUSING | paused_reason::STOPPING_PODS => reason::PAUSING,
            other => other,
        };
        Some((word.to_owned(), told.message.clone()))
    };
    let (old, (word, message)) = (word(before), word(after)?);
    if old.is_some_and(|(old, _)| old == word) {
        return None;
    }
    Some(Event {
        type_: if word == paused_reason::REFUSED { EventType::Warning } else { EventType::Normal },
        reason: word,
        note: Some(message),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}

/// The event for a change of the servers' etcd: each time that it is well, or not for another reason.
fn etcd_event(before: &ClusterStatus, after: &ClusterStatus) -> Option<Event> {
    let new = conditions::find(&after.conditions, ETCD_READY)?;
    if conditions::find(&before.conditions, ETCD_READY).is_some_and(|old| old.reason == new.reason) {
        return None;
    }
    let is_planned = new.status == "True"
        || matches!(new.reason.as_str(), "Starting" | "Joining" | "ScalingDown" | "Paused");
    Some(Event {
        type_: if is_planned { EventType::Normal } else { EventType::Warning },
        reason: format!("Etcd{}", new.reason),
        note: Some(new.message.clone()),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}

/// The event for the begin and the end of an upgrade, and for what keeps it from going on.
fn upgrade(before: &ClusterStatus, after: &ClusterStatus) -> Option<Event> {
    let told = |status: &ClusterStatus| conditions::find(&status.conditions, UPGRADED).cloned();
    let (old, new) = (told(before), told(after)?);
    let (type_, reason, each_message) = match new.reason.as_str() {
        // Progress is for the condition.
        upgraded_reason::UPGRADING => (EventType::Normal, "UpgradeBegun", false),
        upgraded_reason::WAITING => (EventType::Normal, "UpgradeWaiting", false),
        upgraded_reason::UP_TO_DATE => (EventType::Normal, "Upgraded", false),
        upgraded_reason::STALLED => (EventType::Warning, "UpgradeStalled", false),
        upgraded_reason::ROLLED_BACK => (EventType::Warning, "UpgradeRolledBack", false),
        // Other words are about another version.
        _ => (EventType::Warning, "UpgradeRefused", true),
    };
    // A version that was taken out of the spec again has upgraded nothing, nor has what goes on been begun again.
    let goes_on = before.upgrade.as_ref().is_some_and(|change| change.failure.is_none());
    let agents = old.as_ref().is_some_and(|old| old.reason == upgraded_reason::UPGRADING) && !goes_on;
    let is_news = match new.reason.as_str() {
        upgraded_reason::UP_TO_DATE => before.version != after.version || agents,
        upgraded_reason::UPGRADING => !goes_on && before.version == after.version,
        _ => true,
    };
    let same =
        old.is_some_and(|old| old.reason == new.reason && (!each_message || old.message == new.message));
    (!same && is_news).then(|| Event {
        type_,
        reason: reason.to_owned(),
        note: Some(new.message),
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

    #[rstest]
    #[case(("UpToDate", "v1", None), ("Upgrading", "v1", Some("")), Some((EventType::Normal, "UpgradeBegun")))]
    #[case(("Upgrading", "v1", Some("")), ("Upgrading", "v1", Some("")), None)]
    #[case(("Upgrading", "v1", Some("")), ("UpToDate", "v2", None), Some((EventType::Normal, "Upgraded")))]
    #[case(("Upgrading", "v1", Some("")), ("Upgrading", "v2", None), None)] // agents
    #[case(("Upgrading", "v2", None), ("UpToDate", "v2", None), Some((EventType::Normal, "Upgraded")))]
    #[case(("Upgrading", "v1", Some("")), ("UpToDate", "v1", None), None)] // taken back by hand
    #[case(("Upgrading", "v1", Some("")), ("RolledBack", "v1", Some("no image")), Some((EventType::Warning, "UpgradeRolledBack")))]
    #[case(("RolledBack", "v1", Some("no image")), ("RolledBack", "v1", Some("no image")), None)]
    #[case(("RolledBack", "v1", Some("no image")), ("UpToDate", "v1", None), None)]
    #[case(("RolledBack", "v1", Some("no image")), ("Upgrading", "v1", Some("")), Some((EventType::Normal, "UpgradeBegun")))]
    #[case(("Upgrading", "v1", Some("")), ("Stalled", "v1", Some("")), Some((EventType::Warning, "UpgradeStalled")))]
    #[case(("Stalled", "v1", Some("")), ("Upgrading", "v1", Some("")), None)]
    #[case(("UpToDate", "v1", None), ("Refused", "v1", None), Some((EventType::Warning, "UpgradeRefused")))]
    #[case(("Refused", "v1", None), ("UpToDate", "v1", None), None)]
    #[case(("UpToDate", "v1", None), ("Waiting", "v1", None), Some((EventType::Normal, "UpgradeWaiting")))]
    #[case(("Waiting", "v1", None), ("Upgrading", "v1", Some("")), Some((EventType::Normal, "UpgradeBegun")))]
    fn transitions_of_an_upgrade(
        #[case] before: (&str, &str, Option<&str>),
        #[case] after: (&str, &str, Option<&str>),
        #[case] want: Option<(EventType, &str)>,
    ) {
        let status = |(reason, version, change): (&str, &str, Option<&str>)| -> ClusterStatus {
            let condition = json!({ "type": "Upgraded", "status": "False", "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" });
            let failure = change.filter(|failure| !failure.is_empty());
            let upgrade = change.map(|_| json!({ "to": "v2", "failure": failure }));
            serde_json::from_value(
                json!({ "version": version, "upgrade": upgrade, "conditions": [condition] }),
            )
            .unwrap()
        };
        let event = upgrade(&status(before), &status(after));
        assert_eq!(event.as_ref().map(|event| (event.type_, event.reason.as_str())), want);
    }

    #[rstest]
    #[case(None, ("False", "Joining"), Some((EventType::Normal, "EtcdJoining")))]
    #[case(Some(("False", "Joining")), ("False", "Joining"), None)]
    #[case(Some(("False", "Joining")), ("True", "Healthy"), Some((EventType::Normal, "EtcdHealthy")))]
    #[case(Some(("True", "Healthy")), ("False", "QuorumLost"), Some((EventType::Warning, "EtcdQuorumLost")))]
    fn transitions_of_etcd(
        #[case] before: Option<(&str, &str)>,
        #[case] after: (&str, &str),
        #[case] want: Option<(EventType, &str)>,
    ) {
        let status = |condition: Option<(&str, &str)>| -> ClusterStatus {
            let conditions: Vec<_> = condition.into_iter().map(|(status, reason)| {
                json!({ "type": "EtcdReady", "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" })
            }).collect();
            serde_json::from_value(json!({ "conditions": conditions })).unwrap()
        };
        let event = etcd_event(&status(before), &status(Some(after)));
        assert_eq!(event.as_ref().map(|event| (event.type_, event.reason.as_str())), want);
    }
}
