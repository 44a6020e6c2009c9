//! What one nested pod and its host pod call for. Pure, so that every case is a line in a test.

use crate::sync::copy::is_ending;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// The next act for a pair of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing to do, here or until something changes.
    Nothing,
    /// Make the host pod.
    Create,
    /// Both are there and live: carry changes over and the status back.
    Mirror,
    /// Ask the host to end the host pod `uid`, within `grace` seconds.
    EndHost {
        /// UID of the host pod.
        uid: String,
        /// Grace period in seconds; the host's own when absent.
        grace: Option<u32>,
    },
    /// Ask the nested cluster to end the nested pod `uid`: its host pod is being ended from outside.
    EndNested {
        /// UID of the nested pod.
        uid: String,
        /// Grace period in seconds.
        grace: Option<u32>,
    },
    /// It ran when the cluster was paused, and may not run twice: say that it has failed.
    Fail,
    /// Nothing runs any more: remove the nested pod `uid` for good, as a kubelet does.
    Finalize {
        /// UID of the nested pod.
        uid: String,
    },
}

/// Grace in seconds for what was removed by force: enough to send a signal.
const FORCED: u32 = 1;

/// Decides. `host_origin` is the UID of the nested pod that the host pod was made for. A pause of the cluster ended what started before
/// `stopped_until`.
pub fn decide(
    nested: Option<&Value>,
    host: Option<&Value>,
    host_origin: Option<&str>,
    stopped_until: Option<Timestamp>,
) -> Act {
    match (nested, host) {
        (None, None) => Act::Nothing,
        // Only force removes a nested pod that still has a host pod: whoever used it does not want to wait.
        (None, Some(host)) => end_host(host, Some(FORCED)),
        (Some(nested), None) => without_host(nested, stopped_until),
        (Some(nested), Some(host)) if host_origin != uid(nested).as_deref() => {
            // Of an earlier pod of the same name; ours can only start when it has gone.
            end_host(host, grace(nested))
        }
        (Some(nested), Some(host)) if is_ending(nested) => match end_host(host, grace(nested)) {
            Act::Nothing => Act::Mirror,
            end => end,
        },
        (Some(nested), Some(host)) if is_ending(host) => match uid(nested) {
            Some(uid) if !is_finished(nested) => Act::EndNested { uid, grace: grace(host) },
            _ => Act::Mirror,
        },
        (Some(_), Some(_)) => Act::Mirror,
    }
}

fn without_host(nested: &Value, stopped_until: Option<Timestamp>) -> Act {
    let Some(uid) = uid(nested) else { return Act::Nothing };
    if is_ending(nested) {
        return Act::Finalize { uid };
    }
    if is_finished(nested) {
        return Act::Nothing;
    }
    if was_stopped(nested, stopped_until) {
        return if may_run_again(nested) { Act::Create } else { Act::Fail };
    }
    // It ran, and its host pod has gone without a word from the nested side: drained, evicted or deleted in the host. A pod
    // does not come back to life; its controller makes another.
    if nested.pointer("/status/startTime").is_some_and(|time| !time.is_null()) {
        return Act::Finalize { uid };
    }
    Act::Create
}

/// Whether the pod ran when the cluster was paused, and has not run since.
fn was_stopped(nested: &Value, stopped_until: Option<Timestamp>) -> bool {
    let started = nested.pointer("/status/startTime").and_then(Value::as_str);
    let started = started.and_then(|time| time.parse::<Timestamp>().ok());
    started.zip(stopped_until).is_some_and(|(started, until)| started <= until)
}

/// Whether all containers may start anew, as after a restart of the node. One that has ended and is not restarted by the pod's own word may
/// not; nor would the API server have it that such a one is told to run.
fn may_run_again(pod: &Value) -> bool {
    let policy = pod.pointer("/spec/restartPolicy").and_then(Value::as_str).unwrap_or("Always");
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let mut statuses = statuses.iter().filter_map(|list| pod.pointer(list)?.as_array()).flatten();
    match policy {
        "Never" => !statuses
            .any(|status| ["running", "terminated"].iter().any(|state| status["state"][state].is_object())),
        "OnFailure" => !statuses.any(|status| status["state"]["terminated"]["exitCode"] == 0),
        _ => true,
    }
}

/// Ends the host pod within `wanted` seconds, unless it is being ended as fast as that already.
fn end_host(host: &Value, wanted: Option<u32>) -> Act {
    let is_in_time =
        is_ending(host) && wanted.is_none_or(|wanted| grace(host).is_some_and(|grace| grace <= wanted));
    match uid(host) {
        Some(uid) if !is_in_time => Act::EndHost { uid, grace: wanted },
        _ => Act::Nothing,
    }
}

fn uid(object: &Value) -> Option<String> {
    object.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned)
}

/// Whether none of the pod's containers runs again.
pub fn is_finished(pod: &Value) -> bool {
    matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"))
}

fn grace(object: &Value) -> Option<u32> {
    object
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_u64)
        .and_then(|s| u32::try_from(s).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn pod(uid: &str, ending: Option<u32>, status: &Value) -> Value {
        let mut metadata = json!({"uid": uid});
        if let Some(grace) = ending {
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            metadata["deletionGracePeriodSeconds"] = grace.into();
        }
        json!({"metadata": metadata, "status": status})
    }

    #[expect(clippy::unnecessary_wraps, reason = "one side of a pair that may be missing")]
    fn nested(ending: Option<u32>, status: &Value) -> Option<Value> {
        Some(pod("n", ending, status))
    }

    #[expect(clippy::unnecessary_wraps, reason = "one side of a pair that may be missing")]
    fn host(ending: Option<u32>) -> Option<Value> {
        Some(pod("h", ending, &Value::Null))
    }

    #[rstest]
    #[case::fresh(nested(None, &json!({"phase": "Pending"})), None, Act::Create)]
    #[case::running(nested(None, &json!({"phase": "Running", "startTime": "t"})), host(None), Act::Mirror)]
    #[case::deleted_inside(nested(Some(7), &Value::Null), host(None), Act::EndHost { uid: "h".into(), grace: Some(7) })]
    #[case::stopping(nested(Some(7), &Value::Null), host(Some(7)), Act::Mirror)]
    #[case::stopped(nested(Some(7), &Value::Null), None, Act::Finalize { uid: "n".into() })]
    #[case::never_started_and_deleted(nested(Some(30), &json!({"phase": "Pending"})), None, Act::Finalize { uid: "n".into() })]
    #[case::drained(nested(None, &json!({"phase": "Running", "startTime": "t"})), host(Some(30)), Act::EndNested { uid: "n".into(), grace: Some(30) })]
    #[case::vanished(nested(None, &json!({"phase": "Running", "startTime": "t"})), None, Act::Finalize { uid: "n".into() })]
    #[case::finished_and_collected(nested(None, &json!({"phase": "Succeeded", "startTime": "t"})), None, Act::Nothing)]
    #[case::hurried(nested(Some(1), &Value::Null), host(Some(30)), Act::EndHost { uid: "h".into(), grace: Some(1) })]
    #[case::forced(None, host(None), Act::EndHost { uid: "h".into(), grace: Some(1) })]
    #[case::forced_while_stopping(None, host(Some(30)), Act::EndHost { uid: "h".into(), grace: Some(1) })]
    #[case::forced_and_stopping(None, host(Some(1)), Act::Nothing)]
    #[case::none(None, None, Act::Nothing)]
    fn each_pair_has_one_act(#[case] nested: Option<Value>, #[case] host: Option<Value>, #[case] act: Act) {
        assert_eq!(decide(nested.as_ref(), host.as_ref(), Some("n"), None), act);
    }

    #[test]
    fn a_namesake_waits_for_its_forerunner_to_go() {
        let nested = nested(None, &json!({"phase": "Pending"}));
        assert_eq!(
            decide(nested.as_ref(), host(None).as_ref(), Some("old"), None),
            Act::EndHost { uid: "h".into(), grace: None }
        );
        assert_eq!(decide(nested.as_ref(), host(Some(3)).as_ref(), Some("old"), None), Act::Nothing);
    }

    #[rstest]
    #[case::anyhow("Always", json!({"terminated": {"exitCode": 0}}), Act::Create)]
    #[case::it_may_fail("OnFailure", json!({"running": {}}), Act::Create)]
    #[case::part_of_it_is_done("OnFailure", json!({"terminated": {"exitCode": 0}}), Act::Fail)]
    #[case::not_twice("Never", json!({"running": {}}), Act::Fail)]
    #[case::not_yet_once("Never", json!({"waiting": {"reason": "ContainerCreating"}}), Act::Create)]
    fn a_pause_is_like_a_restart_of_the_node(#[case] policy: &str, #[case] state: Value, #[case] act: Act) {
        let until = Some("2026-01-01T00:00:10Z".parse().unwrap());
        let mut pod = pod(
            "n",
            None,
            &json!({
                "phase": "Running", "startTime": "2026-01-01T00:00:09Z", "containerStatuses": [{"state": state}],
            }),
        );
        pod["spec"]["restartPolicy"] = policy.into();
        assert_eq!(decide(Some(&pod), None, None, until), act);
        let gone = Act::Finalize { uid: "n".into() };
        assert_eq!(decide(Some(&pod), None, None, None), gone, "there was no pause");
        let mut later = pod.clone();
        later["status"]["startTime"] = "2026-01-01T00:00:11Z".into();
        assert_eq!(decide(Some(&later), None, None, until), gone, "it has run since");
        let mut done = pod.clone();
        done["status"]["phase"] = "Succeeded".into();
        assert_eq!(decide(Some(&done), None, None, until), Act::Nothing);
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(decide(Some(&pod), None, None, until), gone, "its deletion was under way");
    }
}
