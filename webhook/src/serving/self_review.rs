//! Asking ourselves what an API server would ask, in the way in which it would: over TLS, by the Service's name,
//! believing the registration.

use super::trust;
use crate::server::VALIDATE;
use kube::{Client, Config};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long one answer may take: as long as an API server would wait.
const LIMIT: Duration = Duration::from_secs(5);

/// Why we would be no use to an API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registered bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] trust::Error),
    /// Our own address cannot be called.
    #[error("setting up a client for {address}: {cause}")]
    Client {
        /// Where we listen.
        address: SocketAddr,
        /// What is wrong.
        cause: String,
    },
    /// There was no answer that an API server could use.
    #[error("asking ourselves at {address}: {source}")]
    Ask {
        /// Where we listen.
        address: SocketAddr,
        /// What went wrong.
        source: Box<kube::Error>,
    },
    /// The answer is wrong.
    #[error("asked about a pod with privileged={privileged}, we answered: {answer}")]
    Wrong {
        /// What was asked.
        privileged: bool,
        /// What was answered.
        answer: String,
    },
}

/// Fails unless we, listening on `listening`, refuse a privileged pod and admit a plain one when called as `name` by
/// someone who believes in `bundle`.
pub async fn check(listening: SocketAddr, bundle: &str, name: &str) -> Result<(), Error> {
    let address = dialled(listening);
    let failed = |cause: String| Error::Client { address, cause };
    let uri = format!("https://{address}")
        .parse()
        .map_err(|error: http::uri::InvalidUri| failed(error.to_string()))?;
    let mut config = Config::new(uri);
    config.root_cert =
        Some(trust::certificates(bundle, "caBundle")?.into_iter().map(|root| root.to_vec()).collect());
    config.tls_server_name = Some(name.to_owned());
    config.connect_timeout = Some(LIMIT);
    config.read_timeout = Some(LIMIT);
    config.default_retry = false;
    let client = Client::try_from(config).map_err(|error| failed(error.to_string()))?;
    for privileged in [true, false] {
        let request = http::Request::post(VALIDATE)
            .body(question(privileged).to_string().into_bytes())
            .map_err(|error| failed(error.to_string()))?;
        let answer: Value = client
            .request(request)
            .await
            .map_err(|source| Error::Ask { address, source: Box::new(source) })?;
        if answer["response"]["allowed"] != json!(!privileged) {
            return Err(Error::Wrong { privileged, answer: answer.to_string() });
        }
    }
    Ok(())
}

/// A review of no namespace, which no API server can send: it is judged by the defaults without any lookup.
fn question(privileged: bool) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "self-review",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "self-review"},
                "spec": {"containers": [
                    {"name": "main", "image": "none", "securityContext": {"privileged": privileged}},
                ]},
            },
        },
    })
}

/// Where to call someone who listens there.
fn dialled(listening: SocketAddr) -> SocketAddr {
    let address = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(address, listening.port())
}
