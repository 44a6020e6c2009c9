use super::*;
use crate::snapshot::{Governing, Policy};
use k3k_api::v1beta1::PodSecurityLevel;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

fn bound(level: Option<PodSecurityLevel>) -> Snapshot {
    Snapshot { policy: Governing::Named(Policy { name: "gold".to_owned(), pod_security: level }) }
}

fn pod(spec: &Value) -> Value {
    let mut base = json!({"containers": [{"name": "web", "image": "nginx"}]});
    base.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": base})
}

fn broken(pod: &Value, snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let subject = Subject::pod(pod).unwrap();
    check(&subject, snapshot).into_iter().map(|violation| (violation.rule, violation.field)).collect()
}

/// Each violation with its allowed twin: the same place, harmless.
#[rstest]
#[case::network("host-namespaces", "spec.hostNetwork", json!({"hostNetwork": true}), json!({"hostNetwork": false}))]
#[case::pid("host-namespaces", "spec.hostPID", json!({"hostPID": true}), json!({"hostPID": null}))]
#[case::ipc("host-namespaces", "spec.hostIPC", json!({"hostIPC": true}), json!({"hostIPC": false}))]
#[case::path(
    "host-path", "spec.volumes[1].hostPath.path",
    json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/"}}]}),
    json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": null, "emptyDir": {}}]})
)]
#[case::path_without_a_path(
    "host-path", "spec.volumes[0].hostPath.path",
    json!({"volumes": [{"name": "b", "hostPath": {"path": ""}}]}),
    json!({"volumes": [{"name": "b", "configMap": {"name": "hostPath"}}]})
)]
#[case::process(
    "host-process", "spec.securityContext.windowsOptions.hostProcess",
    json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
    json!({"securityContext": {"windowsOptions": {"hostProcess": false}}})
)]
fn pod_fields(#[case] rule: &str, #[case] field: &str, #[case] bad: Value, #[case] good: Value) {
    for level in [None, Some(PodSecurityLevel::Baseline), Some(PodSecurityLevel::Restricted)] {
        assert_eq!(broken(&pod(&bad), &bound(level)), [(rule, field.to_owned())], "{level:?}");
        assert_eq!(broken(&pod(&good), &bound(level)), [], "{level:?}");
    }
    assert_eq!(broken(&pod(&bad), &Snapshot::default()).len(), 1);
    assert_eq!(broken(&pod(&bad), &bound(Some(PodSecurityLevel::Privileged))), []);
}

/// Fields of a container are judged in whatever list it stands.
#[rstest]
#[case::privileged(
    "privileged", "securityContext.privileged",
    json!({"securityContext": {"privileged": true}}), json!({"securityContext": {"privileged": false}})
)]
#[case::proc_mount(
    "proc-mount", "securityContext.procMount",
    json!({"securityContext": {"procMount": "Unmasked"}}), json!({"securityContext": {"procMount": "Default"}})
)]
#[case::future_proc_mount(
    "proc-mount", "securityContext.procMount",
    json!({"securityContext": {"procMount": "Other"}}), json!({"securityContext": {}})
)]
#[case::process(
    "host-process", "securityContext.windowsOptions.hostProcess",
    json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
    json!({"securityContext": {"windowsOptions": {}}})
)]
#[case::port(
    "host-ports", "ports[1].hostPort",
    json!({"ports": [{"containerPort": 1}, {"containerPort": 2, "hostPort": 80}]}),
    json!({"ports": [{"containerPort": 1}, {"containerPort": 2, "hostPort": 0}]})
)]
fn container_fields(
    #[case] rule: &str,
    #[case] field: &str,
    #[case] bad: Value,
    #[case] good: Value,
    #[values("containers", "initContainers", "ephemeralContainers")] list: &str,
    #[values(None, Some("Always"))] restart: Option<&str>,
) {
    let with = |fields: &Value| {
        let mut container = json!({"name": "second", "image": "i", "restartPolicy": restart});
        container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        pod(&json!({list: [{"name": "first", "image": "i"}, container]}))
    };
    assert_eq!(broken(&with(&bad), &Snapshot::default()), [(rule, format!("spec.{list}[1].{field}"))]);
    assert_eq!(broken(&with(&good), &Snapshot::default()), []);
    assert_eq!(broken(&with(&bad), &bound(Some(PodSecurityLevel::Privileged))), []);
}

#[test]
fn a_pod_in_the_nodes_network_is_told_once() {
    let pod = pod(&json!({
        "hostNetwork": true,
        "containers": [{"name": "web", "ports": [{"containerPort": 80, "hostPort": 80}]}],
    }));
    assert_eq!(broken(&pod, &Snapshot::default()), [("host-namespaces", "spec.hostNetwork".to_owned())]);
}

#[test]
fn rule_ids_are_unique() {
    let mut ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), RULES.len());
}

#[test]
fn long_values_are_cut_between_characters() {
    assert_eq!(shorten("short"), "short");
    let cut = shorten(&"ä".repeat(500));
    assert_eq!(cut.chars().count(), 121);
    assert!(cut.ends_with('…'));
}

fn maybe(field: &'static str, value: Value) -> impl Strategy<Value = Option<(&'static str, Value)>> + Clone {
    prop::option::of(Just((field, value)))
}

fn any_pod() -> impl Strategy<Value = Value> {
    let container = (
        maybe("securityContext", json!({"privileged": true})),
        maybe("ports", json!([{"containerPort": 1, "hostPort": 1}])),
    )
        .prop_map(|(context, ports)| {
            let mut container = json!({"name": "c"});
            container
                .as_object_mut()
                .unwrap()
                .extend([context, ports].into_iter().flatten().map(|(key, value)| (key.to_owned(), value)));
            container
        });
    let list = prop::collection::vec(container, 0..3);
    let fields = (
        maybe("hostNetwork", json!(true)),
        maybe("volumes", json!([{"name": "v", "hostPath": {"path": "/"}}])),
    );
    (list.clone(), list, fields).prop_map(|(containers, init, (network, volumes))| {
        let mut spec = json!({"containers": containers, "initContainers": init});
        spec.as_object_mut()
            .unwrap()
            .extend([network, volumes].into_iter().flatten().map(|(key, value)| (key.to_owned(), value)));
        pod(&spec)
    })
}

proptest! {
    /// A stricter policy never admits more, and saying nothing is never laxer than saying something.
    #[test]
    fn stricter_policies_never_admit_more(pod in any_pod()) {
        use PodSecurityLevel::{Baseline, Privileged, Restricted};
        let violations = |snapshot: &Snapshot| broken(&pod, snapshot);
        let by_level: Vec<_> = [Some(Privileged), Some(Baseline), Some(Restricted)].map(|level| violations(&bound(level))).into();
        for pair in by_level.windows(2) {
            prop_assert!(pair[0].iter().all(|violation| pair[1].contains(violation)));
        }
        prop_assert_eq!(violations(&bound(None)), violations(&Snapshot::default()));
        prop_assert_eq!(&violations(&Snapshot::default()), &by_level[1]);
    }
}
