use super::*;
use rstest::rstest;
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T00:01:00.5Z".parse().unwrap()
}

fn time(text: &str) -> Time {
    Time(text.parse().unwrap())
}

/// The status of a cluster whose pause was told with this reason.
fn before(reason: Option<&str>) -> ClusterStatus {
    let conditions: Vec<Value> = reason
        .map(|reason| {
            json!({ "type": PAUSED, "status": "False", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" })
        })
        .into_iter()
        .collect();
    serde_json::from_value(json!({ "conditions": conditions })).unwrap()
}

fn spec(spec: Value) -> ClusterSpec {
    serde_json::from_value(spec).unwrap()
}

const NOTHING_LEFT: Situation<'_> = Situation {
    unfit: None,
    kubelets: false,
    tenants: Tenants { pods: 0, overdue: true },
    down: true,
    runners: false,
};
const ALL_RUN: Situation<'_> = Situation {
    unfit: None,
    kubelets: true,
    tenants: Tenants { pods: 2, overdue: false },
    down: false,
    runners: true,
};

/// Goes on with a pause: what runs, the reason that is told, and whether pods are ended.
fn go(
    spec: &ClusterSpec,
    status: &mut ClusterStatus,
    situation: Situation<'_>,
) -> (Running, &'static str, bool) {
    let step = decide(spec, status, situation, now());
    let told = match step.verdict {
        Verdict::Never => "",
        Verdict::Over => paused_reason::RESUMED,
        Verdict::Refused(_) => paused_reason::REFUSED,
        Verdict::Pausing { stops_pods: true, .. } => paused_reason::STOPPING_PODS,
        Verdict::Pausing { stops_pods: false, .. } => paused_reason::PAUSING,
        Verdict::Paused { pods_stopped: true } => paused_reason::PODS_STOPPED,
        Verdict::Paused { pods_stopped: false } => paused_reason::PODS_KEPT,
    };
    *status = ClusterStatus {
        pods_stopped_until: step.stopped_until,
        ..before(Some(told).filter(|told| !told.is_empty()))
    };
    (step.running, told, step.ends_pods)
}

#[test]
fn a_pause_stops_who_would_take_it_for_a_loss_first() {
    let spec = spec(json!({ "pause": {} }));
    let mut status = ClusterStatus::default();
    assert_eq!(go(&spec, &mut status, ALL_RUN), (Running::Servers, "Pausing", false));
    let no_kubelet = Situation { kubelets: false, ..ALL_RUN };
    assert_eq!(
        go(&spec, &mut status, no_kubelet),
        (Running::Servers, "StoppingPods", false),
        "first it is told"
    );
    assert_eq!(status.pods_stopped_until, Some(time("2026-01-01T00:01:00Z")));
    assert_eq!(go(&spec, &mut status, no_kubelet), (Running::Servers, "StoppingPods", true));
    let overdue = Situation { tenants: Tenants { pods: 1, overdue: true }, ..no_kubelet };
    assert_eq!(
        go(&spec, &mut status, overdue),
        (Running::Nothing, "StoppingPods", true),
        "servers do not wait for ever"
    );
    let no_pods = Situation { tenants: Tenants::default(), ..no_kubelet };
    assert_eq!(go(&spec, &mut status, no_pods), (Running::Nothing, "StoppingPods", false));
    assert_eq!(go(&spec, &mut status, NOTHING_LEFT), (Running::Nothing, "PodsStopped", false));
    assert_eq!(go(&spec, &mut status, NOTHING_LEFT), (Running::Nothing, "PodsStopped", false));
}

#[rstest]
#[case("StoppingPods", "2026-01-01T00:01:00Z")]
#[case("PodsStopped", "2026-01-01T00:01:00Z")]
#[case("Pausing", "2025-01-01T00:00:00Z")]
#[case("PodsKept", "2025-01-01T00:00:00Z")]
#[case("Resumed", "2025-01-01T00:00:00Z")]
fn the_end_of_a_pause_that_stopped_pods_is_remembered(#[case] told: &str, #[case] want: &str) {
    let mut status =
        ClusterStatus { pods_stopped_until: Some(time("2025-01-01T00:00:00Z")), ..before(Some(told)) };
    assert_eq!(go(&ClusterSpec::default(), &mut status, ALL_RUN), (Running::All, "Resumed", false));
    assert_eq!(status.pods_stopped_until, Some(time(want)));
}

#[test]
fn pods_that_are_kept_are_not_touched() {
    let spec = spec(json!({ "pause": { "tenantPods": "Keep" } }));
    let mut status = ClusterStatus::default();
    let no_kubelet = Situation { kubelets: false, ..ALL_RUN };
    assert_eq!(go(&spec, &mut status, ALL_RUN), (Running::Servers, "Pausing", false));
    assert_eq!(go(&spec, &mut status, no_kubelet), (Running::Nothing, "Pausing", false));
    assert_eq!(go(&spec, &mut status, NOTHING_LEFT), (Running::Nothing, "PodsKept", false));
    assert_eq!(status.pods_stopped_until, None);
}

#[test]
fn who_changes_their_mind_about_the_pods_starts_no_server() {
    let spec = spec(json!({ "pause": {} }));
    let mut status = before(Some(paused_reason::PODS_KEPT));
    let kept = Situation { tenants: Tenants { pods: 2, overdue: false }, ..NOTHING_LEFT };
    assert_eq!(go(&spec, &mut status, kept), (Running::Nothing, "StoppingPods", false));
    assert_eq!(go(&spec, &mut status, kept), (Running::Nothing, "StoppingPods", true));
    assert_eq!(go(&spec, &mut status, NOTHING_LEFT), (Running::Nothing, "PodsStopped", false));
}

#[rstest]
#[case(json!({ "pause": {}, "persistence": { "type": "ephemeral" } }))]
#[case(json!({ "pause": { "tenantPods": "Keep" }, "mode": "virtual" }))]
fn what_would_lose_something_is_refused_and_runs_on(#[case] asked: Value) {
    let mut status = ClusterStatus::default();
    assert_eq!(go(&spec(asked), &mut status, ALL_RUN), (Running::All, "PauseRefused", false));
    assert_eq!(go(&ClusterSpec::default(), &mut status, ALL_RUN), (Running::All, "", false));
}

#[test]
fn an_etcd_that_is_not_well_is_not_stopped() {
    let spec = spec(json!({ "pause": {}, "servers": 3 }));
    let mut status = ClusterStatus::default();
    let joining = Situation { unfit: Some("one joins"), ..ALL_RUN };
    assert_eq!(go(&spec, &mut status, joining), (Running::All, "Pausing", false));
}

#[test]
fn in_mode_virtual_pods_stop_with_what_they_are_in() {
    let spec = spec(json!({ "pause": {}, "mode": "virtual", "agents": 1 }));
    let mut status = ClusterStatus::default();
    let run = Situation { kubelets: false, tenants: Tenants::default(), ..ALL_RUN };
    assert_eq!(go(&spec, &mut status, run), (Running::Nothing, "Pausing", false));
    assert_eq!(go(&spec, &mut status, NOTHING_LEFT), (Running::Nothing, "PodsStopped", false));
}
