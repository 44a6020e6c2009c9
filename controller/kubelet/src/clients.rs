//! Clients of the two API servers between which the virtual kubelet stands.

use crate::config::{Config, Files};
use kube::Client;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use std::net::IpAddr;
use std::path::Path;

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

/// A client of the nested API, authenticated by our client certificate, trusting only the cluster's own CA.
pub async fn nested(config: &Config, files: &Files) -> Result<Client, Error> {
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
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| Error::Nested(error.into()))?;
    Client::try_from(config).map_err(|error| Error::Nested(error.into()))
}

/// A client of the host API for objects, and one for streams: a stream may be silent for hours, and what was half sent must
/// not be sent again.
pub fn host() -> Result<(Client, Client), Error> {
    let config = kube::Config::incluster().map_err(|error| Error::Host(error.into()))?;
    let mut streaming = config.clone();
    streaming.default_retry = false;
    streaming.read_timeout = None;
    let make = |config: kube::Config| {
        Client::try_from(config).map_err(|error: kube::Error| Error::Host(error.into()))
    };
    Ok((make(config)?, make(streaming)?))
}
