use super::*;
use rstest::rstest;

fn pods(ready: bool, reason: &str, message: &str) -> Judgement {
    Judgement { ready, reason: reason.into(), message: message.into(), hopeless: false }
}

fn running() -> Judgement {
    pods(true, "Running", "pod is ready")
}

fn well() -> Health {
    Health { api: Report::well("Ready", "api ok"), node: Report::well("Ready", "node ok") }
}

fn no_node() -> Health {
    Health { api: Report::well("Ready", "api ok"), node: Report::missing("NodeMissing", "no node") }
}

fn no_api() -> Health {
    Health {
        api: Report::missing("Starting", "api starting"),
        node: Report::missing("APINotReady", "unknown"),
    }
}

fn facts() -> Settled {
    Settled {
        facts: ClusterStatus { version: Some("v1".into()), ..ClusterStatus::default() },
        exposure: Exposure::Inside,
    }
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00.5Z".parse().unwrap()
}

/// Nothing is to be told of etcd, an upgrade or a pause.
fn parts(server: Judgement, below: Below, health: Health) -> Parts {
    Parts { server, below, health, etcd: None, upgrade: Some(Course::straight("v1")), pause: None }
}

fn status(server: Judgement, kubelet: Judgement, health: Health) -> ClusterStatus {
    let parts = parts(server, Below::Kubelet(kubelet), health);
    settled(&ClusterStatus::default(), Some(3), &facts(), &parts, now())
}

fn condition<'a>(status: &'a ClusterStatus, kind: &str) -> &'a Condition {
    conditions::find(&status.conditions, kind).unwrap()
}

#[test]
fn exposure_is_told_as_long_as_it_is_wanted() {
    let parts = parts(running(), Below::Kubelet(running()), well());
    let told = |before: &ClusterStatus, exposure: Exposure| {
        settled(before, Some(3), &Settled { exposure, ..facts() }, &parts, now())
    };
    let message = "the Service waits".to_owned();
    let pending = told(
        &ClusterStatus::default(),
        Exposure::Pending { reason: exposed_reason::ADDRESS_PENDING, message },
    );
    assert_eq!(condition(&pending, EXPOSED).status, "False");
    assert_eq!(pending.phase, Phase::Ready, "it is usable inside the host");
    let at = Exposure::At { reason: exposed_reason::LOAD_BALANCER, host: "1.2.3.4".into(), port: 8443 };
    let there = told(&pending, at);
    let exposed = condition(&there, EXPOSED);
    assert_eq!((exposed.status.as_str(), exposed.message.as_str()), ("True", "https://1.2.3.4:8443"));
    assert!(conditions::find(&told(&there, Exposure::Inside).conditions, EXPOSED).is_none());
}

#[rstest]
#[case(running(), running(), well(), Phase::Ready, reason::PROVISIONED, "Cluster successfully provisioned")]
#[case(
    pods(false, "Starting", "boots"),
    running(),
    well(),
    Phase::Ready,
    reason::PROVISIONED,
    "Cluster successfully provisioned"
)]
#[case(
    pods(false, "Unschedulable", "unbound PersistentVolumeClaims"),
    running(),
    no_api(),
    Phase::Provisioning,
    reason::VOLUME_PENDING,
    "unbound PersistentVolumeClaims"
)]
#[case(
    pods(false, "Unschedulable", "no cpu"),
    running(),
    no_api(),
    Phase::Provisioning,
    reason::SERVER_UNSCHEDULABLE,
    "no cpu"
)]
#[case(
    pods(false, "ImagePullBackOff", "no image"),
    running(),
    no_api(),
    Phase::Provisioning,
    reason::IMAGE_PULL_FAILED,
    "no image"
)]
#[case(
    pods(false, "CrashLoopBackOff", "crash"),
    running(),
    no_api(),
    Phase::Provisioning,
    reason::SERVER_CRASHING,
    "crash"
)]
#[case(
    pods(false, "NoPod", "no pod"),
    running(),
    no_api(),
    Phase::Provisioning,
    reason::SERVER_STARTING,
    "no pod"
)]
#[case(running(), running(), no_api(), Phase::Provisioning, reason::API_NOT_READY, "api starting")]
#[case(
    running(),
    pods(false, "Starting", "kubelet boots"),
    no_node(),
    Phase::Provisioning,
    reason::KUBELET_NOT_READY,
    "kubelet boots"
)]
#[case(
    running(),
    pods(false, "ErrImagePull", "no k3k image"),
    no_node(),
    Phase::Provisioning,
    reason::IMAGE_PULL_FAILED,
    "no k3k image"
)]
#[case(running(), running(), no_node(), Phase::Provisioning, reason::NODE_NOT_READY, "no node")]
// What the API said last does not hold when its server has crashed since.
#[case(
    pods(false, "CrashLoopBackOff", "crash"),
    running(),
    well(),
    Phase::Provisioning,
    reason::SERVER_CRASHING,
    "crash"
)]
#[case(
    running(),
    pods(false, "NoPod", "kubelet gone"),
    well(),
    Phase::Provisioning,
    reason::KUBELET_NOT_READY,
    "kubelet gone"
)]
fn phases(
    #[case] server: Judgement,
    #[case] kubelet: Judgement,
    #[case] health: Health,
    #[case] phase: Phase,
    #[case] reason: &str,
    #[case] message: &str,
) {
    let status = status(server, kubelet, health);
    let ready = condition(&status, READY);
    assert_eq!((status.phase, ready.reason.as_str(), ready.message.as_str()), (phase, reason, message));
    assert_eq!(ready.status == "True", phase == Phase::Ready);
    assert_eq!((status.observed_generation, ready.observed_generation), (Some(3), Some(3)));
    assert_eq!(status.version.as_deref(), Some("v1"));
}

#[test]
fn what_waiting_cannot_mend_is_a_failure() {
    let server = Judgement { hopeless: true, ..pods(false, "InvalidImageName", "bad name") };
    assert_eq!(status(server, running(), no_api()).phase, Phase::Failed);
}

#[test]
fn parts_have_conditions_of_their_own() {
    let status = status(running(), pods(false, "Starting", "boots"), no_node());
    assert_eq!(condition(&status, SERVER_READY).status, "True");
    assert_eq!(condition(&status, API_READY).status, "True");
    assert_eq!(condition(&status, NODE_READY).status, "False");
    assert_eq!(condition(&status, NODE_READY).reason, "NodeMissing");
}

#[test]
fn the_same_state_gives_the_same_status_later_on() {
    let parts = parts(running(), Below::Kubelet(running()), well());
    let first = settled(&ClusterStatus::default(), Some(1), &facts(), &parts, now());
    let later = settled(&first, Some(1), &facts(), &parts, now() + jiff::SignedDuration::from_hours(1));
    assert_eq!(first, later);
}

#[test]
fn a_failure_keeps_what_was_known() {
    let before = status(running(), running(), well());
    let error = Error::Invalid { field: "spec.version".into(), message: "no".into() };
    let after = failed(&before, Some(4), &error, now());
    assert_eq!(after.phase, Phase::Pending);
    assert_eq!(after.version.as_deref(), Some("v1"));
    assert_eq!(condition(&after, READY).message, "spec.version: no");
    assert_eq!(condition(&after, API_READY).status, "True");
    assert_eq!(terminating(&after, Some(4), "bye", now()).phase, Phase::Terminating);
}

fn of_agents(agents: Judgement, health: Health) -> ClusterStatus {
    let parts = parts(running(), Below::Agents(agents), health);
    settled(&ClusterStatus::default(), Some(3), &facts(), &parts, now())
}

#[rstest]
#[case(running(), well(), Phase::Ready, reason::PROVISIONED)]
#[case(pods(false, "Starting", "boots"), no_node(), Phase::Provisioning, reason::AGENTS_NOT_READY)]
#[case(
    pods(false, "ImagePullBackOff", "no image"),
    no_node(),
    Phase::Provisioning,
    reason::IMAGE_PULL_FAILED
)]
#[case(running(), no_node(), Phase::Provisioning, reason::NODE_NOT_READY)]
#[case(running(), no_api(), Phase::Provisioning, reason::API_NOT_READY)]
fn a_virtual_cluster_is_ready_with_all_its_nodes(
    #[case] agents: Judgement,
    #[case] health: Health,
    #[case] phase: Phase,
    #[case] reason: &str,
) {
    let status = of_agents(agents.clone(), health);
    assert_eq!((status.phase, condition(&status, READY).reason.as_str()), (phase, reason));
    assert_eq!(condition(&status, AGENTS_READY).status == "True", agents.ready);
}

#[test]
fn a_cluster_whose_nodes_join_from_outside_is_ready_with_its_api() {
    let parts = parts(running(), Below::Nothing, well());
    let status = settled(&ClusterStatus::default(), Some(3), &facts(), &parts, now());
    assert_eq!(status.phase, Phase::Ready);
    assert!(conditions::find(&status.conditions, AGENTS_READY).is_none());
}
