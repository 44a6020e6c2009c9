//! What the state of a pod means to a person. Pure.

use k8s_openapi::api::core::v1::{ContainerState, Pod, PodStatus};
use kube::ResourceExt;
use std::fmt::Write as _;
use std::sync::Arc;

/// The state of the pods of one part of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// A pod is ready.
    pub ready: bool,
    /// Why not, in one CamelCase word.
    pub reason: String,
    /// Why not, for people.
    pub message: String,
    /// Waiting does not help: somebody must change something.
    pub hopeless: bool,
}

impl Judgement {
    /// Whether a container may be running right now, as far as is known.
    pub fn may_run(&self) -> bool {
        matches!(self.reason.as_str(), "Running" | "Starting" | "ContainerCreating" | "Pending")
    }

    fn waiting(reason: &str, message: String) -> Self {
        Self { ready: false, reason: reason.to_owned(), message, hopeless: false }
    }
}

/// The reason when the host refuses to make a pod.
pub const REFUSED: &str = "Refused";
/// Waiting reasons of containers that do not pass on their own.
const HOPELESS: [&str; 4] =
    ["CreateContainerConfigError", "ErrImageNeverPull", "InvalidImageName", "RunContainerError"];

/// Judges the pods of `owner`, which is named in messages, for example `StatefulSet "k3k-dev-server"`. `refusal` is
/// why it could not make one, last time.
pub fn judge(pods: &[Arc<Pod>], owner: &str, refusal: Option<String>) -> Judgement {
    let mut running = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).peekable();
    if running.peek().is_none() {
        return match pods.first() {
            Some(pod) => Judgement::waiting("Terminating", format!("pod {:?} is stopping", pod.name_any())),
            None => match refusal {
                Some(refusal) => {
                    Judgement::waiting(REFUSED, format!("{owner} may not make its pod: {refusal}"))
                }
                None => Judgement::waiting("NoPod", format!("{owner} has no pod yet")),
            },
        };
    }
    let judged: Vec<Judgement> = running.map(|pod| one(pod)).collect();
    let best =
        judged.iter().find(|judged| judged.ready).or_else(|| judged.iter().find(|judged| judged.hopeless));
    best.or(judged.first())
        .cloned()
        .unwrap_or_else(|| Judgement::waiting("NoPod", format!("{owner} has no pod yet")))
}

/// As [`judge`], where all of `wanted` pods must be ready: what is wrong with the first that is not.
pub fn judge_all(pods: &[Arc<Pod>], wanted: usize, owner: &str, refusal: Option<String>) -> Judgement {
    if wanted == 0 {
        return Judgement {
            ready: true,
            reason: "NoneWanted".to_owned(),
            message: format!("{owner} is to have no pods"),
            hopeless: false,
        };
    }
    if wanted == 1 {
        return judge(pods, owner, refusal);
    }
    let running = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let judged: Vec<Judgement> = running.map(|pod| one(pod)).collect();
    let ready = judged.iter().filter(|judged| judged.ready).count();
    if ready >= wanted {
        let message = format!("{ready} of {wanted} pods of {owner} are ready");
        return Judgement { ready: true, reason: "Running".to_owned(), message, hopeless: false };
    }
    let worst =
        judged.iter().find(|judged| judged.hopeless).or_else(|| judged.iter().find(|judged| !judged.ready));
    let Some(worst) = worst else {
        let cause = refusal.map_or_else(
            || "the others are not made yet".to_owned(),
            |refusal| format!("it may not make the others: {refusal}"),
        );
        return Judgement::waiting(
            "NoPod",
            format!("{ready} of {wanted} pods of {owner} are ready; {cause}"),
        );
    };
    let message = format!("{ready} of {wanted} pods of {owner} are ready; {}", worst.message);
    Judgement { ready: false, message, ..worst.clone() }
}

/// A text that changes when pods come, go, restart or become ready.
pub fn signature(pods: &[Arc<Pod>]) -> String {
    let mut text = String::new();
    for pod in pods {
        let status = pod.status.as_ref();
        let ready = status.is_some_and(|status| is_true(status, "Ready"));
        let restarts: i32 = status
            .and_then(|status| status.container_statuses.as_deref())
            .map(|containers| containers.iter().map(|container| container.restart_count).sum())
            .unwrap_or_default();
        let stopping = pod.metadata.deletion_timestamp.is_some();
        let _ = write!(text, "{}:{ready}:{restarts}:{stopping};", pod.uid().unwrap_or_default());
    }
    text
}

/// Waiting reasons that prove that an image cannot be had. A first failure to pull is none, and soon followed by one of these.
const NO_IMAGE: [&str; 3] = ["ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName"];
/// So often a container ends and is started again before that proves anything: a server that finds the others busy ends too.
const CRASHES: i32 = 4;

/// What proves that the pod does not start, and is not merely slow.
pub fn failure(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut containers =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    let proves = containers.any(|container| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
        NO_IMAGE.contains(&reason) || reason == "CrashLoopBackOff" && container.restart_count >= CRASHES
    });
    proves.then(|| one(pod).message)
}

/// Whether the pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod.status.as_ref().is_some_and(|status| is_true(status, "Ready"))
}

fn one(pod: &Pod) -> Judgement {
    let name = pod.name_any();
    let Some(status) = &pod.status else {
        return Judgement::waiting("Pending", format!("pod {name:?} is new"));
    };
    if is_true(status, "Ready") {
        return Judgement {
            ready: true,
            reason: "Running".into(),
            message: format!("pod {name:?} is ready"),
            hopeless: false,
        };
    }
    if let Some(message) = unschedulable(status) {
        let hint = if message.contains("PersistentVolumeClaim") {
            "; is there a StorageClass for spec.persistence, or a default one? `kubectl get storageclass,pvc` tells. `persistence.type: ephemeral` needs none"
        } else {
            ""
        };
        return Judgement::waiting("Unschedulable", format!("pod {name:?} fits no node: {message}{hint}"));
    }
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.as_deref().unwrap_or("Failed");
        let detail = status.message.as_deref().unwrap_or("its containers ended");
        return Judgement::waiting(reason, format!("pod {name:?} failed: {}", first_line(detail)));
    }
    for container in
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    {
        if let Some(words) = container.state.as_ref().and_then(last_words) {
            let message = format!("pod {name:?} {words} and is started again");
            return Judgement::waiting("Restarting", message);
        }
        let Some(waiting) = container.state.as_ref().and_then(|state| state.waiting.as_ref()) else {
            continue;
        };
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if matches!(reason, "" | "ContainerCreating" | "PodInitializing") {
            continue;
        }
        let mut message = format!("pod {name:?}: {reason}");
        if let Some(detail) = waiting.message.as_deref().filter(|detail| !detail.is_empty()) {
            message = format!("{message}: {}", first_line(detail));
        }
        if let Some(last) = container.last_state.as_ref().and_then(last_words) {
            message = format!("{message}; the last run {last}; see kubectl logs --previous {name}");
        }
        let hopeless = HOPELESS.contains(&reason);
        return Judgement { ready: false, reason: reason.to_owned(), message, hopeless };
    }
    match status.phase.as_deref() {
        Some("Running") => Judgement::waiting("Starting", format!("pod {name:?} runs and is not ready yet")),
        _ => Judgement::waiting("ContainerCreating", format!("pod {name:?} is being created")),
    }
}

fn is_true(status: &PodStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn unschedulable(status: &PodStatus) -> Option<&str> {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled")?;
    let refused = condition.status == "False" && condition.reason.as_deref() != Some("SchedulingGated");
    refused.then(|| condition.message.as_deref().unwrap_or("no reason given"))
}

/// How the previous run of a container ended.
fn last_words(state: &ContainerState) -> Option<String> {
    let ended = state.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    let mut words = format!("ended with {reason} (exit code {})", ended.exit_code);
    if let Some(message) = ended.message.as_deref().filter(|message| !message.is_empty()) {
        words = format!("{words}: {}", first_line(message));
    }
    Some(words)
}

/// The first line of a text, cut to what a condition should hold.
fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    if line.chars().count() > 300 {
        line.chars().take(300).chain("…".chars()).collect()
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    const OWNER: &str = "StatefulSet \"k3k-dev-server\"";

    fn pod(status: &Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap())
    }

    #[rstest]
    #[case(json!({ "conditions": [{ "type": "Ready", "status": "True" }] }), "Running", "pod \"p\" is ready")]
    #[case(
        json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu." }] }),
        "Unschedulable", "pod \"p\" fits no node: 0/1 nodes are available: 1 Insufficient cpu."
    )]
    #[case(
        json!({ "phase": "Pending", "containerStatuses": [{ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": { "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image \"rancher/k3s:v9\"\nmore" } } }] }),
        "ImagePullBackOff", "pod \"p\": ImagePullBackOff: Back-off pulling image \"rancher/k3s:v9\""
    )]
    #[case(
        json!({ "phase": "Running", "containerStatuses": [{ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 3,
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } },
            "lastState": { "terminated": { "exitCode": 1, "reason": "Error", "message": "bad flag\n" } } }] }),
        "CrashLoopBackOff",
        "pod \"p\": CrashLoopBackOff: back-off 40s; the last run ended with Error (exit code 1): bad flag; see kubectl logs --previous p"
    )]
    #[case(
        json!({ "phase": "Running", "containerStatuses": [{ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 1,
            "state": { "terminated": { "exitCode": 137, "reason": "OOMKilled" } } }] }),
        "Restarting", "pod \"p\" ended with OOMKilled (exit code 137) and is started again"
    )]
    #[case(json!({ "phase": "Running" }), "Starting", "pod \"p\" runs and is not ready yet")]
    #[case(json!({ "phase": "Pending" }), "ContainerCreating", "pod \"p\" is being created")]
    #[case(json!({ "phase": "Failed", "reason": "Evicted", "message": "low on disk" }), "Evicted", "pod \"p\" failed: low on disk")]
    fn judgements(#[case] status: Value, #[case] reason: &str, #[case] message: &str) {
        let judged = judge(&[pod(&status)], OWNER, None);
        assert_eq!((judged.reason.as_str(), judged.message.as_str()), (reason, message));
        assert_eq!(judged.ready, reason == "Running");
    }

    #[test]
    fn an_unbound_claim_gets_a_hint() {
        let status = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims." }] });
        assert!(judge(&[pod(&status)], OWNER, None).message.contains("StorageClass"));
    }

    #[test]
    fn a_bad_image_name_is_hopeless() {
        let status = json!({ "containerStatuses": [{ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "InvalidImageName" } } }] });
        assert!(judge(&[pod(&status)], OWNER, None).hopeless);
    }

    #[rstest]
    #[case("waiting", "ImagePullBackOff", 0, true)]
    #[case("waiting", "InvalidImageName", 0, true)]
    #[case("waiting", "ErrImagePull", 0, false)]
    #[case("waiting", "RegistryUnavailable", 0, false)]
    #[case("waiting", "ContainerCreating", 0, false)]
    #[case("waiting", "CrashLoopBackOff", CRASHES - 1, false)]
    #[case("waiting", "CrashLoopBackOff", CRASHES, true)]
    #[case("terminated", "Error", CRASHES, false)]
    fn what_proves_a_failure(
        #[case] state: &str,
        #[case] reason: &str,
        #[case] restarts: i32,
        #[case] proves: bool,
    ) {
        let state = json!({ state: { "reason": reason, "exitCode": 1 } });
        let status = json!({ "containerStatuses": [{ "name": "c", "image": "", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state }] });
        assert_eq!(failure(&pod(&status)).is_some(), proves);
    }

    #[test]
    fn no_pod_points_to_the_owner() {
        assert!(judge(&[], OWNER, None).message.starts_with(OWNER));
        let refused = judge(&[], OWNER, Some("exceeded quota".into()));
        assert_eq!(refused.reason, REFUSED);
        assert!(refused.message.ends_with("may not make its pod: exceeded quota"), "{}", refused.message);
    }

    #[test]
    fn a_stopping_pod_does_not_count() {
        let mut stopping = (*pod(&json!({ "conditions": [{ "type": "Ready", "status": "True" }] }))).clone();
        stopping.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(judge(&[Arc::new(stopping)], OWNER, None).reason, "Terminating");
    }

    #[rstest]
    #[case(&[], 0, None, true, "StatefulSet \"k3k-dev-server\" is to have no pods")]
    #[case(&[], 2, None, false, "0 of 2 pods of StatefulSet \"k3k-dev-server\" are ready; the others are not made yet")]
    #[case(&[true], 2, Some("denied"), false, "1 of 2 pods of StatefulSet \"k3k-dev-server\" are ready; it may not make the others: denied")]
    #[case(&[true, false], 2, None, false, "1 of 2 pods of StatefulSet \"k3k-dev-server\" are ready; pod \"p\" runs and is not ready yet")]
    #[case(&[true, true], 2, None, true, "2 of 2 pods of StatefulSet \"k3k-dev-server\" are ready")]
    #[case(&[true], 1, None, true, "pod \"p\" is ready")]
    fn all_must_be_ready(
        #[case] pods: &[bool],
        #[case] wanted: usize,
        #[case] refusal: Option<&str>,
        #[case] ready: bool,
        #[case] message: &str,
    ) {
        let status = |ready: &bool| if *ready { "True" } else { "False" };
        let pods: Vec<_> = pods
            .iter()
            .map(|ready| pod(&json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": status(ready) }] })))
            .collect();
        let judged = judge_all(&pods, wanted, OWNER, refusal.map(str::to_owned));
        assert_eq!((judged.ready, judged.message.as_str()), (ready, message));
    }
}
