//! A mock API server for tests: the test says which calls it expects, in order, and what the answers are.

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use std::time::Duration;
use tower_test::mock::{Handle, SendResponse, pair};

/// Longer than any step of a test takes, shorter than patience.
const LIMIT: Duration = Duration::from_secs(120);

/// The server's side of [`client`].
pub struct Scenario {
    handle: Handle<Request<Body>, Response<Body>>,
}

/// A request that the code under test has sent and that waits for an answer.
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: String,
    /// Headers.
    pub headers: http::HeaderMap,
    /// The body; null when it is empty or not JSON.
    pub body: Value,
    answer: SendResponse<Response<Body>>,
}

/// A client and the scenario that answers it.
pub fn client() -> (kube::Client, Scenario) {
    let (service, handle) = pair::<Request<Body>, Response<Body>>();
    (kube::Client::new(service, "default"), Scenario { handle })
}

impl Scenario {
    /// Waits for the next request, whatever it is. None when every client is gone.
    ///
    /// # Panics
    /// When none comes for two minutes.
    pub async fn next(&mut self) -> Option<Call> {
        let next = tokio::time::timeout(LIMIT, self.handle.next_request()).await;
        let (request, answer) = next.expect("a request within the limit")?;
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.expect("a readable request body");
        Some(Call {
            method: parts.method,
            uri: parts.uri.to_string(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            answer,
        })
    }

    /// Waits for the next request, which must be `method` on a path (and query) that begins with `uri`.
    ///
    /// # Panics
    /// When another request comes, or none.
    pub async fn expect(&mut self, method: &str, uri: &str) -> Call {
        let call = self.next().await.expect("another request");
        let right = call.method.as_str() == method && call.uri.starts_with(uri);
        assert!(right, "expected {method} {uri}, got {} {}: {}", call.method, call.uri, call.body);
        call
    }
}

impl Call {
    /// Answers with `status` and JSON.
    ///
    /// # Panics
    /// When `status` is not an HTTP status.
    pub fn answer(self, status: u16, body: &Value) {
        let response = Response::builder()
            .status(status)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string().into_bytes()))
            .expect("a valid response");
        self.answer.send_response(response);
    }

    /// Answers with the object that was sent, as a server does that accepts it.
    pub fn accept(self) {
        let body = self.body.clone();
        self.answer(200, &body);
    }

    /// Answers with a `Status` of `code` and `reason`, for example 404 and `NotFound`.
    ///
    /// # Panics
    /// When `code` is not an HTTP status.
    pub fn refuse(self, code: u16, reason: &str, message: &str) {
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure",
            "code": code, "reason": reason, "message": message,
        });
        self.answer(code, &status);
    }

    /// Fails as a broken connection does.
    pub fn abort(self) {
        self.answer.send_error("connection reset");
    }
}
