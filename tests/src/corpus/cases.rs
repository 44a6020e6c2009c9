//! From an entry to the questions that come of it.

use super::{Corpus, Entry, Expect, Object, USUAL_NAMESPACE, merge};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// One question that comes of an entry.
#[derive(Clone, Debug)]
pub struct Case {
    /// The entry's id, and where in the pod it was put.
    pub label: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: String,
    /// API group.
    pub group: String,
    /// Plural name.
    pub resource: String,
    /// Subresource.
    pub sub_resource: String,
    /// Namespace; empty for objects without one.
    pub namespace: String,
    /// Name; may be empty.
    pub name: String,
    /// The object as it will be.
    pub object: Option<Value>,
    /// The object as it is.
    pub old: Option<Value>,
    /// What comes of it.
    pub expect: Expect,
}

impl Corpus {
    /// The questions that come of an entry: one, or one for every place where its container can stand.
    pub fn cases(&self, entry: &Entry) -> Result<Vec<Case>> {
        let expect = entry.expect.with_context(|| format!("{}: what is expected?", entry.id))?;
        let Some(container) = &entry.container else { return Ok(vec![self.plain(entry, expect)?]) };
        let mut cases = Vec::new();
        for place in PLACES.iter() {
            if entry.lists.is_empty() || entry.lists.iter().any(|list| list == place.name) {
                cases.push(self.placed(entry, container, place, expect)?);
            }
        }
        // The copies of a virtual kubelet come of no templates.
        let templates = if entry.templates && !entry.caller.starts_with("kubelet") { TEMPLATES } else { &[] };
        for (group, kind, resource, path) in templates {
            if entry.lists.is_empty() || entry.lists.iter().any(|list| list == "containers") {
                let pod = self.placed(entry, container, &PLACES[0], expect)?;
                cases.push(template(&pod, (group, kind, resource, path), expect));
            }
        }
        Ok(cases)
    }

    fn plain(&self, entry: &Entry, expect: Expect) -> Result<Case> {
        let request = &entry.request;
        let none = entry.object.base.is_none() && entry.object.object.is_none();
        let object = if none { None } else { Some(self.object(&entry.object)?) };
        let old = entry.old.as_ref().map(|old| self.object(&based(old, &entry.object))).transpose()?;
        let operation = request
            .operation
            .clone()
            .unwrap_or_else(|| if old.is_some() { "UPDATE" } else { "CREATE" }.into());
        let kind = object.as_ref().or(old.as_ref()).map(described).unwrap_or_default();
        let named =
            object.as_ref().or(old.as_ref()).and_then(|object| object.pointer("/metadata/name")?.as_str());
        let name = request.name.clone().unwrap_or_else(|| named.unwrap_or_default().to_owned());
        // An object that goes is the old one, and there is no other.
        let (object, old) = if operation == "DELETE" { (None, old.or(object)) } else { (object, old) };
        // A connection has no object here, and is to something in the namespace.
        let namespace = if kind.2 || kind.1.is_empty() { USUAL_NAMESPACE } else { "" };
        let placed = |object: Option<Value>| object.map(|object| in_namespace(object, namespace));
        let (object, old) = (placed(object), placed(old));
        Ok(Case {
            label: entry.id.clone(),
            operation,
            group: request.group.clone().unwrap_or(kind.0),
            resource: request.resource.clone().unwrap_or(kind.1),
            sub_resource: request.sub_resource.clone(),
            namespace: request.namespace.clone().unwrap_or_else(|| namespace.to_owned()),
            name,
            object,
            old,
            expect,
        })
    }

    fn placed(&self, entry: &Entry, container: &Value, place: &Place, expect: Expect) -> Result<Case> {
        let mut case = self.plain(entry, expect)?;
        let object = case.object.as_mut().context("a container needs a pod")?;
        let mut whole = object
            .pointer("/spec/containers/0")
            .context("a pod without containers is no base for others")?
            .clone();
        whole["name"] = "tried".into();
        merge(&mut whole, container);
        merge(&mut whole, &place.more);
        let before = object.clone();
        match object.pointer_mut(&format!("/spec/{}", place.list)).and_then(Value::as_array_mut) {
            Some(list) => list.push(whole),
            None => object["spec"][place.list] = json!([whole]),
        }
        if place.list == "ephemeralContainers" {
            (case.operation, case.sub_resource, case.old) =
                ("UPDATE".to_owned(), "ephemeralcontainers".to_owned(), Some(before));
        }
        case.label = format!("{} in {}", entry.id, place.name);
        Ok(case)
    }
}

/// Where a container can stand.
struct Place {
    name: &'static str,
    list: &'static str,
    more: Value,
}

static PLACES: std::sync::LazyLock<[Place; 4]> = std::sync::LazyLock::new(|| {
    [
        Place { name: "containers", list: "containers", more: json!({}) },
        Place { name: "initContainers", list: "initContainers", more: json!({}) },
        Place { name: "sidecars", list: "initContainers", more: json!({"restartPolicy": "Always"}) },
        Place { name: "ephemeralContainers", list: "ephemeralContainers", more: json!({}) },
    ]
});

/// Group, kind, resource and the path of the template.
type Template = (&'static str, &'static str, &'static str, &'static [&'static str]);

const TEMPLATES: &[Template] = &[
    ("apps", "Deployment", "deployments", &["spec", "template"]),
    ("batch", "CronJob", "cronjobs", &["spec", "jobTemplate", "spec", "template"]),
];

/// The pod of `case` as a template: where the pod is refused, its author is warned.
fn template(case: &Case, (group, kind, resource, path): Template, expect: Expect) -> Case {
    let mut template = case.object.clone().unwrap_or_default();
    if let Some(metadata) = template["metadata"].as_object_mut() {
        // Nobody but k3k makes templates with its labels.
        let foreign = |map: &mut Map<String, Value>| map.retain(|key, _| !k3k_api::labels::is_reserved(key));
        for key in ["labels", "annotations"] {
            metadata.get_mut(key).and_then(Value::as_object_mut).map(foreign);
        }
    }
    let whole = path.iter().rev().fold(template, |inner, key| json!({ *key: inner }));
    let mut object =
        json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "tried"}});
    merge(&mut object, &whole);
    Case {
        label: format!("{} as a {kind}", case.label),
        operation: "CREATE".to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        name: "tried".to_owned(),
        object: Some(object),
        old: None,
        expect: match expect {
            Expect::Deny => Expect::Warn,
            Expect::Mutate => Expect::Allow,
            other => other,
        },
        ..case.clone()
    }
}

/// What an old object does not say, the new one does.
fn based(old: &Object, new: &Object) -> Object {
    if old.base.is_some() || old.object.is_some() {
        return old.clone();
    }
    Object { base: new.base.clone(), object: new.object.clone(), ..old.clone() }
}

/// Group, plural and whether it has a namespace, of the kinds in the corpus.
fn described(object: &Value) -> (String, String, bool) {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let group = text("apiVersion").rsplit_once('/').map_or("", |(group, _)| group).to_owned();
    let kind = text("kind").to_lowercase();
    let plural = match kind.as_str() {
        "networkpolicy" => "networkpolicies".to_owned(),
        "virtualclusterpolicy" => "virtualclusterpolicies".to_owned(),
        "endpoints" => kind,
        "ingress" => "ingresses".to_owned(),
        _ => format!("{kind}s"),
    };
    let namespaced = !matches!(plural.as_str(), "namespaces" | "virtualclusterpolicies");
    (group, plural, namespaced)
}

/// `object` as the API server hands it to admission.
fn in_namespace(mut object: Value, namespace: &str) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && !namespace.is_empty()
    {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    object
}
