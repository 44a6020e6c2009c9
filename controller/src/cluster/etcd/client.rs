//! Talking to the etcd of one server, with a certificate of its own authority.

use super::message::{
    Done, MemberListRequest, MemberListResponse, MemberRemoveRequest, MemberUpdateRequest, StatusRequest,
    StatusResponse,
};
use http::uri::PathAndQuery;
use k3k_runtime::certificates::{Authority, Leaf, Pair, Usage};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Port at which etcd serves clients.
pub(super) const CLIENT_PORT: u16 = 2379;
/// Port at which etcd serves other members.
pub(super) const PEER_PORT: u16 = 2380;

/// Longest wait for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long our certificate is valid. Each look brings a new one.
const IDENTITY_LIFETIME: Duration = Duration::from_secs(3600);

/// Who we are to the etcd of one cluster, and how we know it.
#[derive(Clone)]
pub(super) struct Access {
    tls: ClientTlsConfig,
}

impl Access {
    /// A new certificate of `authority`, which signs for both sides.
    pub(super) fn new(authority: &Authority) -> Result<Self, String> {
        let leaf = Leaf {
            // The name by which k3s' own client is known.
            common_name: "etcd-client".to_owned(),
            organizations: Vec::new(),
            // etcd would compare names with where we come from.
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usages: vec![Usage::Client],
            lifetime: IDENTITY_LIFETIME,
        };
        let Pair { certificate, key } = authority.issue(&leaf).map_err(|error| error.to_string())?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority.certificate_pem()))
            .identity(Identity::from_pem(certificate, key));
        Ok(Self { tls })
    }

    /// Connects to the server at `address`.
    pub(super) async fn connect(&self, address: IpAddr) -> Result<Connection, String> {
        let url = format!("https://{}", SocketAddr::new(address, CLIENT_PORT));
        let endpoint = Endpoint::from_shared(url).and_then(|endpoint| {
            endpoint.connect_timeout(PATIENCE).timeout(PATIENCE).tls_config(self.tls.clone())
        });
        let endpoint = endpoint.map_err(|error| words(&error))?;
        // The limit of the endpoint is for the connection alone, not for the handshake.
        match tokio::time::timeout(PATIENCE, endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(Connection { grpc: Grpc::new(channel) }),
            Ok(Err(error)) => Err(words(&error)),
            Err(_) => Err("it does not answer".to_owned()),
        }
    }
}

/// A connection to one member of etcd.
#[derive(Clone)]
pub(super) struct Connection {
    grpc: Grpc<Channel>,
}

impl Connection {
    /// How it is.
    pub(super) async fn status(&mut self) -> Result<StatusResponse, String> {
        self.call("/etcdserverpb.Maintenance/Status", StatusRequest {}).await
    }

    /// All members, as a majority sees them: an error without one.
    pub(super) async fn members(&mut self) -> Result<MemberListResponse, String> {
        self.call("/etcdserverpb.Cluster/MemberList", MemberListRequest { linearizable: true }).await
    }

    /// Removes a member.
    pub(super) async fn remove(&mut self, id: u64) -> Result<(), String> {
        let request = MemberRemoveRequest { id };
        self.call("/etcdserverpb.Cluster/MemberRemove", request).await.map(|Done {}| ())
    }

    /// Gives a member other addresses.
    pub(super) async fn update(&mut self, id: u64, peer_urls: Vec<String>) -> Result<(), String> {
        let request = MemberUpdateRequest { id, peer_urls };
        self.call("/etcdserverpb.Cluster/MemberUpdate", request).await.map(|Done {}| ())
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, String>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.grpc.ready().await.map_err(|error| words(&error))?;
        let (path, codec) = (PathAndQuery::from_static(path), ProstCodec::<Q, A>::default());
        let answer = self.grpc.unary(Request::new(request), path, codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status: Status| status.message().to_owned())
    }
}

/// The error and what is behind it, the last of which says most.
fn words(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
