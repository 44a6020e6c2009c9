//! What a container wrote, chunk by chunk.

use super::State;
use super::answer::Refusal;
use super::upgrade::{Target, refused, uri};
use axum::body::Body as Answer;
use axum::extract::{Path, RawQuery, State as Extract};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use k3k_translate::stream::Kind;
use kube::client::Body;
use std::io;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

pub(super) async fn read(
    Extract(state): Extract<Arc<State>>,
    Path(target): Path<Target>,
    RawQuery(query): RawQuery,
) -> Response {
    pass(state, target, query).await.unwrap_or_else(Refusal::into_text)
}

/// The caller's disconnect drops this future, or the body that it made, and with it the host's connection.
async fn pass(state: Arc<State>, target: Target, query: Option<String>) -> Result<Response, Refusal> {
    let slot = state.slot()?;
    let host = state.locate(&target.namespace, &target.pod, None)?;
    let mut onward = http::Request::new(Body::empty());
    *onward.uri_mut() = uri(Kind::Log, &host, &target, query.as_deref())?;
    let answer = state.ask(onward).await?;
    if answer.status() != StatusCode::OK {
        return Err(refused(Kind::Log, &target, &host, answer).await);
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let kind = kind.unwrap_or(HeaderValue::from_static("text/plain"));
    let chunks = answer.into_body().into_data_stream().map_err(io::Error::other);
    let body = Answer::from_stream(until_cut(chunks, slot, state.cut.clone()));
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// `chunks`, ended by an error when streams are cut: a log that was cut short must not look complete. `slot` is kept
/// as long as the stream is.
fn until_cut<T>(
    chunks: impl Stream<Item = io::Result<T>> + Send,
    slot: OwnedSemaphorePermit,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<T>> + Send {
    stream::unfold(Some((Box::pin(chunks), slot)), move |live| {
        let cut = cut.clone();
        async move {
            let (mut chunks, slot) = live?;
            tokio::select! {
                chunk = chunks.next() => chunk.map(|chunk| (chunk, Some((chunks, slot)))),
                () = cut.cancelled() => {
                    let error = io::Error::new(io::ErrorKind::ConnectionAborted, "shutting down");
                    Some((Err(error), None))
                }
            }
        }
    })
}
