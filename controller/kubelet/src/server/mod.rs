//! The virtual kubelet's HTTPS endpoints. Streams are passed through byte for byte: as a kubelet hands exec, attach
//! and port-forward to the container runtime without looking into them, so do we to the host API. That is why every
//! protocol that the two API servers agree on works, tty resizing and exit codes included, and none of them is
//! implemented here.

mod admission;
mod answer;
mod auth;
mod headers;
mod logs;
mod splice;
mod upgrade;
mod usage;

use crate::admission::Admission;
use crate::server::auth::Gate;
use crate::usage::Usage;
use crate::usage::ledger::Running;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on, post};
use axum::{Json, Router, middleware};
use k3k_runtime::serve::{self, Limits};
use k3k_runtime::tls::TlsListener;
use kube::client::Body;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many streams one virtual kubelet carries at a time. One that is idle costs two TLS connections, about 100 KiB
/// at worst; beyond the limit callers are told to come back.
pub const MAX_STREAMS: usize = 128;

/// How long streams may go on after shutdown was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// Which pods we run, and as what. Implemented over the reflectors of the pods module.
pub trait Directory: Send + Sync {
    /// The host pod that runs the nested pod `namespace/name`; with `uid`, only if it is that very pod. None when we
    /// do not run it, or its host copy does not carry our cluster's identity.
    fn locate(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<HostPod>;
    /// The nested pods bound to our node, as objects of the nested API.
    fn list(&self) -> Vec<Value>;
    /// Those of them that run in the host, with their running containers.
    fn running(&self) -> Vec<Running>;
}

/// Where a nested pod runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPod {
    /// Namespace in the host.
    pub namespace: String,
    /// Name in the host.
    pub name: String,
}

/// What the endpoints work with.
pub struct State {
    host: kube::Client,
    directory: Arc<dyn Directory>,
    node: String,
    usage: Usage,
    registry: Arc<Registry>,
    admission: Admission,
    gate: Gate,
    slots: Arc<Semaphore>,
    /// Streams that outlive the request that opened them.
    streams: TaskTracker,
    /// Cancelled when streams must end now.
    cut: CancellationToken,
}

impl std::fmt::Debug for State {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("State").field("streams", &self.streams.len()).finish_non_exhaustive()
    }
}

/// What the endpoints are made of.
pub struct Parts {
    /// A client of the host that carries streams, so it must neither retry nor have a read timeout.
    pub host: kube::Client,
    /// Is asked who may do what.
    pub nested: kube::Client,
    /// The node that permissions are about.
    pub node: String,
    /// Which pods we run.
    pub directory: Arc<dyn Directory>,
    /// What they use.
    pub usage: Usage,
    /// What we count.
    pub registry: Arc<Registry>,
    /// What the host would say to new pods.
    pub admission: Admission,
}

impl State {
    /// With [`MAX_STREAMS`].
    pub fn new(parts: Parts) -> Self {
        Self::with_limit(parts, MAX_STREAMS)
    }

    /// [`Self::new`] with a limit of its own on concurrent streams.
    pub fn with_limit(parts: Parts, limit: usize) -> Self {
        Self {
            host: parts.host,
            directory: parts.directory,
            gate: Gate::new(parts.nested, &parts.node),
            node: parts.node,
            usage: parts.usage,
            registry: parts.registry,
            admission: parts.admission,
            slots: Arc::new(Semaphore::new(limit)),
            streams: TaskTracker::new(),
            cut: CancellationToken::new(),
        }
    }

    /// A place among the concurrent streams, until it is dropped.
    fn slot(&self) -> Result<OwnedSemaphorePermit, answer::Refusal> {
        self.slots.clone().try_acquire_owned().map_err(|_| answer::Refusal::too_many())
    }

    /// Asks the host for a stream. There is no limit on its answer: a kubelet sends the first byte of a log when the
    /// container writes one. Shutdown does not wait for that.
    async fn ask(&self, request: http::Request<Body>) -> Result<http::Response<Body>, answer::Refusal> {
        let answer = tokio::select! {
            answer = self.host.send(request) => answer,
            () = self.cut.cancelled() => return Err(answer::Refusal::stopping()),
        };
        answer.map_err(|error| {
            tracing::warn!(%error, "the host API cannot be reached");
            answer::Refusal::unreachable()
        })
    }

    /// The host pod of a nested one.
    fn locate(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<HostPod, answer::Refusal> {
        self.directory
            .locate(namespace, name, uid)
            .ok_or_else(|| answer::Refusal::no_such_pod(namespace, name))
    }
}

/// The routes. They need a [`k3k_runtime::tls::Peer`] as connection info: see [`serve()`].
pub fn router(state: Arc<State>) -> Router {
    let both = MethodFilter::GET.or(MethodFilter::POST);
    Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", on(both, logs::read))
        .route("/exec/{namespace}/{pod}/{container}", on(both, upgrade::exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", on(both, upgrade::exec))
        .route("/attach/{namespace}/{pod}/{container}", on(both, upgrade::attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", on(both, upgrade::attach))
        .route("/portForward/{namespace}/{pod}", on(both, upgrade::port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", on(both, upgrade::port_forward))
        .route("/pods", get(pods))
        .route("/metrics", get(usage::own))
        .route("/metrics/resource", get(usage::resource))
        .route("/stats/summary", get(usage::stats))
        .fallback(|| async { answer::Refusal::no_such_path() })
        .method_not_allowed_fallback(|| async { answer::Refusal::method() })
        // Below this line no certificate and no token are asked of the caller.
        .layer(middleware::from_fn_with_state(state.clone(), auth::require))
        .route(&format!("{}{{key}}", crate::admission::PATH), post(admission::review))
        .route("/healthz", get(|| async { "ok" }))
        .with_state(state)
}

/// Serves until `shutdown`, then gives streams a few seconds to end.
pub async fn serve(listener: TlsListener, state: Arc<State>, shutdown: CancellationToken) {
    let cut = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
        state.cut.cancel();
        std::future::pending::<()>().await;
    };
    let serve = async {
        // Requests that end when streams are cut get a moment more to say so.
        let limits = Limits { grace: GRACE * 2, ..Limits::default() };
        serve::serve(listener, router(state.clone()), limits, shutdown.clone()).await;
        state.streams.close();
        state.streams.wait().await;
    };
    tokio::select! {
        () = serve => {}
        () = cut => {}
    }
}

async fn pods(Extract(state): Extract<Arc<State>>) -> Response {
    let list = json!({
        "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": state.directory.list(),
    });
    Json(list).into_response()
}

#[cfg(test)]
mod tests;
