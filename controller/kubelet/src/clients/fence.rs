//! A client that writes only while we hold the Lease.

use http::{Method, Request};
use k3k_runtime::lease::Tenure;
use kube::client::Body;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::{BoxError, Layer, Service};

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("another virtual kubelet may have taken over; nothing is written any more")]
pub(super) struct NotLeading;

/// Lets reads through, and writes during the tenure. A process that was frozen wakes up in the middle of its work; what it then
/// sends would contradict its successor.
#[derive(Clone, Debug)]
pub(super) struct Fence(pub(super) Tenure);

/// See [`Fence`].
#[derive(Debug)]
pub(super) struct Fenced<S> {
    inner: S,
    tenure: Tenure,
}

impl<S> Layer<S> for Fence {
    type Service = Fenced<S>;

    fn layer(&self, inner: S) -> Fenced<S> {
        Fenced { inner, tenure: self.0.clone() }
    }
}

impl<S> Service<Request<Body>> for Fenced<S>
where
    S: Service<Request<Body>>,
    S::Response: Unpin,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Answer<S::Future, S::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if reads || self.tenure.holds() {
            Answer::Asked(Box::pin(self.inner.call(request)))
        } else {
            Answer::Refused(ready(Err(NotLeading.into())))
        }
    }
}

/// What comes of a request.
#[derive(Debug)]
pub(super) enum Answer<F, R> {
    /// The server's answer.
    Asked(Pin<Box<F>>),
    /// Not sent.
    Refused(Ready<Result<R, BoxError>>),
}

impl<F, R, E> Future for Answer<F, R>
where
    F: Future<Output = Result<R, E>>,
    E: Into<BoxError>,
    R: Unpin,
{
    type Output = Result<R, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Asked(future) => future.as_mut().poll(context).map_err(Into::into),
            Self::Refused(refusal) => Pin::new(refusal).poll(context),
        }
    }
}
