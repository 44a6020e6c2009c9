//! Clients of the two API servers between which the virtual kubelet stands.

pub mod bucket;
mod fence;
mod pace;
pub mod signed;

use crate::config::{Config, Files};
use fence::Fence;
use k3k_runtime::lease::Tenure;
use kube::Client;
use kube::client::ClientBuilder;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use pace::Pace;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// What one cluster may ask of the host: a burst that is enough for a few hundred pods at once, and in the long run as much as a
/// node's own kubelet with many pods. The Lease and tenants' streams are not counted.
const HOST_PACE: Pace = Pace { burst: 1000, every: Duration::from_millis(10) };

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The nested API's certificates do not make a client.
    #[error("cannot make a client of the nested API from the mounted certificates: {0}")]
    Nested(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not running in a pod of the host, or without its service account.
    #[error("cannot make a client of the host API from the pod's service account: {0}")]
    Host(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Clients of one API server.
#[derive(Clone)]
pub struct Access {
    /// Writes only while we lead: what keeps the two sides in agreement.
    pub leading: Client,
    /// Whatever a standby does, too: reading, the Lease, questions about callers, streams.
    pub standing: Client,
}

/// Clients of the nested API, authenticated by our client certificate, trusting only the cluster's own CA.
pub async fn nested(config: &Config, files: &Files, tenure: &Tenure) -> Result<Access, Error> {
    let path = |path: &Path| Some(path.to_string_lossy().into_owned());
    let host = match config.server_ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let name = "nested".to_owned();
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(Cluster {
                server: Some(format!("https://{host}:443")),
                certificate_authority: path(&files.server_ca),
                ..Cluster::default()
            }),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(AuthInfo {
                client_certificate: path(&files.client_certificate),
                client_key: path(&files.client_key),
                ..AuthInfo::default()
            }),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(Context { cluster: name.clone(), user: Some(name.clone()), ..Context::default() }),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    };
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| Error::Nested(error.into()))?;
    let error = |error: kube::Error| Error::Nested(error.into());
    config.default_retry = false;
    let leading = ClientBuilder::try_from(config.clone()).map_err(error)?;
    let leading = leading.with_layer(&Fence(tenure.clone())).build();
    Ok(Access { leading, standing: Client::try_from(config).map_err(error)? })
}

/// Clients of the host API. The one for a standby carries streams: a stream may be silent for hours, and what was half sent must
/// not be sent again.
pub fn host(tenure: &Tenure) -> Result<Access, Error> {
    let mut config = kube::Config::incluster().map_err(|error| Error::Host(error.into()))?;
    let error = |error: kube::Error| Error::Host(error.into());
    config.default_retry = false;
    let mut standing = config.clone();
    standing.read_timeout = None;
    let leading = ClientBuilder::try_from(config).map_err(error)?;
    let leading = leading.with_layer(&HOST_PACE).with_layer(&Fence(tenure.clone())).build();
    Ok(Access { leading, standing: Client::try_from(standing).map_err(error)? })
}

#[cfg(test)]
mod tests;
