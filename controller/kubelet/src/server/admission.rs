//! Questions of the nested API server about what is to be stored: see [`crate::admission`].

use super::State;
use super::answer::Refusal;
use crate::admission::Error;
use axum::Json;
use axum::extract::{Path, Request, State as Extract};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Answers whoever knows the key.
pub(super) async fn review(
    Extract(state): Extract<Arc<State>>,
    Path(key): Path<String>,
    request: Request,
) -> Response {
    if !state.admission.knows(&key) {
        return Refusal::unauthorized().into_response();
    }
    match state.admission.answer(request.into_body()).await {
        Ok(review) => Json(review).into_response(),
        Err(error) => {
            tracing::warn!(%error, "a question of the nested admission was not answered");
            match error {
                Error::Slow => Refusal::unreviewed().into_response(),
                error => Refusal::bad_request(error.to_string()).into_response(),
            }
        }
    }
}
