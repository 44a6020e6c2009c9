//! Whether both sides agree, object by object.

use super::sides::Snapshot;
use k3k_api::{labels, managers, names};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const BY: &str = "endpointslice.kubernetes.io/managed-by";
const OF: &str = "kubernetes.io/service-name";

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn label<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["labels"][key].as_str().unwrap_or_default()
}

fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["annotations"][key].as_str().unwrap_or_default()
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn path(object: &Value) -> String {
    format!("{}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

fn is_ending(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Whether it stands for an object of the tenant.
pub(crate) fn is_copy(object: &Value) -> bool {
    !label(object, labels::CLUSTER_NAME).is_empty() || !annotation(object, labels::VIRTUAL_UID).is_empty()
}

fn is_pod_secret(object: &Value) -> bool {
    text(object, "/metadata/name").starts_with("k3k-pod-")
}

/// Everything that differs, in words.
pub(crate) fn differences(snapshot: &Snapshot) -> Vec<String> {
    let mut found = Comparison { snapshot, found: Vec::new() };
    found.ends();
    found.identities();
    found.pods();
    found.services();
    found.endpoints();
    found.claims();
    found.data();
    found.found
}

struct Comparison<'a> {
    snapshot: &'a Snapshot,
    found: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn nested(&self, kind: &str) -> &'a [Value] {
        self.snapshot.nested.get(kind).map(Vec::as_slice).unwrap_or_default()
    }

    fn host(&self, kind: &str) -> &'a [Value] {
        self.snapshot.host.get(kind).map(Vec::as_slice).unwrap_or_default()
    }

    fn say(&mut self, what: impl Into<String>) {
        self.found.push(what.into());
    }

    fn same(&mut self, what: &str, inside: &Value, host: &Value) {
        if inside != host {
            self.say(format!("{what}: inside {inside}, in the host {host}"));
        }
    }

    fn host_name(&self, object: &Value) -> String {
        let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
        names::translated(&self.snapshot.cluster, namespace, name)
    }

    /// The one host object that stands for `nested`, if there is exactly one of its name and no other with its UID.
    fn copy_of(&mut self, kind: &str, nested: &Value) -> Option<&'a Value> {
        let uid = text(nested, "/metadata/uid");
        let copies: Vec<&Value> = self
            .host(kind)
            .iter()
            .filter(|host| annotation(host, labels::VIRTUAL_UID) == uid && !is_pod_secret(host))
            .collect();
        match copies[..] {
            [copy] => {
                let name = self.host_name(nested);
                if text(copy, "/metadata/name") != name {
                    self.say(format!("{kind} {}: its copy is not named {name}", path(nested)));
                }
                Some(copy)
            }
            [] => {
                self.say(format!("{kind} {}: the host has no copy of it", path(nested)));
                None
            }
            _ => {
                let names: Vec<_> = copies.iter().map(|copy| text(copy, "/metadata/name")).collect();
                self.say(format!("{kind} {}: the host has several copies: {names:?}", path(nested)));
                None
            }
        }
    }

    /// Nothing is stuck in its deletion; only a claim waits, for the pod that uses it.
    fn ends(&mut self) {
        let used: BTreeSet<String> = self
            .nested("Pod")
            .iter()
            .flat_map(|pod| {
                let namespace = text(pod, "/metadata/namespace");
                let claims = list(pod, "/spec/volumes").iter();
                let claims = claims.map(|volume| text(volume, "/persistentVolumeClaim/claimName"));
                claims.map(move |claim| format!("{namespace}/{claim}"))
            })
            .collect();
        let both = [("inside", &self.snapshot.nested), ("in the host", &self.snapshot.host)];
        for (side, all) in both {
            for (kind, objects) in all {
                for object in objects.iter().filter(|object| is_ending(object)) {
                    let waits =
                        side == "inside" && *kind == "PersistentVolumeClaim" && used.contains(&path(object));
                    if !waits {
                        let finalizers = &object["metadata"]["finalizers"];
                        self.say(format!(
                            "{kind} {} {side} is still being deleted: {finalizers}",
                            path(object)
                        ));
                    }
                }
            }
        }
        let ready = |node: &Value| {
            list(node, "/status/conditions")
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        let nodes = self.nested("Node");
        if nodes.len() != 1 || !nodes.iter().all(ready) {
            let names: Vec<_> =
                nodes.iter().map(|node| (text(node, "/metadata/name"), ready(node))).collect();
            self.say(format!("not one node that is ready, but {names:?}"));
        }
    }

    /// Every copy of the host carries a whole identity, and what it stands for is there.
    fn identities(&mut self) {
        for (kind, objects) in &self.snapshot.host {
            for copy in objects.iter().filter(|object| is_copy(object)) {
                let name = text(copy, "/metadata/name");
                if *kind == "EndpointSlice" && label(copy, BY) != managers::KUBELET {
                    continue; // the host's own, for the copy of a Service
                }
                let namespace = annotation(copy, labels::VIRTUAL_NAMESPACE);
                let of = annotation(copy, labels::VIRTUAL_NAME);
                if label(copy, labels::CLUSTER_NAME) != self.snapshot.cluster
                    || label(copy, labels::VIRTUAL_NAMESPACE_LABEL) != names::label_value(namespace)
                {
                    self.say(format!(
                        "{kind} {name} in the host: its labels are {}",
                        copy["metadata"]["labels"]
                    ));
                }
                let stands_for = if is_pod_secret(copy) { "Pod" } else { kind };
                let uid = annotation(copy, labels::VIRTUAL_UID);
                let exists = self.nested(stands_for).iter().any(|nested| {
                    text(nested, "/metadata/uid") == uid
                        && text(nested, "/metadata/name") == of
                        && text(nested, "/metadata/namespace") == namespace
                });
                if !exists {
                    self.say(format!(
                        "{kind} {name} in the host stands for {namespace}/{of} ({uid}), which is not there"
                    ));
                }
            }
        }
    }

    fn pods(&mut self) {
        let node = names::prefixed(&[&self.snapshot.cluster]);
        for nested in self.nested("Pod") {
            if text(nested, "/spec/nodeName") != node {
                if let Some(copy) = self
                    .host("Pod")
                    .iter()
                    .find(|host| annotation(host, labels::VIRTUAL_UID) == text(nested, "/metadata/uid"))
                {
                    self.say(format!("Pod {}: not bound to our node, but {} runs", path(nested), path(copy)));
                }
                continue;
            }
            let Some(host) = self.copy_of("Pod", nested) else { continue };
            let what = |field: &str| format!("Pod {}: {field}", path(nested));
            for field in ["phase", "podIP", "reason", "startTime"] {
                self.same(&what(field), &nested["status"][field], &host["status"][field]);
            }
            for kind in ["Initialized", "ContainersReady", "Ready"] {
                let of = |pod: &Value| {
                    let all = list(pod, "/status/conditions").iter();
                    all.filter(|condition| condition["type"] == kind)
                        .map(|condition| condition["status"].clone())
                        .collect::<Value>()
                };
                self.same(&what(kind), &of(nested), &of(host));
            }
            for statuses in ["/status/containerStatuses", "/status/initContainerStatuses"] {
                let of = |pod: &Value| {
                    let all = list(pod, statuses).iter();
                    all.map(|status| {
                        let picked = ["name", "ready", "started", "restartCount", "state", "containerID"];
                        picked.map(|field| status[field].clone()).into_iter().collect::<Value>()
                    })
                    .collect::<Value>()
                };
                self.same(&what(statuses), &of(nested), &of(host));
            }
            let own = |pod: &Value| {
                let all = pod["metadata"]["labels"].as_object().into_iter().flatten();
                all.filter(|(key, _)| !labels::is_reserved(key))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect::<serde_json::Map<_, _>>()
            };
            self.same(&what("labels"), &own(nested).into(), &own(host).into());
            for volume in list(host, "/spec/volumes") {
                let secret = volume.pointer("/secret/secretName").or_else(|| {
                    list(volume, "/projected/sources")
                        .iter()
                        .find_map(|source| source.pointer("/secret/name"))
                });
                let Some(secret) = secret.and_then(Value::as_str).filter(|name| name.starts_with("k3k-pod-"))
                else {
                    continue;
                };
                if !self.host("Secret").iter().any(|present| text(present, "/metadata/name") == secret) {
                    self.say(format!("Pod {}: the host has no Secret {secret} for it", path(nested)));
                }
            }
        }
    }

    fn services(&mut self) {
        for nested in self.nested("Service") {
            let own = ["default/kubernetes", "kube-system/kube-dns"].contains(&path(nested).as_str());
            let inside_only = text(nested, "/spec/type") == "ExternalName"
                || ["", "None"].contains(&text(nested, "/spec/clusterIP"));
            if own || inside_only {
                let uid = text(nested, "/metadata/uid");
                if self.host("Service").iter().any(|host| annotation(host, labels::VIRTUAL_UID) == uid) {
                    self.say(format!("Service {}: the host has a copy that nobody wants", path(nested)));
                }
                continue;
            }
            let Some(host) = self.copy_of("Service", nested) else { continue };
            let what = |field: &str| format!("Service {}: {field}", path(nested));
            for field in ["type", "clusterIP", "sessionAffinity"] {
                self.same(&what(field), &nested["spec"][field], &host["spec"][field]);
            }
            let ports = |service: &Value| {
                let all = list(service, "/spec/ports").iter();
                all.map(|port| {
                    ["name", "port", "targetPort", "protocol", "nodePort"]
                        .map(|field| port[field].clone())
                        .into_iter()
                        .collect::<Value>()
                })
                .collect::<Value>()
            };
            self.same(&what("ports"), &ports(nested), &ports(host));
            let mut selector = nested["spec"]["selector"].clone();
            if selector.as_object().is_some_and(|selector| !selector.is_empty()) {
                selector[labels::CLUSTER_NAME] = self.snapshot.cluster.clone().into();
                selector[labels::VIRTUAL_NAMESPACE_LABEL] =
                    names::label_value(text(nested, "/metadata/namespace")).into();
            }
            self.same(&what("selector"), &selector, &host["spec"]["selector"]);
        }
    }

    /// Behind a Service and behind its copy are the same addresses, ready or not. One of a pod that has ended without ever being ready does
    /// not count: Kubernetes' own controller leaves it there if it saw the pod before its end, which only one of the two may have done.
    fn endpoints(&mut self) {
        let ended = |pod: &&Value| ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"));
        let ended = self.host("Pod").iter().filter(ended);
        let ended: BTreeSet<String> = ended.map(|pod| text(pod, "/status/podIP").to_owned()).collect();
        for host in self.host("Service").iter().filter(|host| is_copy(host)) {
            let (namespace, name) =
                (annotation(host, labels::VIRTUAL_NAMESPACE), annotation(host, labels::VIRTUAL_NAME));
            let of = |slices: &[Value], service: &str, namespace: &str| {
                let slices = slices.iter().filter(|slice| {
                    label(slice, OF) == service && text(slice, "/metadata/namespace") == namespace
                });
                let mut all = BTreeMap::new();
                for endpoint in slices.flat_map(|slice| list(slice, "/endpoints")) {
                    let is_ready = &endpoint["conditions"]["ready"];
                    let counts = |address: &&Value| {
                        *is_ready != false || address.as_str().is_none_or(|address| !ended.contains(address))
                    };
                    for address in list(endpoint, "/addresses").iter().filter(counts) {
                        all.insert(address.to_string(), is_ready.clone());
                    }
                }
                serde_json::to_value(all).unwrap_or_default()
            };
            let inside = of(self.nested("EndpointSlice"), name, namespace);
            let outside =
                of(self.host("EndpointSlice"), text(host, "/metadata/name"), &self.snapshot.namespace);
            self.same(&format!("Service {namespace}/{name}: endpoints"), &inside, &outside);
        }
    }

    fn claims(&mut self) {
        for nested in self.nested("PersistentVolumeClaim") {
            let Some(host) = self.copy_of("PersistentVolumeClaim", nested) else { continue };
            let what = |field: &str| format!("PersistentVolumeClaim {}: {field}", path(nested));
            for field in ["phase", "capacity", "accessModes"] {
                self.same(&what(field), &nested["status"][field], &host["status"][field]);
            }
            let volume = format!("pvc-{}", text(nested, "/metadata/uid"));
            let bound = nested["status"]["phase"] == "Bound";
            self.same(
                &what("volumeName"),
                &nested["spec"]["volumeName"],
                &if bound { volume.clone().into() } else { Value::Null },
            );
            let there = |volumes: &[Value], name: &str, uid: &str| {
                volumes.iter().any(|volume| {
                    text(volume, "/metadata/name") == name && text(volume, "/spec/claimRef/uid") == uid
                })
            };
            if bound && !there(self.nested("PersistentVolume"), &volume, text(nested, "/metadata/uid")) {
                self.say(format!("{} names {volume}, which is not there or another's", what("volumeName")));
            }
            let real = text(host, "/spec/volumeName");
            if bound && !there(self.host("PersistentVolume"), real, text(host, "/metadata/uid")) {
                self.say(format!("{} names {real} in the host, which is not there", what("volumeName")));
            }
        }
        for (side, all) in [("inside", &self.snapshot.nested), ("in the host", &self.snapshot.host)] {
            let claims = all.get("PersistentVolumeClaim").map(Vec::as_slice).unwrap_or_default();
            for volume in all.get("PersistentVolume").into_iter().flatten() {
                let claim = text(volume, "/spec/claimRef/uid");
                if !claims.iter().any(|present| text(present, "/metadata/uid") == claim) {
                    self.say(format!(
                        "PersistentVolume {} {side} is {} and its claim {}/{} is not there",
                        text(volume, "/metadata/name"),
                        volume["status"]["phase"],
                        text(volume, "/spec/claimRef/namespace"),
                        text(volume, "/spec/claimRef/name"),
                    ));
                }
            }
        }
    }

    /// What host pods use is there, as it is inside, and nothing else.
    fn data(&mut self) {
        let pods: Vec<&Value> = self.host("Pod").iter().filter(|pod| is_copy(pod)).collect();
        for kind in ["ConfigMap", "Secret"] {
            let mut used = BTreeSet::new();
            for pod in &pods {
                names_of(&pod["spec"], kind, &mut used);
            }
            for nested in self.nested(kind) {
                if used.contains(&self.host_name(nested)) {
                    let Some(host) = self.copy_of(kind, nested) else { continue };
                    let what = format!("{kind} {}: data", path(nested));
                    for field in ["data", "binaryData"] {
                        self.same(&what, &nested[field], &host[field]);
                    }
                }
            }
            for host in self.host(kind).iter().filter(|host| is_copy(host)) {
                let name = text(host, "/metadata/name");
                if !used.contains(name) {
                    let owners = &host["metadata"]["ownerReferences"];
                    self.say(format!("{kind} {name} in the host: no pod uses it; owners {owners}"));
                }
            }
        }
    }
}

/// Names of the ConfigMaps or Secrets that a pod's spec refers to.
fn names_of(spec: &Value, kind: &str, used: &mut BTreeSet<String>) {
    let keys: &[&str] = match kind {
        "ConfigMap" => &["configMap", "configMapRef", "configMapKeyRef"],
        _ => &["secret", "secretRef", "secretKeyRef"],
    };
    match spec {
        Value::Object(map) => {
            for (key, value) in map {
                if keys.contains(&key.as_str()) {
                    for field in ["name", "secretName"] {
                        used.extend(value[field].as_str().map(str::to_owned));
                    }
                }
                names_of(value, kind, used);
            }
            let pull = map.get("imagePullSecrets").filter(|_| kind == "Secret");
            for secret in pull.and_then(Value::as_array).into_iter().flatten() {
                used.extend(secret["name"].as_str().map(str::to_owned));
            }
        }
        Value::Array(list) => list.iter().for_each(|value| names_of(value, kind, used)),
        _ => {}
    }
}
