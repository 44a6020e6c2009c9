//! exec, attach and port-forward: open the same stream on the host pod, then join the two connections.

use super::answer::{self, Refusal};
use super::splice::{LINGER, splice};
use super::{HostPod, State, headers};
use axum::extract::{Path, Request, State as Extract};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use k3k_translate::stream::{self, Kind};
use kube::client::Body;
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What stands in the path.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: Option<String>,
    pub(super) container: Option<String>,
}

pub(super) async fn exec(
    Extract(state): Extract<Arc<State>>,
    Path(target): Path<Target>,
    request: Request,
) -> Response {
    open(state, Kind::Exec, target, request).await
}

pub(super) async fn attach(
    Extract(state): Extract<Arc<State>>,
    Path(target): Path<Target>,
    request: Request,
) -> Response {
    open(state, Kind::Attach, target, request).await
}

pub(super) async fn port_forward(
    Extract(state): Extract<Arc<State>>,
    Path(target): Path<Target>,
    request: Request,
) -> Response {
    open(state, Kind::PortForward, target, request).await
}

async fn open(state: Arc<State>, kind: Kind, target: Target, request: Request) -> Response {
    pass(state, kind, target, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn pass(
    state: Arc<State>,
    kind: Kind,
    target: Target,
    mut request: Request,
) -> Result<Response, Refusal> {
    let Some(asked) = headers::request(request.headers()) else {
        return Err(Refusal::bad_request("an upgrade to SPDY/3.1 or websocket is required here"));
    };
    let slot = state.slot()?;
    let host = state.locate(&target.namespace, &target.pod, target.uid.as_deref())?;
    let uri = uri(kind, &host, &target, request.uri().query())?;

    let mut onward = http::Request::new(Body::empty());
    *onward.method_mut() = request.method().clone();
    *onward.uri_mut() = uri;
    *onward.headers_mut() = asked.clone();
    let answer = state.ask(onward).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(kind, &target, &host, answer).await);
    }
    let Some(granted) = headers::response(answer.headers(), &asked) else {
        tracing::warn!(?kind, ?target, headers = ?answer.headers(), "the host API switched to another protocol");
        return Err(Refusal::bad_upgrade());
    };

    // The caller's connection becomes free once our 101 is written, so joining happens after this returns.
    let caller = hyper::upgrade::on(&mut request);
    state.streams.spawn(join(state.clone(), kind, target, caller, answer, slot));
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    *response.headers_mut() = granted;
    Ok(response)
}

/// Carries bytes until the stream ends.
async fn join(
    state: Arc<State>,
    kind: Kind,
    target: Target,
    caller: hyper::upgrade::OnUpgrade,
    answer: http::Response<Body>,
    slot: OwnedSemaphorePermit,
) {
    let _slot = slot;
    let both = async { tokio::try_join!(caller, hyper::upgrade::on(answer)) };
    let upgraded = tokio::select! {
        upgraded = both => upgraded,
        () = state.cut.cancelled() => return,
    };
    let (caller, host) = match upgraded {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(?kind, ?target, %error, "a side left while the stream was being opened");
            return;
        }
    };
    let (carried, ended) = splice(TokioIo::new(caller), TokioIo::new(host), LINGER, &state.cut).await;
    let error = ended.err();
    tracing::debug!(?kind, ?target, ?carried, ?error, "the stream has ended");
}

/// The host's URI for `target`.
pub(super) fn uri(
    kind: Kind,
    host: &HostPod,
    target: &Target,
    query: Option<&str>,
) -> Result<http::Uri, Refusal> {
    let container = target.container.as_deref();
    let path = stream::target(kind, &host.namespace, &host.name, container, query.unwrap_or_default());
    let path = path.map_err(|error| Refusal::bad_request(error.to_string()))?;
    path.parse().map_err(|error| {
        tracing::warn!(?kind, ?target, %error, "no URI for the host");
        Refusal::bad_request("the request cannot be expressed as a URL")
    })
}

/// Reads why the host refused, logs it, and says as much of it as is the tenant's.
pub(super) async fn refused(
    kind: Kind,
    target: &Target,
    host: &HostPod,
    answer: http::Response<Body>,
) -> Refusal {
    let code = answer.status();
    if !code.is_client_error() && !code.is_server_error() {
        tracing::warn!(?kind, ?target, %code, "the host API answered with something else than was asked for");
        return Refusal::bad_upgrade();
    }
    let body = Limited::new(answer.into_body(), answer::LONGEST).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    tracing::info!(?kind, ?target, %code, message = answer::message(&body), "the host API refused a stream");
    Refusal::from_host(code, &body, host, &target.namespace, &target.pod)
}
