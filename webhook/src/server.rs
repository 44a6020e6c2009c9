//! HTTP: `POST /mutate` and `POST /validate` take an `AdmissionReview` and answer it before the API server gives up, or say at once
//! that they cannot.

mod fairness;
mod intake;

use crate::answering::Answering;
use crate::decision::{Decision, Phase};
use crate::metrics::Metrics;
use crate::review;
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use fairness::Fairness;
use http::{StatusCode, header};
use intake::Intake;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where reviews of objects are sent to that may still be changed.
pub const MUTATE: &str = "/mutate";
/// Where all reviews are sent to, of objects as they will be.
pub const VALIDATE: &str = "/validate";
/// How long we take when the API server does not say how long it waits; the registration says 5 s.
const USUAL_LIMIT: Duration = Duration::from_secs(4);
/// What is kept of the API server's time for the way back.
const RESERVE: Duration = Duration::from_millis(500);

/// What handlers share.
#[derive(Clone)]
struct Server {
    answering: Answering,
    metrics: Metrics,
    intake: Arc<Intake>,
    fairness: Arc<Fairness>,
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
    Answer(#[source] review::Error),
    #[error("no decision within {0:?}")]
    Slow(Duration),
    #[error("namespace {0:?} asks too often; try again")]
    TooOften(String),
}

/// The routes.
pub fn router(answering: Answering, metrics: Metrics) -> Router {
    let server = Server { answering, metrics, intake: Arc::default(), fairness: Arc::default() };
    Router::new().route(MUTATE, post(mutate)).route(VALIDATE, post(validate)).with_state(server)
}

async fn mutate(State(server): State<Server>, Query(patience): Query<Patience>, body: Body) -> Response {
    answer(&server, &patience, body, Phase::Mutate).await
}

async fn validate(State(server): State<Server>, Query(patience): Query<Patience>, body: Body) -> Response {
    answer(&server, &patience, body, Phase::Validate).await
}

async fn answer(server: &Server, patience: &Patience, body: Body, phase: Phase) -> Response {
    let limit = limit(patience.timeout.as_deref());
    let judged = tokio::time::timeout(limit, server.judge(body, phase, limit)).await;
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
    async fn judge(&self, body: Body, phase: Phase, limit: Duration) -> Result<Vec<u8>, Refusal> {
        let started = Instant::now();
        let body = self.intake.read(body).await?;
        let request = review::parse(body.as_ref())?;
        if !self.fairness.admits(&request.namespace, started) {
            return Err(Refusal::TooOften(request.namespace.clone()));
        }
        let deadline = tokio::time::Instant::from_std(started) + limit.saturating_sub(RESERVE / 2);
        let decision = self.answering.decide(&request, phase, deadline).await;
        // Only we ourselves ask about no namespace, to see whether we are well.
        if !request.namespace.is_empty() {
            self.metrics.answered(&request, phase, &decision, started.elapsed());
            log(&request, &decision);
        }
        review::answer(&request, &decision).map_err(Refusal::Answer)
    }
}

/// Who was judged and how; never the object.
fn log(request: &review::Request<'_>, decision: &Decision) {
    let review::Request { uid, namespace, name, operation, resource, .. } = request;
    let (decided, resource) = (decision.word(), &resource.resource);
    if let Some(error) = decision.obstacle() {
        tracing::error!(decided, error, namespace, name, resource, uid, ?operation);
        return;
    }
    let rules: Vec<&str> = decision.violations().iter().map(|violation| violation.rule).collect();
    if rules.is_empty() {
        tracing::debug!(decided, namespace, name, resource, uid, ?operation);
    } else {
        tracing::info!(decided, rules = rules.join(","), namespace, name, resource, uid, ?operation);
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
            Self::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Answer(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (code, format!("{self}\n")).into_response()
    }
}

#[cfg(test)]
mod tests;
