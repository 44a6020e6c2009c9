//! Kubeconfigs as values: whatever we do not know stays as it is.

use serde_json::{Map, Value, json};

/// Name of our extension of contexts, clusters and users.
const EXTENSION: &str = "k3k.io";

/// Which cluster an entry was written for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// UID of the Cluster.
    pub(crate) uid: String,
    /// `namespace/name` of the Cluster.
    pub(crate) cluster: String,
    /// URL of the host that it runs in.
    pub(crate) host: String,
    /// The context through which that host was reached.
    pub(crate) host_context: String,
    /// The context that was current before a switch to this one.
    pub(crate) previous_context: Option<String>,
}

impl Origin {
    fn write(&self) -> Value {
        let mut extension = json!({ "clusterUID": self.uid, "cluster": self.cluster, "host": self.host, "hostContext": self.host_context });
        if let Some(previous) = &self.previous_context {
            extension["previousContext"] = previous.as_str().into();
        }
        json!([{ "name": EXTENSION, "extension": extension }])
    }

    /// The mark on the `body` of a context, cluster or user.
    fn read(body: &Value) -> Option<Self> {
        let named = body["extensions"].as_array()?.iter().find(|extension| extension["name"] == EXTENSION)?;
        Self::parse(named.get("extension")?)
    }

    /// The mark on a context that the client library has read.
    pub(crate) fn of(context: &kube::config::Context) -> Option<Self> {
        let named = context.extensions.as_ref()?.iter().find(|extension| extension.name == EXTENSION)?;
        Self::parse(&named.extension)
    }

    fn parse(extension: &Value) -> Option<Self> {
        let text = |key: &str| extension[key].as_str().map(str::to_owned);
        Some(Self {
            uid: text("clusterUID")?,
            cluster: text("cluster")?,
            host: text("host")?,
            host_context: text("hostContext").unwrap_or_default(),
            previous_context: text("previousContext"),
        })
    }

    /// Whether both are marks of the same place for a cluster, be it that the cluster was made anew.
    fn same_place(&self, other: &Self) -> bool {
        self.uid == other.uid || (self.cluster == other.cluster && self.host == other.host)
    }
}

/// One cluster for a kubeconfig: a context, a cluster and a user, all of the same name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The common name.
    pub(crate) name: String,
    /// Body of the cluster.
    pub(crate) cluster: Map<String, Value>,
    /// Body of the user.
    pub(crate) user: Map<String, Value>,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

impl Entry {
    /// Takes the current context out of a kubeconfig, under a new name, with `server` in place of its own.
    pub(crate) fn from_source(
        source: &Value,
        name: &str,
        server: Option<&str>,
        origin: Origin,
    ) -> Result<Self, super::Error> {
        let missing = |what: &str| super::Error::Source(format!("it has no {what}"));
        let wanted = source["current-context"].as_str().unwrap_or_default();
        let context = body(source, KINDS[0], wanted).ok_or_else(|| missing("current context"))?;
        let part = |kind: Kind, key: &str| {
            let name = context[key].as_str().unwrap_or_default();
            body(source, kind, name).and_then(Value::as_object).cloned().ok_or_else(|| missing(kind.1))
        };
        let (mut cluster, user) = (part(KINDS[1], "cluster")?, part(KINDS[2], "user")?);
        if let Some(server) = server {
            cluster.insert("server".to_owned(), server.into());
        }
        Ok(Self { name: name.to_owned(), cluster, user, origin })
    }

    /// A kubeconfig with this entry alone.
    pub(crate) fn document(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": self.name, "cluster": self.cluster }],
            "contexts": [{ "name": self.name, "context": { "cluster": self.name, "user": self.name } }],
            "current-context": self.name,
            "preferences": {},
            "users": [{ "name": self.name, "user": self.user }],
        })
    }
}

/// Key of a list, and key of the body of its items.
type Kind = (&'static str, &'static str);
const KINDS: [Kind; 3] = [("contexts", "context"), ("clusters", "cluster"), ("users", "user")];

/// The current context, if one is set.
pub(super) fn current(document: &Value) -> Option<String> {
    document["current-context"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Sets or unsets the current context. Says whether that changed anything.
pub(super) fn set_current(document: &mut Value, name: Option<&str>) -> bool {
    let name = name.unwrap_or_default();
    let changed = current(document).unwrap_or_default() != name;
    if changed {
        document["current-context"] = name.into();
    }
    changed
}

/// Whether there is a context of that name.
pub(super) fn has_context(document: &Value, name: &str) -> bool {
    body(document, KINDS[0], name).is_some()
}

/// What was current before our context `name` became so.
pub(super) fn previous(document: &Value, name: &str) -> Option<String> {
    Origin::read(body(document, KINDS[0], name)?)?.previous_context
}

/// The first context, cluster or user that has the entry's name and is not ours for the same cluster.
pub(super) fn taken(document: &Value, entry: &Entry) -> Option<(&'static str, String)> {
    KINDS.iter().find_map(|kind| {
        let found = body(document, *kind, &entry.name)?;
        let ours = Origin::read(found).is_some_and(|origin| origin.same_place(&entry.origin));
        (!ours).then(|| (kind.1, entry.name.clone()))
    })
}

/// Adds the entry or replaces what has its name. Says whether that changed anything.
pub(super) fn add(document: &mut Value, entry: &Entry) -> bool {
    let before = document.clone();
    if !document.is_object() {
        *document = json!({ "apiVersion": "v1", "kind": "Config", "preferences": {} });
    }
    let mark = entry.origin.write();
    // A namespace that was set in the context, by hand or by `kubectl config set-context`, stays.
    let namespace =
        body(document, KINDS[0], &entry.name).and_then(|context| context.get("namespace")).cloned();
    let mut context = json!({ "cluster": entry.name, "user": entry.name, "extensions": mark });
    if let Some(namespace) = namespace {
        context["namespace"] = namespace;
    }
    let mut cluster = Value::Object(entry.cluster.clone());
    cluster["extensions"] = mark.clone();
    let mut user = Value::Object(entry.user.clone());
    user["extensions"] = mark;
    for (kind, new) in KINDS.into_iter().zip([context, cluster, user]) {
        put(document, kind, &entry.name, new);
    }
    *document != before
}

/// The contexts that we wrote for a cluster for which `ours` holds.
pub(super) fn contexts_of(document: &Value, ours: impl Fn(&Origin) -> bool) -> Vec<String> {
    items(document, "contexts")
        .filter(|item| Origin::read(&item["context"]).is_some_and(|origin| ours(&origin)))
        .filter_map(|item| item["name"].as_str().map(str::to_owned))
        .collect()
}

/// Removes contexts, and the clusters and users that are marked as ours and that no other context uses. Says
/// whether that changed anything.
pub(super) fn remove(document: &mut Value, contexts: &[String]) -> bool {
    let before = document.clone();
    let mut orphans: [Vec<String>; 2] = [Vec::new(), Vec::new()];
    for name in contexts {
        if let Some(context) = body(document, KINDS[0], name) {
            for (orphans, (_, key)) in orphans.iter_mut().zip(&KINDS[1..]) {
                orphans.extend(context[*key].as_str().map(str::to_owned));
            }
        }
    }
    drop_items(document, KINDS[0], |name, _| contexts.iter().any(|context| context == name));
    for (orphans, kind) in orphans.iter().zip(&KINDS[1..]) {
        let used: Vec<String> = items(document, "contexts")
            .filter_map(|item| item["context"][kind.1].as_str().map(str::to_owned))
            .collect();
        drop_items(document, *kind, |name, body| {
            let listed = |list: &[String]| list.iter().any(|other| other == name);
            listed(orphans) && !listed(&used) && Origin::read(body).is_some()
        });
    }
    *document != before
}

fn items<'a>(document: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    document.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn body<'a>(document: &'a Value, (list, key): Kind, name: &str) -> Option<&'a Value> {
    items(document, list).find(|item| item["name"].as_str() == Some(name))?.get(key)
}

fn put(document: &mut Value, (list, key): Kind, name: &str, new: Value) {
    if !document[list].is_array() {
        document[list] = json!([]);
    }
    let Some(items) = document[list].as_array_mut() else { return };
    match items.iter_mut().find(|item| item["name"].as_str() == Some(name)) {
        Some(item) => item[key] = new,
        None => items.push(json!({ "name": name, key: new })),
    }
}

fn drop_items(document: &mut Value, (list, key): Kind, gone: impl Fn(&str, &Value) -> bool) {
    if let Some(items) = document.get_mut(list).and_then(Value::as_array_mut) {
        items.retain(|item| !gone(item["name"].as_str().unwrap_or_default(), &item[key]));
    }
}
