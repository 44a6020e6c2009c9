//! The pods that are compared.

use crate::values::{self, Field, hardened, named};
use fastrand::Rng;
use serde_json::{Value, json};

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Every value of every field alone, with a name for it: in a pod that says nothing and in a hardened one, with users of
/// its own and on Windows.
pub(crate) fn one_value_each() -> Vec<(String, Value)> {
    let mut pods = Vec::new();
    let strict = strict();
    let own_users = |base: &Value| merged(base.clone(), "hostUsers", &json!(false));
    let on_windows = merged(plain(), "os", &json!({"name": "windows"}));
    for base in [plain(), own_users(&plain()), strict.clone(), own_users(&strict), on_windows] {
        for (path, value) in alternatives(values::pod()) {
            pods.push((format!("{path} {value}"), with(&base, |pod| set(&mut pod["spec"], path, &value))));
        }
        for (path, value) in alternatives(values::container()) {
            for list in LISTS {
                let pod = with(&base, |pod| set(&mut pod["spec"][list][1], path, &value));
                pods.push((format!("{list} {path} {value}"), pod));
            }
        }
        for (key, value) in alternatives(values::annotations()) {
            let pod = with(&base, |pod| pod["metadata"]["annotations"] = json!({key: value}));
            pods.push((format!("{key} {value}"), pod));
        }
        for of_pod in [true, false] {
            let pod = with(&base, |pod| host_process(pod, &json!({"hostProcess": true}), of_pod));
            pods.push((format!("hostProcess of the pod {of_pod}"), pod));
        }
    }
    pods
}

/// A pod that may break any rule, and often breaks only a few.
pub(crate) fn random(rng: &mut Rng) -> Value {
    let mut pod = if rng.u8(..3) == 0 { plain() } else { strict() };
    let spec = &mut pod["spec"];
    for list in LISTS {
        let containers = spec[list].as_array_mut().expect("a list");
        containers.truncate(rng.usize(1..=2));
        if list == "initContainers" && rng.bool() {
            containers.clear();
        }
    }
    if rng.u8(..4) == 0 {
        spec["hostUsers"] = json!(false);
    }
    if rng.u8(..12) == 0 {
        windows(spec);
    }
    let (of_pod, of_container) = (values::pod(), values::container());
    for _ in 0..rng.usize(..3) {
        let (path, value) = choose(rng, &of_pod);
        set(spec, path, &value);
    }
    if rng.u8(..4) == 0 {
        let sources = values::sources();
        let number = rng.usize(..4);
        spec["volumes"] = (0..number)
            .map(|index| named(&format!("v{index}"), sources[rng.usize(..sources.len())].clone()))
            .collect();
    }
    for list in LISTS {
        for container in spec[list].as_array_mut().expect("a list") {
            for _ in 0..rng.usize(..4).saturating_sub(1) {
                let (path, value) = choose(rng, &of_container);
                set(container, path, &value);
            }
            // What validation would refuse: no gain for one who has everything.
            if container["securityContext"]["privileged"] == json!(true) {
                set(container, "securityContext.allowPrivilegeEscalation", &Value::Null);
            }
        }
    }
    if rng.u8(..6) == 0 {
        let (key, value) = choose(rng, &values::annotations());
        pod["metadata"]["annotations"] = json!({key: value});
    }
    if rng.u8(..25) == 0 {
        host_process(&mut pod, &json!({"hostProcess": true}), rng.bool());
    }
    pod
}

/// Pods that may be everywhere, to be joined by others.
pub(crate) fn hosts() -> Vec<(&'static str, Value)> {
    let container = |security: Value| json!([{"name": "c0", "image": "i", "securityContext": security}]);
    let own = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let whole = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let seccomp = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    [
        ("by-container", json!({"containers": container(hardened())})),
        ("by-pod", json!({"securityContext": whole, "containers": container(own.clone())})),
        ("own-users", json!({"hostUsers": false, "securityContext": seccomp, "containers": container(own)})),
        (
            "windows",
            json!({"os": {"name": "windows"}, "containers": container(json!({"runAsNonRoot": true}))}),
        ),
    ]
    .map(|(name, spec)| {
        (name, json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))
    })
    .into()
}

/// Lists of ephemeral containers: each value alone, with and without hardening, and random ones.
pub(crate) fn debuggers(rng: &mut Rng) -> Vec<Value> {
    let container =
        |name: &str, security: Value| json!({"name": name, "image": "i", "securityContext": security});
    let mut lists = Vec::new();
    for base in [Value::Null, hardened(), json!({"runAsNonRoot": true})] {
        for (path, value) in alternatives(values::confinement()) {
            let mut debugger = container("e0", base.clone());
            set(&mut debugger, path, &value);
            lists.push(json!([container("first", hardened()), debugger]));
        }
    }
    let fields = values::confinement();
    for _ in 0..25 {
        let debugger = |name: &str, rng: &mut Rng| {
            let mut debugger = container(name, if rng.bool() { hardened() } else { Value::Null });
            for _ in 0..rng.usize(..3) {
                let (path, value) = choose(rng, &fields);
                set(&mut debugger, path, &value);
            }
            debugger
        };
        lists.push(json!([debugger("e0", rng), debugger("e1", rng)]));
    }
    lists
}

/// A pod that says nothing about security.
fn plain() -> Value {
    let container = |name: &str| json!({"name": name, "image": "i"});
    let sidecar = |name: &str| json!({"name": name, "image": "i", "restartPolicy": "Always"});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {
            "containers": [container("c0"), container("c1")],
            "initContainers": [container("i0"), sidecar("i1")],
        },
    })
}

/// A pod that Restricted allows.
fn strict() -> Value {
    let mut pod = plain();
    for list in LISTS {
        for container in pod["spec"][list].as_array_mut().expect("a list") {
            container["securityContext"] = hardened();
        }
    }
    pod
}

/// Windows, with what may be said there.
fn windows(spec: &mut Value) {
    spec["os"] = json!({"name": "windows"});
    spec["hostUsers"] = Value::Null;
    for list in LISTS {
        for container in spec[list].as_array_mut().expect("a list") {
            container["securityContext"] = json!({"runAsNonRoot": true});
        }
    }
}

/// A Windows pod outside of containers, said for the pod or by every container.
fn host_process(pod: &mut Value, options: &Value, of_pod: bool) {
    let spec = &mut pod["spec"];
    spec["hostNetwork"] = json!(true);
    spec["hostUsers"] = Value::Null;
    if of_pod {
        set(spec, "securityContext.windowsOptions", options);
        return;
    }
    for list in LISTS {
        for container in spec[list].as_array_mut().expect("a list") {
            set(container, "securityContext.windowsOptions", options);
        }
    }
}

fn with(base: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = base.clone();
    change(&mut pod);
    pod
}

fn merged(mut pod: Value, path: &str, value: &Value) -> Value {
    set(&mut pod["spec"], path, value);
    pod
}

/// Sets the field at a path of names.
fn set(mut place: &mut Value, path: &str, value: &Value) {
    for name in path.split('.') {
        place = &mut place[name];
    }
    value.clone_into(place);
}

fn alternatives(fields: Vec<Field>) -> impl Iterator<Item = (&'static str, Value)> {
    fields.into_iter().flat_map(|(path, values)| values.into_iter().map(move |value| (path, value)))
}

fn choose(rng: &mut Rng, fields: &[Field]) -> (&'static str, Value) {
    let (path, values) = &fields[rng.usize(..fields.len())];
    (path, values[rng.usize(..values.len())].clone())
}
