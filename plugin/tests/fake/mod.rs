//! A host API in memory: objects by path, lists, watches, apply, delete, and a controller that follows a script.
//! It knows just enough of the API's rules for the plugin to be tried from the outside.

#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod policies;
mod query;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use futures::stream;
use query::{Query, merge};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Path of the clusters of a namespace.
pub(crate) fn clusters(namespace: &str) -> String {
    format!("/apis/k3k.io/v1beta1/namespaces/{namespace}/clusters")
}

/// What a scripted controller does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Writes a status.
    Status(Value),
    /// Makes an object at a path.
    Make(String, Value),
    /// Removes the object at a path.
    Remove(String),
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Value>,
    version: u64,
    watchers: Vec<(String, Query, UnboundedSender<Bytes>)>,
    /// Acts that begin when somebody watches the path, on the object of that name.
    scripts: BTreeMap<String, Vec<Act>>,
    requests: Vec<String>,
    answers: BTreeMap<String, (u16, String)>,
}

/// The server, as the tests see it.
#[derive(Clone)]
pub(crate) struct Fake {
    inner: Arc<Mutex<Inner>>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: Arc<TempDir>,
}

impl Fake {
    /// A host with k3k's resources and a namespace `default`.
    pub(crate) fn start() -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        listener.set_nonblocking(true).expect("listener");
        let address = listener.local_addr().expect("address");
        let router = Router::new().fallback(handle).with_state(inner.clone());
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
                axum::serve(listener, router).await.expect("serve");
            });
        });
        let fake = Self { inner, address, folder: Arc::new(tempfile::tempdir().expect("folder")) };
        fake.put("/api/v1/namespaces/default", json!({"kind": "Namespace", "metadata": {"name": "default"}}));
        std::fs::write(
            fake.kubeconfig(),
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: fake\n\
                 clusters: [{{name: fake, cluster: {{server: \"http://{address}\"}}}}]\n\
                 users: [{{name: fake, user: {{}}}}]\n\
                 contexts: [{{name: fake, context: {{cluster: fake, user: fake}}}}]\n"
            ),
        )
        .expect("kubeconfig");
        fake
    }

    /// The kubeconfig of the host.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The kubeconfig as it is now.
    pub(crate) fn merged(&self) -> Value {
        serde_saphyr::from_str(&std::fs::read_to_string(self.kubeconfig()).expect("kubeconfig"))
            .expect("yaml")
    }

    /// The plugin, talking to this host.
    pub(crate) fn command(&self, args: &[&str]) -> assert_cmd::Command {
        let mut command = plugin();
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", self.folder.path()).args(args);
        command
    }

    /// Puts an object there.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.lock().store(path, object);
    }

    /// The object at a path.
    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(path).cloned()
    }

    /// What happens once somebody watches `path`.
    pub(crate) fn script(&self, path: &str, acts: Vec<Act>) {
        self.lock().scripts.insert(path.to_owned(), acts);
    }

    /// Answers `METHOD path` with a code and a text from now on.
    pub(crate) fn answer(&self, request: &str, code: u16, text: &str) {
        self.lock().answers.insert(request.to_owned(), (code, text.to_owned()));
    }

    /// The requests so far, `METHOD path`, without queries.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    /// Requests that change something.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.requests().into_iter().filter(|request| !request.starts_with("GET")).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("lock")
    }
}

/// The plugin without anything of this machine's environment.
pub(crate) fn plugin() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_kubectl-k3k"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

impl Inner {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        let old = self.objects.get(path);
        let uid =
            old.map_or_else(|| json!(format!("uid-{}", self.version)), |old| old["metadata"]["uid"].clone());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = uid;
        }
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        object["metadata"]["name"] = path.rsplit('/').next().unwrap_or_default().into();
        if let Some((_, rest)) = path.split_once("/namespaces/")
            && let Some((namespace, _)) = rest.split_once('/')
        {
            object["metadata"]["namespace"] = namespace.into();
        }
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        self.objects.insert(path.to_owned(), object.clone());
        self.tell(path, kind, &object);
        object
    }

    fn remove(&mut self, path: &str) -> Option<Value> {
        let mut object = self.objects.remove(path)?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.tell(path, "DELETED", &object);
        Some(object)
    }

    fn tell(&mut self, path: &str, kind: &str, object: &Value) {
        let line = Bytes::from(json!({"type": kind, "object": object}).to_string() + "\n");
        self.watchers.retain(|(collection, query, sender)| {
            !inside(path, collection) || !query.matches(object) || sender.send(line.clone()).is_ok()
        });
    }

    fn act(&mut self, collection: &str, name: Option<&str>) {
        let Some(acts) = self.scripts.remove(collection) else { return };
        for act in acts {
            match act {
                Act::Status(status) => {
                    let path = format!("{collection}/{}", name.unwrap_or_default());
                    if let Some(mut object) = self.objects.get(&path).cloned() {
                        object["status"] = status;
                        self.store(&path, object);
                    }
                }
                Act::Make(path, object) => {
                    self.store(&path, object);
                }
                Act::Remove(path) => {
                    self.remove(&path);
                }
            }
        }
    }
}

/// Whether the object at `path` belongs to `collection`, be it in one namespace or in all.
fn inside(path: &str, collection: &str) -> bool {
    let (parent, _) = path.rsplit_once('/').unwrap_or_default();
    if parent == collection {
        return true;
    }
    let (base, plural) = collection.rsplit_once('/').unwrap_or_default();
    parent
        .strip_prefix(base)
        .and_then(|rest| rest.strip_prefix("/namespaces/"))
        .is_some_and(|rest| rest.split_once('/').is_some_and(|(_, resource)| resource == plural))
}

/// Whether a path is that of a collection: an odd number of segments after the version.
fn is_collection(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = if parts.first() == Some(&"api") { parts.len() - 2 } else { parts.len().saturating_sub(3) };
    rest % 2 == 1
}

fn respond(code: u16, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).expect("code");
    response
}

fn status(code: u16, reason: &str, message: &str, name: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": message, "details": {"name": name}});
    respond(code, status.to_string())
}

async fn handle(
    State(inner): State<Arc<Mutex<Inner>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let mut inner = inner.lock().expect("lock");
    let path = uri.path().trim_end_matches('/').to_owned();
    inner.requests.push(format!("{method} {path}"));
    if let Some((code, text)) = inner.answers.get(&format!("{method} {path}")) {
        return respond(*code, text.clone());
    }
    let query = Query::parse(&uri);
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let missing = || status(404, "NotFound", &format!("\"{name}\" not found"), &name);
    match method {
        Method::GET if path == "/version" => respond(
            200,
            json!({"major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""})
            .to_string(),
        ),
        Method::GET if is_collection(&path) && query.watch => {
            let (sender, receiver) = unbounded_channel();
            inner.watchers.push((path.clone(), query.clone(), sender));
            inner.act(&path, query.name.as_deref());
            respond(200, Body::from_stream(lines(receiver)))
        }
        Method::GET if is_collection(&path) => {
            let items: Vec<&Value> = inner
                .objects
                .iter()
                .filter(|(key, object)| inside(key, &path) && query.matches(object))
                .map(|(_, object)| object)
                .collect();
            let (items, next) = query.page(&items);
            let list = json!({"kind": "List", "apiVersion": "v1",
                "metadata": {"resourceVersion": inner.version.to_string(), "continue": next}, "items": items});
            respond(200, list.to_string())
        }
        Method::GET => {
            inner.objects.get(&path).map_or_else(missing, |object| respond(200, object.to_string()))
        }
        Method::PATCH => {
            let applied: Value = serde_json::from_slice(&body).expect("the plugin applies JSON");
            if uri.query().is_some_and(|query| query.contains("dryRun=All")) {
                return respond(200, applied.to_string());
            }
            if applied["metadata"]["resourceVersion"] == "0" && inner.objects.contains_key(&path) {
                return status(409, "Conflict", "exists", &name);
            }
            let mut object = inner.objects.get(&path).cloned().unwrap_or_else(|| json!({}));
            let before = object.clone();
            if headers.get("content-type").is_some_and(|kind| kind == "application/merge-patch+json") {
                let (known, given) =
                    (&before["metadata"]["resourceVersion"], &applied["metadata"]["resourceVersion"]);
                if before["metadata"].is_null() {
                    return missing();
                }
                if !given.is_null() && given != known {
                    return status(409, "Conflict", "the object has been modified", &name);
                }
                merge(&mut object, &applied);
                return respond(200, inner.store(&path, object).to_string());
            }
            for (key, value) in applied.as_object().expect("an object") {
                if key != "metadata" {
                    object[key] = value.clone();
                }
            }
            for (key, value) in applied["metadata"].as_object().expect("metadata") {
                object["metadata"][key] = value.clone();
            }
            object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if object == before {
                return respond(200, object.to_string());
            }
            respond(200, inner.store(&path, object).to_string())
        }
        Method::DELETE => {
            let Some(object) = inner.objects.get(&path).cloned() else { return missing() };
            let finalized = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
            if finalized {
                let mut object = object;
                object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z".into();
                return respond(200, inner.store(&path, object).to_string());
            }
            inner.remove(&path);
            respond(200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}).to_string())
        }
        _ => status(405, "MethodNotAllowed", "not here", &name),
    }
}

fn lines(receiver: UnboundedReceiver<Bytes>) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::unfold(
        receiver,
        |mut receiver| async move { receiver.recv().await.map(|line| (Ok(line), receiver)) },
    )
}
