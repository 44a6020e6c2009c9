//! HTTP: `POST /validate` takes an `AdmissionReview` and answers it before the API server gives up, or says at once
//! that it cannot.

mod intake;

use crate::decision::{Decision, decide};
use crate::lookup::Lookup;
use crate::metrics::Metrics;
use crate::review;
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};
use intake::Intake;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where reviews are sent to.
pub const PATH: &str = "/validate";
/// How long we take when the API server does not say how long it waits; the registration says 5 s.
const USUAL_LIMIT: Duration = Duration::from_secs(4);
/// What is kept of the API server's time for the way back.
const RESERVE: Duration = Duration::from_millis(500);

/// What handlers share.
#[derive(Clone)]
struct Server {
    lookup: Lookup,
    metrics: Metrics,
    intake: Arc<Intake>,
}

/// The API server adds what is left of its time, as `timeout=5s`.
#[derive(Deserialize)]
struct Patience {
    timeout: Option<String>,
}

/// A request that gets no decision. To the API server it counts as a webhook that failed, so the pod is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Intake(#[from] intake::Error),
    #[error(transparent)]
    Review(#[from] review::Error),
    #[error("writing the answer: {0}")]
    Answer(#[source] serde_json::Error),
    #[error("no decision within {0:?}")]
    Slow(Duration),
}

/// The routes.
pub fn router(lookup: Lookup, metrics: Metrics) -> Router {
    let server = Server { lookup, metrics, intake: Arc::new(Intake::default()) };
    Router::new().route(PATH, post(validate)).with_state(server)
}

async fn validate(State(server): State<Server>, Query(patience): Query<Patience>, body: Body) -> Response {
    let limit = limit(patience.timeout.as_deref());
    let judged = tokio::time::timeout(limit, server.judge(body)).await;
    match judged.unwrap_or(Err(Refusal::Slow(limit))) {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(refusal) => {
            server.metrics.rejected();
            tracing::warn!(%refusal, "refused a request unread");
            refusal.into_response()
        }
    }
}

impl Server {
    async fn judge(&self, body: Body) -> Result<Vec<u8>, Refusal> {
        let started = Instant::now();
        let body = self.intake.read(body).await?;
        let request = review::parse(body.as_ref())?;
        let decision = match self.lookup.snapshot(&request.namespace).await {
            Ok(snapshot) => decide(&request, &snapshot),
            Err(error) => Decision::Undecided(error.to_string()),
        };
        // Only we ourselves ask about no namespace, to see whether we are well.
        if !request.namespace.is_empty() {
            self.metrics.answered(&request, &decision, started.elapsed());
            log(&request, &decision);
        }
        review::answer(&request, &decision).map_err(Refusal::Answer)
    }
}

/// Who was judged and how; never the object.
fn log(request: &review::Request<'_>, decision: &Decision) {
    let review::Request { uid, namespace, name, operation, .. } = request;
    let decided = decision.word();
    match decision {
        Decision::Allowed => tracing::debug!(decided, namespace, name, uid, ?operation),
        Decision::Denied(violations) => {
            let rules: Vec<&str> = violations.iter().map(|violation| violation.rule).collect();
            tracing::info!(decided, rules = rules.join(","), namespace, name, uid, ?operation);
        }
        Decision::Undecided(error) => tracing::error!(decided, error, namespace, name, uid, ?operation),
    }
}

/// How long we may take.
fn limit(timeout: Option<&str>) -> Duration {
    timeout
        .and_then(|text| text.parse::<jiff::SignedDuration>().ok())
        .and_then(|offered| Duration::try_from(offered).ok())
        .map_or(USUAL_LIMIT, |offered| offered.saturating_sub(RESERVE).clamp(RESERVE, 2 * USUAL_LIMIT))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = match &self {
            Self::Intake(intake::Error::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Intake(intake::Error::Broken(_)) | Self::Review(_) => StatusCode::BAD_REQUEST,
            Self::Intake(intake::Error::Busy) | Self::Slow(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Answer(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (code, format!("{self}\n")).into_response()
    }
}

#[cfg(test)]
mod tests;
