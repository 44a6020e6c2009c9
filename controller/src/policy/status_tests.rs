use super::*;
use rstest::rstest;
use serde_json::Value;

fn now() -> Timestamp {
    "2026-01-01T00:00:00.5Z".parse().unwrap()
}

fn outcome() -> Outcome {
    Outcome {
        namespaces: vec![BoundNamespace { name: "t".into(), clusters: 2 }],
        pod_ranges_known: true,
        ..Outcome::default()
    }
}

fn failed() -> Outcome {
    Outcome { failure: Some((reason::NAME_TAKEN, "ResourceQuota \"k3k-gold\" exists".into())), ..outcome() }
}

fn made(before: &VirtualClusterPolicyStatus, spec: &Value, outcome: &Outcome) -> VirtualClusterPolicyStatus {
    status(before, Some(2), &serde_json::from_value(spec.clone()).unwrap(), outcome, now())
}

fn told(status: &VirtualClusterPolicyStatus) -> Vec<String> {
    let told = status.conditions.iter();
    told.map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.reason)).collect()
}

#[test]
fn all_is_well() {
    let status = made(&VirtualClusterPolicyStatus::default(), &json!({}), &outcome());
    assert_eq!(
        told(&status),
        [
            "Accepted=True Valid",
            "NativeObjectsReady=True Applied",
            "Isolated=True NetworkPolicies",
            "Enforced=True Enforced"
        ]
    );
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(status.summary.as_deref(), Some("1 namespace, 2 clusters"));
    assert_eq!(status.last_update_time.as_deref(), Some("2026-01-01T00:00:00Z"));
}

#[test]
fn the_same_again_is_not_written() {
    let once = made(&VirtualClusterPolicyStatus::default(), &json!({}), &outcome());
    let later = "2026-01-01T01:00:00Z".parse().unwrap();
    assert_eq!(status(&once, Some(2), &VirtualClusterPolicySpec::default(), &outcome(), later), once);
}

#[test]
fn a_generation_is_observed_when_all_is_in_place() {
    let before =
        VirtualClusterPolicyStatus { observed_generation: Some(1), ..VirtualClusterPolicyStatus::default() };
    let status = made(&before, &json!({}), &failed());
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(told(&status)[1], "NativeObjectsReady=False NameTaken");
    assert_eq!(status.summary.as_deref(), Some("1 namespace, 2 clusters; NameTaken"));
    let invalid = Outcome { invalid: Some("spec.x".into()), ..outcome() };
    assert_eq!(observed_generation(Some(1), Some(2), &invalid), Some(1));
    // A replica of the webhook that has not read it yet would still let something in.
    let behind = Outcome { behind: vec!["k3k-webhook-1".into()], ..outcome() };
    assert_eq!(observed_generation(Some(1), Some(2), &behind), Some(1));
    assert_eq!(told(&made(&before, &json!({}), &behind))[3], "Enforced=False ReplicasBehind");
}

#[rstest]
#[case(json!({ "disableNetworkPolicy": true }), true, "Isolated=False Disabled")]
#[case(json!({}), false, "Isolated=False PodRangesUnknown")]
#[case(json!({ "network": { "isolation": { "egress": "Deny", "ingress": "SameNamespace" } } }), false, "Isolated=True NetworkPolicies")]
fn isolation(#[case] spec: Value, #[case] pod_ranges_known: bool, #[case] want: &str) {
    let status =
        made(&VirtualClusterPolicyStatus::default(), &spec, &Outcome { pod_ranges_known, ..outcome() });
    assert_eq!(told(&status)[2], want);
}

#[test]
fn labels_of_others_are_told_and_no_failure() {
    let labels = (0..5).map(|number| format!("t{number}: enforce=privileged")).collect();
    let status = made(
        &VirtualClusterPolicyStatus::default(),
        &json!({}),
        &Outcome { labels_of_others: labels, ..outcome() },
    );
    assert_eq!(told(&status)[1], "NativeObjectsReady=True PodSecurityLabelOfOthers");
    assert!(
        status.conditions[1].message.ends_with("t2: enforce=privileged and 2 more"),
        "{}",
        status.conditions[1].message
    );
    assert_eq!(status.observed_generation, Some(2));
}

#[test]
fn a_long_list_is_cut() {
    let namespaces =
        (0..150).map(|number| BoundNamespace { name: format!("n{number}"), clusters: 1 }).collect();
    let status =
        made(&VirtualClusterPolicyStatus::default(), &json!({}), &Outcome { namespaces, ..outcome() });
    assert_eq!(status.namespaces.len(), 100);
    assert_eq!(status.summary.as_deref(), Some("150 namespaces, 150 clusters"));
}

#[test]
fn events_tell_of_failures_and_of_their_end() {
    let fresh = VirtualClusterPolicyStatus::default();
    let well = made(&fresh, &json!({}), &outcome());
    let ill = made(&well, &json!({}), &failed());
    assert!(event(&fresh, &well).is_none());
    let told = event(&well, &ill).unwrap();
    assert_eq!((told.type_, told.reason.as_str()), (EventType::Warning, "NameTaken"));
    assert!(event(&ill, &ill).is_none());
    assert_eq!(event(&ill, &made(&ill, &json!({}), &outcome())).unwrap().type_, EventType::Normal);
}

#[test]
fn several_failures_are_counted() {
    let error = || Error::Foreign { what: "ResourceQuota \"x\"".into(), owner: "is somebody's".into() };
    assert_eq!(failure(&[], 3), None);
    let (word, message) = failure(&[("a".into(), error()), ("b".into(), error())], 3).unwrap();
    assert_eq!(word, "NameTaken");
    assert!(message.ends_with("Delete or rename it (2 of 3 namespaces)"), "{message}");
}
