//! Whether a Deployment runs what it was told to.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use std::fmt::Write as _;

/// How far a Deployment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rollout {
    /// All replicas of the latest generation are available.
    Ready(String),
    /// Not yet.
    Waiting(String),
}

/// The rule of `kubectl rollout status`, in a few words.
pub(crate) fn of(deployment: &Deployment) -> Rollout {
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let (updated, ready) = (status.updated_replicas.unwrap_or(0), status.available_replicas.unwrap_or(0));
    let seen = status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0);
    let text = format!("{}/{wanted} ready", ready.min(updated));
    if seen && updated >= wanted && ready >= wanted && status.replicas.unwrap_or(0) <= updated {
        Rollout::Ready(text)
    } else {
        Rollout::Waiting(text)
    }
}

/// Why a pod does not run: the first container that waits for something other than its turn, or the scheduler's
/// objection.
pub(crate) fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let containers = status.init_container_statuses.iter().chain(status.container_statuses.iter()).flatten();
    for container in containers {
        let Some(waiting) = container.state.as_ref().and_then(|state| state.waiting.as_ref()) else {
            continue;
        };
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if reason.is_empty() || reason == "PodInitializing" || reason == "ContainerCreating" {
            continue;
        }
        let mut text = format!("{name}: {reason}");
        if let Some(message) = waiting.message.as_deref().filter(|message| !message.is_empty()) {
            let _ = write!(text, ": {message}");
        }
        if let Some(ended) = container.last_state.as_ref().and_then(|state| state.terminated.as_ref()) {
            let said = ended.message.as_deref().unwrap_or_default().trim();
            let _ = match said {
                "" => write!(text, " (it ended with code {})", ended.exit_code),
                said => write!(text, " (it ended with code {}: {said})", ended.exit_code),
            };
        }
        return Some(text);
    }
    let scheduled = status.conditions.as_ref()?.iter().find(|condition| condition.type_ == "PodScheduled")?;
    (scheduled.status == "False")
        .then(|| format!("{name}: not scheduled: {}", scheduled.message.as_deref().unwrap_or("no node fits")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({}), Rollout::Waiting("0/2 ready".into()))]
    #[case(json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}), Rollout::Waiting("2/2 ready".into()))]
    #[case(json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}), Rollout::Waiting("2/2 ready".into()))]
    #[case(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}), Rollout::Waiting("1/2 ready".into()))]
    #[case(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}), Rollout::Ready("2/2 ready".into()))]
    fn ready_means_the_latest_generation(#[case] status: serde_json::Value, #[case] want: Rollout) {
        let deployment = serde_json::from_value(json!({
            "metadata": {"generation": 2}, "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": status,
        }))
        .expect("deployment");
        assert_eq!(of(&deployment), want);
    }

    #[test]
    fn the_pods_trouble_is_named() {
        let pod = |status: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).expect("pod")
        };
        let waiting = |reason: &str| {
            json!({"containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": "m"}},
                "lastState": {"terminated": {"exitCode": 1}},
            }]})
        };
        assert_eq!(trouble(&pod(waiting("ContainerCreating"))), None);
        assert_eq!(
            trouble(&pod(waiting("CrashLoopBackOff"))).as_deref(),
            Some("p: CrashLoopBackOff: m (it ended with code 1)")
        );
        let unscheduled =
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]});
        assert_eq!(trouble(&pod(unscheduled)).as_deref(), Some("p: not scheduled: 0/1 nodes"));
    }
}
