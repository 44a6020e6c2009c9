//! The server under test, with everything around it.

use super::caller::Caller;
use crate::admission::{Admission, Key};
use crate::cache::Cache;
use crate::server::{Directory, HostPod, Parts, State, serve};
use crate::usage::ledger::Running;
use crate::usage::source::Source;
use axum::body::Body;
use axum::extract::{Path, Request, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use k3k_runtime::certificates::{Authority, Leaf, Pair, Usage};
use k3k_runtime::tls::{ClientAuth, ServerCertificate, TlsListener, server_config};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test fails.
pub(super) const LIMIT: Duration = Duration::from_secs(120);
/// What the "burst" pod says: more than all buffers on the way hold.
pub(super) const BURST: usize = 3 << 20;

/// What must be known to ask about pods.
pub(super) const KEY: &str = "0123456789abcdef";

pub(super) struct Fixture {
    /// What the controller tells of the policy.
    pub(super) told: Cache,
    pub(super) address: SocketAddr,
    pub(super) server_ca: Authority,
    pub(super) client_ca: Authority,
    pub(super) host: Arc<Host>,
    pub(super) nested: Arc<Nested>,
    pub(super) state: Arc<State>,
    pub(super) shutdown: CancellationToken,
    pub(super) served: JoinHandle<()>,
}

impl Fixture {
    pub(super) async fn start() -> Self {
        Self::with_limit(16).await
    }

    pub(super) async fn with_limit(limit: usize) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (server_ca, client_ca) =
            (Authority::generate("server-ca").unwrap(), Authority::generate("client-ca").unwrap());
        let (host, nested) = (Arc::new(Host::default()), Arc::new(Nested::default()));
        let to_host = client(listen(host_routes(host.clone())).await);
        let mut registry = prometheus_client::registry::Registry::default();
        crate::metrics::Metrics::register(&mut registry).count(&crate::converge::Next::Done);
        let (admission_key, told) = (Key::default(), Cache::default());
        admission_key.set(Some(KEY));
        let parts = Parts {
            host: to_host.clone(),
            nested: client(listen(nested_routes(nested.clone())).await),
            node: "k3k-dev".into(),
            directory: Arc::new(Pods),
            usage: crate::usage::Usage::new(Source::new(to_host, "k3k-dev", "dev")),
            registry: Arc::new(registry),
            admission: Admission::new("dev", admission_key, told.clone()),
        };
        let state = Arc::new(State::with_limit(parts, limit));
        let pair = server_ca.issue(&leaf("k3k-dev", None, Usage::Server)).unwrap();
        let certificate = ServerCertificate::from_pem(&pair.certificate, &pair.key).unwrap();
        let auth = ClientAuth::Optional { ca_pem: client_ca.certificate_pem().to_owned() };
        let config = server_config(&certificate, auth, &[b"http/1.1"]).unwrap();
        let listener = TlsListener::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve(listener, state.clone(), shutdown.clone()));
        Self { told, address, server_ca, client_ca, host, nested, state, shutdown, served }
    }

    /// The certificate of `user`, as the nested client authority issues it.
    pub(super) fn identity(&self, user: &str, group: Option<&str>) -> Pair {
        self.client_ca.issue(&leaf(user, group, Usage::Client)).unwrap()
    }

    /// A connection as the nested API server makes it.
    pub(super) async fn apiserver(&self) -> Caller {
        let identity = self.identity("system:apiserver", Some("system:masters"));
        self.connect(Some(&identity)).await
    }

    pub(super) async fn connect(&self, identity: Option<&Pair>) -> Caller {
        Caller::connect(self.address, self.server_ca.certificate_pem(), identity).await
    }

    /// Waits until no stream is open.
    pub(super) async fn idle(&self, limit: usize) {
        let all = u32::try_from(limit).unwrap();
        drop(tokio::time::timeout(LIMIT, self.state.slots.acquire_many(all)).await.unwrap().unwrap());
    }
}

pub(super) fn leaf(common_name: &str, organization: Option<&str>, usage: Usage) -> Leaf {
    Leaf {
        common_name: common_name.into(),
        organizations: organization.into_iter().map(str::to_owned).collect(),
        dns_names: Vec::new(),
        ip_addresses: vec!["127.0.0.1".parse().unwrap()],
        usages: vec![usage],
        lifetime: Duration::from_secs(3600),
    }
}

async fn listen(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A client as the virtual kubelet configures it for streams.
fn client(address: SocketAddr) -> kube::Client {
    let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    config.auth_info.token = Some("host-token".to_owned().into());
    kube::Client::try_from(config).unwrap()
}

/// Every pod of namespace `shop` but `missing`, with uid `u1`.
struct Pods;

impl Directory for Pods {
    fn locate(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<HostPod> {
        let ours = namespace == "shop" && name != "missing" && uid.is_none_or(|uid| uid == "u1");
        ours.then(|| HostPod { namespace: "k3k-dev".into(), name: format!("{name}-shop-dev-c0ffee") })
    }

    fn list(&self) -> Vec<Value> {
        vec![json!({"metadata": {"name": "web", "namespace": "shop"}})]
    }

    fn running(&self) -> Vec<Running> {
        vec![Running {
            host_name: "web-shop-dev-c0ffee".into(),
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u1".into(),
            started: "2026-01-01T00:00:00Z".parse().ok(),
            containers: vec![("app".into(), "2026-01-01T00:00:01Z".parse().unwrap())],
        }]
    }
}

/// What the fake host has seen.
#[derive(Default)]
pub(super) struct Host {
    pub(super) requests: Mutex<Vec<(http::Method, String, http::HeaderMap)>>,
    /// A pod called "slow" has been reached.
    pub(super) reached: Notify,
    /// Whoever was being served by the pod "slow", "log-forever" or "abort-watch" has gone.
    pub(super) left: Notify,
    /// Releases the next chunk of the pod "log-steps".
    pub(super) step: Notify,
    /// What its metrics API answers: without an answer it has none.
    pub(super) pod_metrics: Mutex<Option<Value>>,
}

impl Host {
    pub(super) fn last(&self) -> (http::Method, String, http::HeaderMap) {
        self.requests.lock().unwrap().last().unwrap().clone()
    }
}

/// Tells the test when it is dropped.
struct Leaving(Arc<Host>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.left.notify_one();
    }
}

fn host_routes(host: Arc<Host>) -> Router {
    Router::new()
        .route("/api/v1/namespaces/{namespace}/pods/{pod}/{subresource}", any(on_host))
        .route("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods", any(pod_metrics))
        .with_state(host)
}

async fn pod_metrics(Extract(host): Extract<Arc<Host>>, request: Request) -> Response {
    let seen = (request.method().clone(), request.uri().to_string(), request.headers().clone());
    host.requests.lock().unwrap().push(seen);
    match host.pod_metrics.lock().unwrap().clone() {
        Some(list) => Json(list).into_response(),
        None => status(404, "the server could not find the requested resource"),
    }
}

/// The fake host behaves as the pod's name says.
async fn on_host(
    Extract(host): Extract<Arc<Host>>,
    Path((namespace, pod, subresource)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    host.requests.lock().unwrap().push((
        request.method().clone(),
        request.uri().to_string(),
        request.headers().clone(),
    ));
    assert_eq!(namespace, "k3k-dev");
    let behaviour = pod.strip_suffix("-shop-dev-c0ffee").unwrap();
    match (subresource.as_str(), behaviour) {
        (_, "slow") => {
            let _leaving = Leaving(host.clone());
            host.reached.notify_one();
            std::future::pending().await
        }
        (_, "refuse") => status(404, &format!("pods \"{pod}\" not found")),
        (_, "forbid") => status(
            403,
            "pods \"x\" is forbidden: User \"system:serviceaccount:k3k-dev:k3k-dev-kubelet\" cannot create",
        ),
        (_, "text") => (
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "unable to upgrade connection: container not found (\"app\")",
        )
            .into_response(),
        (_, "huge") => (http::StatusCode::BAD_REQUEST, "x".repeat(1 << 20)).into_response(),
        ("log", behaviour) => log(&host, behaviour),
        (_, "other") => switch("h2c", request, |_| async {}),
        (_, "ok") => "this should have been a 101".into_response(),
        (_, behaviour) => {
            let protocol = request.headers()[http::header::UPGRADE].to_str().unwrap().to_owned();
            let behaviour = behaviour.to_owned();
            switch(&protocol, request, move |mut io| async move {
                match behaviour.as_str() {
                    "burst" => {
                        io.write_all(&vec![b'x'; BURST]).await.unwrap();
                        io.shutdown().await.unwrap();
                    }
                    "half" => {
                        let mut heard = Vec::new();
                        io.read_to_end(&mut heard).await.unwrap();
                        io.write_all(format!("heard {}", heard.len()).as_bytes()).await.unwrap();
                        io.shutdown().await.unwrap();
                    }
                    "abort" => {}
                    "watch" => {
                        let _leaving = Leaving(host);
                        let _ = io.read_to_end(&mut Vec::new()).await;
                    }
                    _ => {
                        let (mut read, mut write) = tokio::io::split(io);
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                        let _ = write.shutdown().await;
                    }
                }
            })
        }
    }
}

/// Answers 101 as kube-apiserver does, then lets `then` have the connection.
fn switch<F, G>(protocol: &str, mut request: Request, then: F) -> Response
where
    F: FnOnce(TokioIo<hyper::upgrade::Upgraded>) -> G + Send + 'static,
    G: Future<Output = ()> + Send,
{
    let offered = request.headers();
    let mut response = Response::builder()
        .status(101)
        .header("connection", "Upgrade")
        .header("upgrade", protocol)
        .header("audit-id", "the-hosts-own");
    if let Some(version) = offered.get("x-stream-protocol-version") {
        response = response.header("x-stream-protocol-version", version);
    }
    if let Some(protocol) = offered.get("sec-websocket-protocol") {
        response =
            response.header("sec-websocket-protocol", protocol).header("sec-websocket-accept", "accepted");
    }
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            then(TokioIo::new(upgraded)).await;
        }
    });
    response.body(Body::empty()).unwrap()
}

fn log(host: &Arc<Host>, behaviour: &str) -> Response {
    let host = host.clone();
    let chunks: futures::stream::BoxStream<'static, Result<String, std::io::Error>> = match behaviour {
        "log-steps" => Box::pin(futures::stream::unfold((1, host), |(number, host)| async move {
            host.step.notified().await;
            Some((Ok(format!("line {number}\n")), (number + 1, host)))
        })),
        "log-forever" => Box::pin(futures::stream::unfold(Leaving(host), |leaving| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok("again\n".to_owned()), leaving))
        })),
        "log-broken" => {
            let end = futures::stream::once(async move {
                host.step.notified().await;
                Err(std::io::Error::other("the node is gone"))
            });
            Box::pin(futures::stream::iter([Ok("first\n".to_owned())]).chain(end))
        }
        _ => Box::pin(futures::stream::iter([Ok("hello\n".to_owned()), Ok("world\n".to_owned())])),
    };
    ([("content-type", "text/plain"), ("audit-id", "the-hosts-own")], Body::from_stream(chunks))
        .into_response()
}

fn status(code: u16, message: &str) -> Response {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": message,
        "details": {"name": "web-shop-dev-c0ffee", "kind": "pods"},
    });
    (http::StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
}

/// What the fake nested API server has been asked.
#[derive(Default)]
pub(super) struct Nested {
    pub(super) accesses: Mutex<Vec<Value>>,
    pub(super) tokens: AtomicUsize,
}

fn nested_routes(nested: Arc<Nested>) -> Router {
    Router::new()
        .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(review_access))
        .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review_token))
        .with_state(nested)
}

/// Grants everything to `system:masters`, and to `metrics` what a metrics server needs.
async fn review_access(Extract(nested): Extract<Arc<Nested>>, Json(mut review): Json<Value>) -> Response {
    let spec = review["spec"].clone();
    nested.accesses.lock().unwrap().push(spec.clone());
    if spec["user"] == "broken" {
        return status(500, "etcd is gone");
    }
    let masters = spec["groups"].as_array().is_some_and(|groups| groups.contains(&json!("system:masters")));
    let subresource = &spec["resourceAttributes"]["subresource"];
    let metrics = spec["user"] == "metrics"
        && (subresource == "pods" || subresource == "metrics" || subresource == "stats");
    review["status"] = json!({"allowed": masters || metrics});
    (http::StatusCode::CREATED, Json(review)).into_response()
}

async fn review_token(Extract(nested): Extract<Arc<Nested>>, Json(mut review): Json<Value>) -> Response {
    nested.tokens.fetch_add(1, Ordering::Relaxed);
    review["status"] = match review["spec"]["token"].as_str().unwrap() {
        "metrics-token" => json!({
            "authenticated": true,
            "user": {
                "username": "metrics", "uid": "7", "groups": ["system:serviceaccounts", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/pod-name": ["metrics-0"]},
            },
        }),
        "nameless" => json!({"authenticated": true, "user": {}}),
        "broken" => return status(500, "etcd is gone"),
        _ => json!({"authenticated": false, "user": {"username": "mallory"}, "error": "expired"}),
    };
    (http::StatusCode::CREATED, Json(review)).into_response()
}
