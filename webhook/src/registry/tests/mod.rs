//! The resolver against registries on loopback that answer whatever a test wants, and remember what they were asked.

mod auth;
mod network;
mod protocol;

use super::*;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Response, StatusCode};
use k3k_runtime::certificates::{Authority, Leaf, Usage};
use k3k_runtime::tls::{ClientAuth, ServerCertificate, TlsListener, server_config};
use serde_json::json;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Longer than any machine stalls.
const LONG: Duration = Duration::from_secs(60);
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A request as a registry saw it.
#[derive(Clone, Debug)]
struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
}

impl Call {
    fn header(&self, name: http::HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn authorization(&self) -> Option<&str> {
        self.header(AUTHORIZATION)
    }

    fn is_for_token(&self) -> bool {
        self.path.starts_with("/token")
    }
}

/// None never comes.
type Reply = Option<Response<Body>>;

/// A registry. Dropping it ends it.
struct Fake {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
    task: JoinHandle<()>,
}

impl Fake {
    /// Over plain HTTP.
    async fn plain(answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (router, calls) = router(answer);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, calls, task }
    }

    /// Over TLS, as `reg.example` and `login.example`.
    async fn tls(authority: &Authority, answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let leaf = Leaf {
            common_name: "registry".into(),
            organizations: Vec::new(),
            dns_names: vec!["reg.example".into(), "login.example".into()],
            ip_addresses: Vec::new(),
            usages: vec![Usage::Server],
            lifetime: 60 * LONG,
        };
        let pair = authority.issue(&leaf).unwrap();
        let certificate = ServerCertificate::from_pem(&pair.certificate, &pair.key).unwrap();
        let config = server_config(&certificate, ClientAuth::None, &[b"http/1.1"]).unwrap();
        let listener = TlsListener::bind((LOOPBACK, 0).into(), config).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (router, calls) = router(answer);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, calls, task }
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Method and path of every call.
    fn heard(&self) -> Vec<String> {
        self.calls().iter().map(|call| format!("{} {}", call.method, call.path)).collect()
    }

    /// `reg.example:<port>/team/app:1`.
    fn image(&self) -> String {
        format!("reg.example:{}/team/app:1", self.port)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> (Router, Arc<Mutex<Vec<Call>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (log, answer) = (calls.clone(), Arc::new(answer));
    let router = Router::new().fallback(move |request: Request| {
        let (log, answer) = (log.clone(), answer.clone());
        async move {
            let (head, _) = request.into_parts();
            let call = Call { method: head.method, path: head.uri.to_string(), headers: head.headers };
            log.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
            match answer(&call) {
                Some(response) => response,
                None => std::future::pending().await,
            }
        }
    });
    (router, calls)
}

/// An answer with these headers.
#[allow(clippy::unnecessary_wraps)] // to stand beside no answer
fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Some(response.body(Body::from(body.to_owned())).unwrap())
}

/// What a registry says to HEAD when it has the image.
fn found(digest: &str) -> Reply {
    reply(200, &[("content-type", INDEX), ("docker-content-digest", digest)], "")
}

fn sha(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

/// Names of a test: each in turn stands for the next of its addresses, and for the last from then on.
#[derive(Clone, Default)]
struct Table {
    names: Arc<Mutex<HashMap<String, Vec<IpAddr>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Table {
    /// All the names of these tests lead here.
    fn loopback() -> Self {
        let table = Self::default();
        for name in
            ["reg.example", "login.example", "other.example", "auth.docker.io", "registry-1.docker.io"]
        {
            table.set(name, &["127.0.0.1"]);
        }
        table
    }

    fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().rev().map(|address| address.parse().unwrap()).collect();
        self.names.lock().unwrap().insert(name.to_owned(), addresses);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Names for Table {
    fn addresses(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut names = self.names.lock().unwrap();
        let found = names.get_mut(name).map(|addresses| match addresses.as_slice() {
            [last] => *last,
            _ => addresses.pop().unwrap(),
        });
        Box::pin(
            async move { found.map(|address| vec![address]).ok_or_else(|| io::ErrorKind::NotFound.into()) },
        )
    }
}

/// Limits that no machine exceeds.
fn patient() -> Limits {
    Limits { names: LONG, connect: LONG, tls: LONG, first_byte: LONG, lookup: LONG }
}

fn resolver_with(names: &Table, limits: Limits, authority: Option<&Authority>) -> Resolver {
    let mut options = Options { names: Arc::new(names.clone()), limits, ..Options::default() };
    if let Some(authority) = authority {
        options.trust(authority.certificate_pem()).unwrap();
    }
    Resolver::new(options).unwrap()
}

fn resolver() -> Resolver {
    resolver_with(&Table::loopback(), patient(), None)
}

/// Someone who asks.
#[derive(Clone)]
struct Asker {
    image: ImageReference,
    host: String,
    private_network: bool,
    insecure_http: bool,
    realm_hosts: Vec<String>,
    credentials: Option<Credentials>,
    patience: Duration,
}

/// Asks over plain HTTP, on loopback, without a pull secret.
fn plainly(image: &str) -> Asker {
    let image: ImageReference = image.parse().unwrap();
    Asker {
        host: image.registry_host(),
        image,
        private_network: true,
        insecure_http: true,
        realm_hosts: Vec::new(),
        credentials: None,
        patience: LONG,
    }
}

/// Asks over TLS.
fn securely(image: &str) -> Asker {
    Asker { insecure_http: false, ..plainly(image) }
}

impl Asker {
    /// With the pull secret of `user`, which is for the registry of the image.
    fn known_as(self, user: &str) -> Self {
        let registry = self.image.registry_host();
        let config = json!({"auths": {registry: {"username": user, "password": "s3cr3t"}}}).to_string();
        let credentials = Credentials::for_image(&[config.as_bytes()], &self.image);
        assert!(credentials.is_some());
        Self { credentials, ..self }
    }

    fn tag(&self, tag: &str) -> Self {
        Self { image: ImageReference { tag: Some(tag.to_owned()), ..self.image.clone() }, ..self.clone() }
    }

    async fn ask_in_full(&self, resolver: &Resolver) -> Result<String, Error> {
        let rules = Rules {
            host: &self.host,
            private_network: self.private_network,
            insecure_http: self.insecure_http,
            realm_hosts: &self.realm_hosts,
        };
        let question = Question {
            image: &self.image,
            rules,
            credentials: self.credentials.as_ref(),
            deadline: Instant::now() + self.patience,
            fresh_for: LONG,
            stale_for: LONG,
        };
        resolver.digest(question).await
    }

    async fn ask(&self, resolver: &Resolver) -> Result<String, Problem> {
        self.ask_in_full(resolver).await.map_err(|error| error.problem)
    }
}

/// A clock that stands still, although the tests wait for sockets, until it is set forward.
struct Clock {
    _holding: std::sync::mpsc::Sender<()>,
}

impl Clock {
    fn stop() -> Self {
        tokio::time::pause();
        let (holding, held) = std::sync::mpsc::channel::<()>();
        // While such a task runs, waiting does not move the clock.
        drop(tokio::task::spawn_blocking(move || held.recv()));
        Self { _holding: holding }
    }
}
