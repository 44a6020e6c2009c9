//! The plain-HTTP endpoints that kubelet probes and a Prometheus scraper ask for. They tell nothing secret and
//! change nothing.

use crate::ready::Readiness;
use crate::serve::{Limits, serve};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A kubelet and a scraper need two connections.
const LIMITS: Limits =
    Limits { connections: 64, head: Duration::from_secs(90), grace: Duration::from_secs(2) };

/// Where to serve `/livez`, `/readyz` and `/metrics`.
#[derive(clap::Args, Clone, Debug)]
pub struct AdminArgs {
    /// Address of the plain-HTTP endpoints `/livez`, `/readyz` and `/metrics`.
    #[arg(long, env = "K3K_ADMIN_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    admin_address: SocketAddr,
}

/// Why the admin endpoints are not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("cannot listen on {address} for probes and metrics: {source}; choose another --admin-address")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

impl AdminArgs {
    /// Serves until `shutdown`. The address is bound by this call, before the future is first polled; the future
    /// gives the error if that failed.
    pub fn serve(
        &self,
        registry: Arc<Registry>,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let address = self.admin_address;
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        async move {
            let listener = bound
                .and_then(tokio::net::TcpListener::from_std)
                .map_err(|source| Error::Bind { address, source })?;
            serve(listener, router(registry, readiness), LIMITS, shutdown).await;
            Ok(())
        }
    }
}

/// The routes of [`AdminArgs::serve`].
pub fn router(registry: Arc<Registry>, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics).with_state(registry))
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    match readiness.pending().as_slice() {
        [] => "ok".into_response(),
        pending => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", pending.join(", ")))
            .into_response(),
    }
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    exposition(&registry)
}

/// What `registry` holds, as `/metrics` answers.
pub fn exposition(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("encoding metrics: {error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use http::Request;
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt;

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readyz_lists_what_is_missing_and_livez_does_not_care() {
        let readiness = Readiness::default();
        let (crds, lease) = (readiness.latch("crds"), readiness.latch("lease"));
        let router = router(Arc::default(), readiness);
        assert_eq!(
            get(&router, "/readyz").await,
            (StatusCode::SERVICE_UNAVAILABLE, "waiting for: crds, lease\n".into())
        );
        assert_eq!(get(&router, "/livez").await, (StatusCode::OK, "ok".into()));
        crds.set();
        lease.set();
        assert_eq!(get(&router, "/readyz").await, (StatusCode::OK, "ok".into()));
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        registry.register("reconciles", "Reconciliations", counter.clone());
        counter.inc();
        let (status, text) = get(&router(Arc::new(registry), Readiness::default()), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("reconciles_total 1") && text.ends_with("# EOF\n"), "{text}");
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let args = AdminArgs { admin_address: taken.local_addr().unwrap() };
        let served = args.serve(Arc::default(), Readiness::default(), CancellationToken::new());
        let error = served.await.unwrap_err().to_string();
        assert!(
            error.contains(&args.admin_address.to_string()) && error.contains("--admin-address"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn shutdown_ends_serving() {
        let args = AdminArgs { admin_address: "127.0.0.1:0".parse().unwrap() };
        let shutdown = CancellationToken::new();
        let served = args.serve(Arc::default(), Readiness::default(), shutdown.clone());
        shutdown.cancel();
        served.await.unwrap();
    }
}
