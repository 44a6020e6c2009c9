//! The host's rules, told inside: the nested API server asks here about pods and templates before it stores them, so that a tenant hears
//! at once what the host would refuse later. Nothing depends on it: the host's webhook decides, whether this was asked or not.

mod decide;
mod told;

use crate::cache::Cache;
use axum::body::{Body, HttpBody as _};
use http_body_util::{BodyExt as _, Limited};
use k3k_policy::Policy;
use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use kube::core::admission::{AdmissionResponse, AdmissionReview};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use told::Told;

/// The path, before the key.
pub const PATH: &str = "/admission/";
/// The largest question, in bytes. A request to an API server may have 3 MiB, and a review holds the object twice.
const LARGEST: usize = 8 << 20;
/// The most that all questions hold together, in bytes.
const TOGETHER: usize = LARGEST;
/// What any question counts at least, in bytes, so that small ones are bounded as well.
const LEAST: u32 = 32 << 10;
/// How long a question may take. The API server goes on without us after 2 s.
const LIMIT: Duration = Duration::from_millis(1500);

/// Why a question gets no decision. The nested API server then goes on without one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the length of the body is not announced, or more than {LARGEST} bytes")]
    Length,
    #[error("reading the body: {0}")]
    Body(String),
    #[error("the body is not an AdmissionReview: {0}")]
    Review(String),
    #[error("no decision within {LIMIT:?}")]
    Slow,
}

/// Who may ask: whoever knows the key, which the controller writes into the path that the nested API server is given. API servers show
/// webhooks no certificate.
#[derive(Clone, Debug, Default)]
pub struct Key(Arc<RwLock<Option<[u8; 32]>>>);

impl Key {
    /// Takes another key into use. Without one, nobody may ask.
    pub fn set(&self, key: Option<&str>) {
        let digest = key.map(str::trim).filter(|key| !key.is_empty()).map(|key| Sha256::digest(key).into());
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = digest;
    }

    /// Whether this is it. Digests are compared, so that the time that it takes says nothing about the key.
    fn is(&self, key: &str) -> bool {
        let known = *self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.is_some_and(|known| known == <[u8; 32]>::from(Sha256::digest(key)))
    }
}

/// What answers.
#[derive(Debug)]
pub struct Admission {
    cluster: String,
    key: Key,
    told: Told,
    room: Semaphore,
}

impl Admission {
    /// For `cluster`. `told` shows what the controller tells of the policy.
    pub fn new(cluster: &str, key: Key, told: Cache) -> Self {
        Self { cluster: cluster.to_owned(), key, told: Told::new(told), room: Semaphore::new(TOGETHER) }
    }

    /// Whether who brings this key may ask.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.key.is(key)
    }

    /// Answers in time or not at all.
    pub(crate) async fn answer(&self, body: Body) -> Result<AdmissionReview<DynamicObject>, Error> {
        tokio::time::timeout(LIMIT, self.judge(body)).await.unwrap_or(Err(Error::Slow))
    }

    async fn judge(&self, body: Body) -> Result<AdmissionReview<DynamicObject>, Error> {
        let (body, _counted) = self.read(body).await?;
        let wrong = |error: &dyn std::fmt::Display| Error::Review(error.to_string());
        let review: AdmissionReview<DynamicObject> =
            serde_json::from_slice(&body).map_err(|error| wrong(&error))?;
        let request = review.try_into().map_err(|error| wrong(&error))?;
        let verdict = self
            .told
            .policy()
            .map(|policy: Arc<Policy>| decide::decide(&request, &self.cluster, &policy, Timestamp::now()));
        let response = AdmissionResponse::from(&request);
        Ok(verdict.unwrap_or_default().put_into(response).into_review())
    }

    /// A body, counted for as long as it is kept. Whoever comes when there is no room waits.
    async fn read(&self, body: Body) -> Result<(Vec<u8>, SemaphorePermit<'_>), Error> {
        let length = body.size_hint().exact().and_then(|length| u32::try_from(length).ok());
        let length = length.filter(|length| *length as usize <= LARGEST).ok_or(Error::Length)?;
        let counted = self.room.acquire_many(length.max(LEAST)).await;
        let counted = counted.map_err(|error| Error::Body(error.to_string()))?;
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(|error| Error::Body(error.to_string()))?;
        Ok((body.to_bytes().into(), counted))
    }
}
