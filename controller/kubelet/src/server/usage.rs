//! What pods use, and what we count ourselves, for metrics servers and scrapers.

use super::State;
use crate::usage::{metrics, summary};
use axum::Json;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use http::header;
use k3k_runtime::admin;
use std::sync::Arc;

pub(super) async fn resource(Extract(state): Extract<Arc<State>>) -> Response {
    let report = state.usage.report(&*state.directory).await;
    let text = metrics::resource(report.as_deref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

pub(super) async fn stats(Extract(state): Extract<Arc<State>>) -> Response {
    let report = state.usage.report(&*state.directory).await;
    Json(summary::summary(&state.node, report.as_deref())).into_response()
}

pub(super) async fn own(Extract(state): Extract<Arc<State>>) -> Response {
    admin::exposition(&state.registry)
}
