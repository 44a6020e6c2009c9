//! From kubectl's flags and kubeconfig files to a client for the host, and from its errors to ours.

mod explain;
mod kubeconfig;
mod transport;

pub(crate) use kubeconfig::{Files, current_cluster, current_context};

use crate::cli::ConnectionFlags;
use crate::error::Error;
use crate::output::terminal::Terminal;
use kube::client::ClientBuilder;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use std::time::Duration;

/// How long to wait for a connection: long enough for a slow line, short enough for a person.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// How long to wait for one answer when the user does not say. Longer than any admission webhook may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(45);

/// A client for the host, and what to call it in messages.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The client.
    pub(crate) client: Client,
    /// Name of the context.
    pub(crate) context: String,
    /// URL of the host's API.
    pub(crate) server: String,
    /// The namespace given with `-n`.
    pub(crate) namespace: Option<String>,
    /// The namespace of the context.
    pub(crate) context_namespace: String,
    /// The user's kubeconfig files.
    pub(crate) files: Files,
}

/// Reads the kubeconfig files, applies the flags and builds the client. Nothing is sent yet. While the current
/// context is a cluster that we added, the host that it runs in is meant.
pub(crate) async fn connect(flags: &ConnectionFlags, terminal: &Terminal) -> Result<Connection, Error> {
    to(flags, terminal, kubeconfig::Meant::Host).await
}

/// The same, but the current context is meant as it is.
pub(crate) async fn connect_here(flags: &ConnectionFlags, terminal: &Terminal) -> Result<Connection, Error> {
    to(flags, terminal, kubeconfig::Meant::Current).await
}

/// Whether the API of this kubeconfig can be asked from this machine; why not, if it cannot.
pub(crate) async fn answers(kubeconfig: &str) -> Result<(), String> {
    let read = kube::config::Kubeconfig::from_yaml(kubeconfig).map_err(|error| explain::chain(&error))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| explain::chain(&error))?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.default_retry = false;
    kubeconfig::respect_no_proxy(&mut config);
    let client = Client::try_from(config).map_err(|error| explain::chain(&error))?;
    match tokio::time::timeout(REQUEST_TIMEOUT, client.apiserver_version()).await {
        // Whoever refuses has answered.
        Ok(Ok(_) | Err(kube::Error::Api(_))) => Ok(()),
        Ok(Err(error)) => Err(explain::chain(&error)),
        Err(_) => Err(format!("no answer within {}s", REQUEST_TIMEOUT.as_secs())),
    }
}

async fn to(
    flags: &ConnectionFlags,
    terminal: &Terminal,
    meant: kubeconfig::Meant,
) -> Result<Connection, Error> {
    let files = Files::find(flags.kubeconfig.as_deref());
    let (kubeconfig, context) = kubeconfig::load(&files, flags, meant)?;
    if let (kubeconfig::Meant::Host, None, Some(current)) = (meant, &flags.context, current_context(&files))
        && kubeconfig.is_some()
        && current != context
    {
        terminal
            .note(&format!("Using context \"{context}\", the host of your current context \"{current}\"."));
    }
    let mut config = match kubeconfig {
        Some(kubeconfig) => {
            let options =
                KubeConfigOptions { context: Some(kubeconfig::EFFECTIVE.to_owned()), ..Default::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| Error::Kubeconfig(explain::chain(&error)))?
        }
        None => Config::incluster().map_err(|_| Error::NoKubeconfig { looked: files.looked() })?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // A person waits: an answer such as "try again" is shown, not retried for minutes.
    config.default_retry = false;
    kubeconfig::respect_no_proxy(&mut config);
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let context_namespace = config.default_namespace.clone();
    let timeout = match flags.request_timeout {
        Some(Duration::ZERO) => None,
        Some(timeout) => Some(timeout),
        None => Some(REQUEST_TIMEOUT),
    };
    let layer = transport::Layer::new(terminal.clone(), timeout, flags.verbosity.unwrap_or(0));
    let client = ClientBuilder::try_from(config)
        .map_err(|error| Error::Kubeconfig(explain::chain(&error)))?
        .with_layer(&layer)
        .build();
    Ok(Connection { client, context, server, namespace: flags.namespace.clone(), context_namespace, files })
}
