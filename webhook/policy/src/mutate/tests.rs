use super::*;
use crate::policy::Source;
use serde_json::json;

fn policy(spec: &Value) -> Policy {
    crate::read_policy(&json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
}

fn made(spec: &Value, pod: &Value, role: Role<'_>) -> Value {
    super::pod(pod, &policy(spec), role, Stage::New, &Digests::new())
}

#[test]
fn nothing_to_change_is_no_patch() {
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut same = pod.clone();
    assert!(apply(&mut same, &policy(&json!({})), Stage::New, &Digests::new()).is_none());
    assert_eq!(same, pod);
}

#[test]
fn a_patch_touches_what_it_changes_and_nothing_that_is_unknown() {
    let mut pod =
        json!({"spec": {"somethingNew": {"a": 1}, "containers": [{"name": "c", "image": "i", "new": true}]}});
    let policy = policy(&json!({"images": {"pullPolicy": "Always"}}));
    let patch = apply(&mut pod, &policy, Stage::New, &Digests::new()).unwrap();
    let add = json!([{"op": "add", "path": "/spec/containers/0/imagePullPolicy", "value": "Always"}]);
    assert_eq!(serde_json::to_value(&patch).unwrap(), add);
}

#[test]
fn control_planes_are_placed_and_otherwise_left_alone() {
    let spec = json!({
        "defaultPriorityClass": "low",
        "images": {"pullPolicy": "Always"},
        "nodes": {"requiredSelector": {"tenant": "a"}},
        "podSecurity": {"userNamespaces": "Require"},
    });
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    let server = made(&spec, &pod, Role::ControlPlane);
    assert_eq!(
        server,
        json!({"spec": {"containers": [{"name": "c", "image": "i"}], "nodeSelector": {"tenant": "a"}}})
    );
    let tenant = made(&spec, &pod, Role::Tenant(Source::default()));
    assert_eq!(tenant["spec"]["priorityClassName"], "low");
    assert_eq!(tenant["spec"]["hostUsers"], false);
}

#[test]
fn a_registry_is_asked_only_where_it_may_be_and_has_to_be() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let policy = policy(&json!({"images": {
        "digest": "Resolve",
        "allowedRegistries": [{"host": "docker.io", "repositories": ["library/*"]}],
        "pins": [{"image": "busybox:1", "digest": digest}],
    }}));
    let container = |name: &str, image: &str| json!({"name": name, "image": image});
    let named = format!("nginx@{digest}");
    let pod = json!({"spec": {
        "initContainers": [container("a", "nginx:1"), container("b", "busybox:1")],
        "containers": [container("c", "nginx:1"), container("d", &named), container("e", "evil.example/x:1"), container("f", "not an image")],
        "volumes": [{"name": "v", "image": {"reference": "redis"}}],
    }});
    let asked = |stage: Stage<'_>| -> Vec<String> {
        wanted(&pod, &policy, stage).into_iter().map(|(text, _)| text).collect()
    };
    assert_eq!(asked(Stage::New), ["nginx:1", "redis"]);
    let mut old = pod.clone();
    old["spec"]["initContainers"][0]["image"] = format!("nginx:1@{digest}").into();
    old["spec"]["containers"][0]["image"] = format!("nginx:1@{digest}").into();
    assert_eq!(asked(Stage::Running(&old)), [""; 0], "they are known");
}
