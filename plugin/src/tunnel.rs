//! A local port that leads through the host's API to a nested API, for clusters that are exposed inside the host only.

use crate::connect::Connection;
use crate::error::{Action, Error};
use crate::output::terminal::Terminal;
use k3k_api::labels::{self, component};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Resource as _, ResourceExt as _};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::{TcpListener, TcpStream};

/// The port that k3s listens on.
const API_PORT: u16 = 6443;

/// A port on this machine that is listened to.
pub(crate) struct Tunnel {
    listener: TcpListener,
    address: SocketAddr,
    pods: Api<Pod>,
    servers: ListParams,
    cluster: String,
    terminal: Terminal,
}

impl Tunnel {
    /// Listens on `port` of the loopback address, or on a free one for 0. Nobody is connected before [`Tunnel::run`].
    ///
    /// # Errors
    /// [`Error::State`] if the cluster has no server that runs; what the host said; [`Error::Io`] if the port is taken.
    pub(crate) async fn open(
        connection: &Connection,
        namespace: &str,
        name: &str,
        port: u16,
        terminal: &Terminal,
    ) -> Result<Self, Error> {
        let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
        let selector = format!("{}={name},{}={}", labels::CLUSTER, labels::COMPONENT, component::SERVER);
        let servers = ListParams::default().labels(&selector);
        let cluster = format!("{namespace}/{name}");
        let found = server(&pods, &servers)
            .await
            .map_err(|error| connection.explain(Action::new("list", "pods").within(namespace), &error))?;
        if found.is_none() {
            return Err(Error::State {
                message: format!("cluster \"{name}\" has no server that runs"),
                notes: vec![("look", format!("kubectl k3k describe {cluster}"))],
            });
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(Error::io(format!("listen on port {port}")))?;
        let address = listener.local_addr().map_err(Error::io("listen on a port"))?;
        Ok(Self { listener, address, pods, servers, cluster, terminal: terminal.clone() })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves connections until it is dropped; ends when nothing more can be accepted.
    pub(crate) async fn run(&self) {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (pods, servers) = (self.pods.clone(), self.servers.clone());
                        connections.spawn(async move { carry(stream, &pods, &servers).await });
                    }
                    Err(error) => return self.terminal.warn(&format!("the forwarded port is closed: {error}")),
                },
                Some(ended) = connections.join_next() => {
                    if let Ok(Err(cause)) = ended {
                        self.terminal.warn(&format!("a connection to {} broke: {cause}", self.cluster));
                    }
                }
            }
        }
    }
}

/// A server that can be asked: a ready one, else one that runs.
async fn server(pods: &Api<Pod>, servers: &ListParams) -> Result<Option<String>, kube::Error> {
    let found = pods.list(servers).await?;
    let running = |pod: &&Pod| {
        pod.meta().deletion_timestamp.is_none()
            && pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"))
    };
    let is_ready = |pod: &Pod| {
        let conditions =
            pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let mut candidates: Vec<&Pod> = found.items.iter().filter(running).collect();
    candidates.sort_by_key(|pod| (!is_ready(pod), pod.name_any()));
    Ok(candidates.first().map(|pod| pod.name_any()))
}

/// Carries one connection. Each finds a server anew: the one before may be gone.
async fn carry(mut near: TcpStream, pods: &Api<Pod>, servers: &ListParams) -> Result<(), String> {
    let found = server(pods, servers).await.map_err(|error| error.to_string())?;
    let pod = found.ok_or("no server runs")?;
    let mut forwarder =
        pods.portforward(&pod, &[API_PORT]).await.map_err(|error| format!("pod {pod:?}: {error}"))?;
    let mut far =
        forwarder.take_stream(API_PORT).ok_or_else(|| format!("pod {pod:?}: the port was not opened"))?;
    // Clients hang up as they like; that is no failure of the tunnel.
    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    drop(far);
    forwarder.join().await.map_err(|error| format!("pod {pod:?}: {error}"))
}
