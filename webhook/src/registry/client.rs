//! HTTP with registries: one request, one answer, within limits. Redirects are not followed here, and nothing is
//! decompressed.

use super::dial::{self, Connector};
use super::error::{Problem, pause};
use super::metrics::Metrics;
use super::{Limits, address::Guard, dial::Names};
use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// How many unused connections one registry has.
const IDLE_PER_HOST: usize = 4;
/// The longest head of an answer.
const LONGEST_HEAD: usize = 64 * 1024;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("k3k-webhook/", env!("CARGO_PKG_VERSION")));

/// One request.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) accept: HeaderValue,
    pub(super) authorization: Option<HeaderValue>,
    /// Whether the policy lets it go to addresses that are not public.
    pub(super) private_network: bool,
    /// What it is for, as a metric's label.
    pub(super) what: &'static str,
}

/// Connections to registries. Those to addresses that only some policies allow are kept apart from the others.
pub(super) struct Client {
    public: Pool<Connector, Empty<Bytes>>,
    private: Pool<Connector, Empty<Bytes>>,
    limits: Limits,
    metrics: Metrics,
}

impl Client {
    pub(super) fn new(
        names: &Arc<dyn Names>,
        tls: &Arc<rustls::ClientConfig>,
        forbidden: &[IpNet],
        limits: Limits,
        metrics: Metrics,
    ) -> Self {
        let pool = |private_network| {
            let guard = Arc::new(Guard { private_network, forbidden: forbidden.to_vec() });
            Pool::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .http1_max_buf_size(LONGEST_HEAD)
                .build(Connector { names: names.clone(), guard, tls: tls.clone(), limits })
        };
        Self { public: pool(false), private: pool(true), limits, metrics }
    }

    /// Sends the request, and once more if the connection was lost meanwhile: asking twice changes nothing.
    pub(super) async fn send(&self, ask: &Ask) -> Result<Response<Incoming>, Problem> {
        match self.send_once(ask).await {
            Err(Lost::Connection) => {}
            Err(Lost::Other(problem)) => return Err(problem),
            Ok(response) => return Ok(response),
        }
        self.send_once(ask).await.map_err(|lost| match lost {
            Lost::Connection => Problem::unreachable("it closes connections unanswered"),
            Lost::Other(problem) => problem,
        })
    }

    async fn send_once(&self, ask: &Ask) -> Result<Response<Incoming>, Lost> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.uri.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, ask.accept.clone());
        headers.insert(USER_AGENT, AGENT);
        if let Some(authorization) = &ask.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let mut connection = capture_connection(&mut request);
        let pool = if ask.private_network { &self.private } else { &self.public };
        let mut response = pool.request(request);
        // Connecting has limits of its own; the time for the first byte begins after it.
        let early = tokio::select! {
            response = &mut response => Some(response),
            _ = connection.wait_for_connection_metadata() => None,
        };
        let response = match early {
            Some(response) => Ok(response),
            None => timeout(self.limits.first_byte, response).await,
        };
        let status = response.as_ref().ok().and_then(|response| response.as_ref().ok()).map(Response::status);
        self.metrics.asked(ask.what, status);
        match response {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Lost::from(&error)),
            Err(_) => Err(Lost::Other(Problem::Slow)),
        }
    }
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(body: Incoming, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Problem::Lying { why: "an answer is too long" })
        }
        Err(_) => Err(Problem::unreachable("an answer broke off")),
    }
}

/// What an answer that is no success means.
pub(super) fn problem<T>(response: &Response<T>, with_credentials: bool) -> Problem {
    let retry_after = pause(response.headers().get(RETRY_AFTER));
    match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Problem::Unauthorized { with_credentials },
        StatusCode::NOT_FOUND => Problem::NotFound,
        StatusCode::TOO_MANY_REQUESTS => {
            Problem::TooManyRequests { retry_after: retry_after.unwrap_or(Duration::from_secs(10)) }
        }
        status if status.is_redirection() => Problem::Redirect,
        status => Problem::Unreachable { why: format!("it answers {}", status.as_u16()), retry_after },
    }
}

/// Why a request has no answer.
enum Lost {
    /// The connection went away; another may work.
    Connection,
    Other(Problem),
}

impl From<&hyper_util::client::legacy::Error> for Lost {
    fn from(error: &hyper_util::client::legacy::Error) -> Self {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(current) = cause {
            if let Some(failure) = current.downcast_ref::<dial::Error>() {
                return Self::Other(match failure {
                    dial::Error::Forbidden => Problem::Forbidden,
                    dial::Error::Slow => Problem::Slow,
                    other => Problem::unreachable(other.to_string()),
                });
            }
            if let Some(failure) = current.downcast_ref::<hyper::Error>()
                && (failure.is_incomplete_message() || failure.is_canceled())
            {
                return Self::Connection;
            }
            if let Some(failure) = current.downcast_ref::<hyper::Error>()
                && failure.is_parse()
            {
                return Self::Other(Problem::Lying { why: "what comes is not HTTP" });
            }
            if let Some(failure) = current.downcast_ref::<io::Error>()
                && matches!(
                    failure.kind(),
                    io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::BrokenPipe
                )
            {
                return Self::Connection;
            }
            cause = current.source();
        }
        Self::Other(Problem::unreachable("the request could not be sent"))
    }
}
