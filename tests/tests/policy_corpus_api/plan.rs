//! From a case to a request, and to what has to be there before it.

use crate::complete::{complete, resizable};
use crate::host::{Caller, Host, USER_OF_POLICIES};
use anyhow::{Context, Result};
use http::Method;
use k3k_tests::corpus::{Case, Corpus, Entry, caller, merge};
use serde_json::{Map, Value, json};

/// A request that is to be made.
pub(crate) struct Plan<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) case: Case,
    pub(crate) caller: Caller,
    /// The namespace in which it is made, and whether it is its own.
    pub(crate) namespace: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    /// Collections and what is made in them; the first is what is updated.
    before: Vec<(String, Value)>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(corpus: &Corpus, entry: &'a Entry, case: Case, number: usize) -> Result<Self> {
        let is_namespace = case.resource == "namespaces";
        let on_pod =
            matches!(case.sub_resource.as_str(), "eviction" | "binding") || case.resource == "bindings";
        let facts = &entry.facts;
        let own = case.old.is_some()
            || is_namespace
            || on_pod
            || case.operation == "CONNECT"
            || facts.clusters_in_namespace > 0
            || !facts.taken_hosts.is_empty();
        let namespace = if own { format!("t-a-{number}") } else { format!("t-a-{}", entry.policy()) };
        // Names of hosts are everybody's.
        let suffix = if own { number.to_string() } else { String::new() };
        let here = |value: &Value| moved(value, &namespace, &suffix);
        let (user, groups) = caller(&entry.caller);
        let user = if facts.may_use_policies { USER_OF_POLICIES.to_owned() } else { user };
        let caller = Caller::new(user.replace(":t-a:", &format!(":{namespace}:")), groups);

        let whole = |mut object: Value| {
            if case.sub_resource == "resize" {
                resizable(&mut object);
            }
            let is_object = matches!(case.sub_resource.as_str(), "" | "resize" | "ephemeralcontainers");
            if is_object { complete(object, &case.resource) } else { object }
        };
        let object = case.object.as_ref().map(&here).map(whole);
        let old = case.old.as_ref().map(&here).map(|mut old| {
            old["metadata"]["name"] = here(&json!(case.name));
            whole(old)
        });
        let case = Case { object, old, name: moved_text(&case.name, &namespace, &suffix), ..case };
        let collection = collection(
            &case.group,
            &case.resource,
            if is_namespace { "" } else { &namespace },
            &case.namespace,
        );
        let (method, path) = request(&case, &collection);

        let mut before = Vec::new();
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        if let Some(old) = &case.old {
            let old = if case.sub_resource == "scale" { workload(&case) } else { old.clone() };
            before.push((collection.clone(), old));
        } else if on_pod {
            let pod = corpus.object(&serde_json::from_value(json!({"base": "pod"}))?)?;
            before.push((pods.clone(), here(&pod)));
        }
        if let Some(target) = &facts.target {
            let mut pod = here(&corpus.object(target)?);
            pod["metadata"]["name"] = case.name.split(':').next().into();
            before.push((pods, complete(pod, "pods")));
        }
        for cluster in 0..facts.clusters_in_namespace.saturating_sub(before.len()) {
            before.push((
                format!("/apis/k3k.io/v1beta1/namespaces/{namespace}/clusters"),
                json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "metadata": {"name": format!("before-{cluster}")}, "spec": {}}),
            ));
        }
        for (index, host) in facts.taken_hosts.iter().enumerate() {
            let service = json!({"service": {"name": "web", "port": {"number": 80}}});
            before.push((
                "/apis/networking.k8s.io/v1/namespaces/t-b/ingresses".to_owned(),
                json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": format!("taken-{number}-{index}")},
                       "spec": {"rules": [{"host": moved_text(host, &namespace, &suffix),
                                           "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": service}]}}]}}),
            ));
        }
        let body = case.object.clone();
        Ok(Self { entry, case, caller, namespace, method, path, body, before })
    }

    /// Whether the namespace is one of the case's own, which is to be made.
    pub(crate) fn needs_namespace(&self) -> bool {
        self.case.resource != "namespaces"
    }

    /// Makes what has to be there, while nobody objects.
    pub(crate) async fn prepare(&mut self, host: &Host) -> Result<()> {
        let mut current = None;
        let storage =
            |object: Option<&Value>| object.and_then(|object| object.pointer("/spec/resources").cloned());
        let grows = self.case.resource == "persistentvolumeclaims"
            && storage(self.case.old.as_ref()) != storage(self.case.object.as_ref())
            && self.case.operation == "UPDATE";
        for (path, object) in &self.before {
            let mut plain = object.clone();
            if grows {
                plain["spec"]["volumeName"] = "pv-1".into();
            }
            let metadata = plain["metadata"].as_object_mut().context("an object has metadata")?;
            let goes = metadata.remove("deletionTimestamp").is_some();
            metadata.remove("managedFields");
            let mut made = host.create(path, &plain).await.context(self.case.label.clone())?;
            if goes {
                let path = format!("{path}/{}", made["metadata"]["name"].as_str().unwrap_or_default());
                let at_once = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
                host.demand(Method::DELETE, &path, Some(&at_once)).await?;
                made = host.demand(Method::GET, &path, None).await?;
            }
            if grows {
                // Only what is bound can grow.
                let path = format!("{path}/{}/status", self.case.name);
                made =
                    host.demand(Method::PATCH, &path, Some(&json!({"status": {"phase": "Bound"}}))).await?;
            }
            current.get_or_insert(made);
        }
        if self.case.operation != "UPDATE" || self.case.sub_resource == "scale" {
            return Ok(());
        }
        let mut whole = current.context("an update is of something")?;
        let (old, new) = (self.case.old.as_ref(), self.case.object.as_ref());
        change(&mut whole, old.context("what was there")?, new.context("what will be")?);
        self.body = Some(whole);
        Ok(())
    }
}

fn collection(group: &str, resource: &str, namespace: &str, asked: &str) -> String {
    let root = match group {
        "" => "/api/v1".to_owned(),
        "k3k.io" => "/apis/k3k.io/v1beta1".to_owned(),
        _ => format!("/apis/{group}/v1"),
    };
    if namespace.is_empty() || asked.is_empty() {
        return format!("{root}/{resource}");
    }
    format!("{root}/namespaces/{namespace}/{resource}")
}

fn request(case: &Case, collection: &str) -> (Method, String) {
    let mut path = collection.to_owned();
    if case.operation != "CREATE" || !case.sub_resource.is_empty() {
        path = format!("{path}/{}", case.name);
    }
    if !case.sub_resource.is_empty() {
        path = format!("{path}/{}", case.sub_resource);
    }
    let (method, query) = match (case.operation.as_str(), case.sub_resource.as_str()) {
        ("CREATE", _) => (Method::POST, "?dryRun=All"),
        ("UPDATE", _) => (Method::PUT, "?dryRun=All"),
        ("DELETE", _) => (Method::DELETE, "?dryRun=All"),
        (_, "exec") => (Method::POST, "?command=true&stdout=true"),
        (_, "attach") => (Method::POST, "?stdout=true"),
        (_, "portforward") => (Method::POST, "?ports=80"),
        _ => (Method::GET, "/"),
    };
    (method, path + query)
}

/// What is scaled.
fn workload(case: &Case) -> Value {
    let kind = if case.resource == "deployments" { "Deployment" } else { "StatefulSet" };
    let own = json!({"cluster": "ca", "k3k.io/component": "server"});
    let labels = if case.name.starts_with("k3k-") { own } else { json!({"app": "web"}) };
    let object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": case.name, "labels": labels},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    });
    complete(object, &case.resource)
}

/// Does to `current` what leads from `old` to `new`; what the API server filled in stays.
fn change(current: &mut Value, old: &Value, new: &Value) {
    if old == new {
        return;
    }
    match (&mut *current, old, new) {
        (Value::Object(current), Value::Object(old), Value::Object(new)) => {
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                current.remove(key);
            }
            for (key, value) in new {
                match (current.get_mut(key), old.get(key)) {
                    // They are only ever added to.
                    (Some(Value::Array(there)), Some(Value::Array(old))) if key == "tolerations" => {
                        let more = value.as_array().into_iter().flatten();
                        let more: Vec<_> = more.filter(|one| !old.contains(one)).cloned().collect();
                        there.extend(more);
                    }
                    (Some(there), Some(old)) => change(there, old, value),
                    (Some(there), None) if there.is_object() => merge(there, value),
                    _ => {
                        current.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(current), Value::Array(old), Value::Array(new))
            if current.len() == old.len() && old.len() == new.len() =>
        {
            for ((current, old), new) in current.iter_mut().zip(old).zip(new) {
                change(current, old, new);
            }
        }
        (current, _, new) => new.clone_into(current),
    }
}

fn moved(value: &Value, namespace: &str, suffix: &str) -> Value {
    match value {
        Value::String(text) => moved_text(text, namespace, suffix).into(),
        Value::Array(list) => list.iter().map(|one| moved(one, namespace, suffix)).collect(),
        Value::Object(map) => {
            let fields = map.iter().map(|(key, one)| (key.clone(), moved(one, namespace, suffix)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn moved_text(text: &str, namespace: &str, suffix: &str) -> String {
    if text == "t-a" {
        return namespace.to_owned();
    }
    let mut text = text.to_owned();
    for (host, domain) in [("web", ".a.example"), ("Web", ".A.Example"), ("x", ".a.example")] {
        if text.starts_with(&format!("{host}{domain}")) {
            text = text.replacen(host, &format!("{host}{suffix}"), 1);
        }
    }
    text
}
