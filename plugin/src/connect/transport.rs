//! What every request passes: the host's warnings are shown, answers are waited for only so long, and `-v=6`
//! shows the traffic.

use crate::output::terminal::Terminal;
use http::{HeaderMap, Request, Response, header};
use kube::client::Body;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tower::{BoxError, Service};

/// Wraps a client's service in a [`Transport`].
pub(super) struct Layer {
    terminal: Terminal,
    timeout: Option<Duration>,
    verbosity: u8,
}

impl Layer {
    /// `timeout` bounds every answer but those of watches.
    pub(super) fn new(terminal: Terminal, timeout: Option<Duration>, verbosity: u8) -> Self {
        Self { terminal, timeout, verbosity }
    }
}

impl<S> tower::Layer<S> for Layer {
    type Service = Transport<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Transport { inner, terminal: self.terminal.clone(), timeout: self.timeout, verbosity: self.verbosity }
    }
}

/// A service with warnings, a limit of time, and a trace.
pub(super) struct Transport<S> {
    inner: S,
    terminal: Terminal,
    timeout: Option<Duration>,
    verbosity: u8,
}

/// The host accepted the connection, and then did not answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {}s", .0.as_secs())]
pub(super) struct NoAnswer(Duration);

impl<S, B> Service<Request<Body>> for Transport<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let limit = self.timeout.filter(|_| !watch);
        let trace = (self.verbosity >= 6).then(|| format!("{} {}", request.method(), request.uri()));
        let (terminal, started) = (self.terminal.clone(), Instant::now());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = match limit {
                Some(limit) => {
                    tokio::time::timeout(limit, answer).await.map_err(|_| BoxError::from(NoAnswer(limit)))?
                }
                None => answer.await,
            };
            if let Some(trace) = trace {
                let outcome = response.as_ref().map_or_else(
                    |error| format!("failed: {error}"),
                    |response| response.status().as_u16().to_string(),
                );
                terminal.note(&format!("{trace} {outcome} in {} ms", started.elapsed().as_millis()));
            }
            if let Ok(response) = &response {
                for warning in warnings(response.headers()) {
                    terminal.warn(&warning);
                }
            }
            response
        })
    }
}

/// The texts of `Warning: 299 - "text"` headers.
fn warnings(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::WARNING)
        .iter()
        .filter_map(|value| {
            let text = value.to_str().ok()?.strip_prefix("299 ")?;
            let (_, quoted) = text.split_once('"')?;
            let mut unquoted = String::new();
            let mut characters = quoted.chars();
            while let Some(character) = characters.next() {
                match character {
                    '"' => return Some(unquoted),
                    '\\' => unquoted.extend(characters.next()),
                    _ => unquoted.push(character),
                }
            }
            None
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_unquoted() {
        let mut headers = HeaderMap::new();
        for value in [r#"299 - "use \"v2\" instead""#, r#"110 - "stale""#, "299 - broken"] {
            headers.append(header::WARNING, value.parse().expect("header"));
        }
        assert_eq!(warnings(&headers), ["use \"v2\" instead"]);
    }
}
