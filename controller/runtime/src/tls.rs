//! A TLS listener for [`crate::serve`] that knows who called, and a serving certificate that can be replaced while
//! it is in use.

use crate::certificates;
use arc_swap::ArcSwap;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long a peer may take for its handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How many peers may be in their handshake at the same time; more wait in the kernel's backlog.
const HANDSHAKES: usize = 256;
/// How long to wait when the process cannot accept, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Why a TLS server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate in PEM does not parse.
    #[error("reading {what}: {source}")]
    Pem {
        /// Which certificate or key.
        what: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in the text.
    #[error("there is no certificate in {0}")]
    Empty(&'static str),
    /// Certificate and key do not go together, or are of an unknown kind.
    #[error("using the serving certificate: {0}")]
    Certificate(#[source] rustls::Error),
    /// The client authority cannot be used.
    #[error("using the client authority: {0}")]
    ClientAuthority(String),
    /// No protocol version in common with the provider.
    #[error("setting up TLS: {0}")]
    Config(#[source] rustls::Error),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// A serving certificate. Clones share it, and see what [`Self::replace`] puts there.
#[derive(Clone)]
pub struct ServerCertificate {
    current: Arc<ArcSwap<CertifiedKey>>,
}

impl ServerCertificate {
    /// The certificate chain `cert` (leaf first) with its private key, both PEM.
    pub fn from_pem(cert: &str, key: &str) -> Result<Self, Error> {
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(certified_key(cert, key)?)) })
    }

    /// Uses another certificate for every handshake from now on. On an error the current one stays.
    pub fn replace(&self, cert: &str, key: &str) -> Result<(), Error> {
        self.current.store(Arc::new(certified_key(cert, key)?));
        Ok(())
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServerCertificate").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// No.
    None,
    /// Yes; one that does not come from this authority, or is not for clients, ends the handshake. Without one the
    /// connection is anonymous.
    Optional {
        /// The authority's certificates.
        ca_pem: String,
    },
}

/// TLS 1.2 and 1.3 with `cert`, offering the protocols in `alpn`.
pub fn server_config(
    cert: &ServerCertificate,
    auth: ClientAuth,
    alpn: &[&[u8]],
) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Error::Config)?;
    let builder = match auth {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional { ca_pem } => {
            let mut roots = RootCertStore::empty();
            for certificate in chain(&ca_pem, "the client authority")? {
                roots.add(certificate).map_err(|error| Error::ClientAuthority(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| Error::ClientAuthority(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(cert.clone()));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

fn certified_key(cert: &str, key: &str) -> Result<CertifiedKey, Error> {
    let chain = chain(cert, "the serving certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|source| Error::Pem { what: "the serving certificate's key", source })?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(Error::Certificate)
}

fn chain(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| Error::Pem { what, source })?;
    if chain.is_empty() { Err(Error::Empty(what)) } else { Ok(chain) }
}

/// Who is at the other end. [`crate::serve`] gives it to handlers as [`axum::extract::ConnectInfo`];
/// [`axum::serve()`] does with `into_make_service_with_connect_info::<Peer>()`.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// What its certificate says; absent on an anonymous connection.
    pub certificate: Option<PeerCertificate>,
}

/// The subject of a client certificate that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// To Kubernetes, the user.
    pub common_name: String,
    /// To Kubernetes, the user's groups.
    pub organizations: Vec<String>,
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Accepts TLS connections. Handshakes run beside each other, so that a slow peer delays no one else.
pub struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, Peer)>>,
}

impl fmt::Debug for TlsListener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TlsListener").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl TlsListener {
    /// Listens on `addr`; port 0 takes a free one.
    pub async fn bind(addr: SocketAddr, config: ServerConfig) -> Result<Self, Error> {
        let tcp = TcpListener::bind(addr).await.map_err(|source| Error::Bind { address: addr, source })?;
        Ok(Self { tcp, acceptor: TlsAcceptor::from(Arc::new(config)), handshakes: JoinSet::new() })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    fn handshake(&mut self, tcp: TcpStream, address: SocketAddr) {
        let acceptor = self.acceptor.clone();
        self.handshakes.spawn(async move {
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%address, %error, "setting TCP_NODELAY");
            }
            match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(tcp)).await {
                Ok(Ok(stream)) => {
                    let certificate = peer_certificate(&stream);
                    Some((stream, Peer { address, certificate }))
                }
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "TLS handshake failed");
                    None
                }
                Err(_) => {
                    tracing::debug!(%address, limit = ?HANDSHAKE_LIMIT, "TLS handshake took too long");
                    None
                }
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
                accepted = self.tcp.accept(), if self.handshakes.len() < HANDSHAKES => match accepted {
                    Ok((tcp, address)) => self.handshake(tcp, address),
                    Err(error) if of_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { address: self.tcp.local_addr()?, certificate: None })
    }
}

/// Errors that say that one peer went away, not that accepting does not work.
fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// The verified client certificate's subject. A certificate that we cannot read counts as none, which grants
/// nothing.
fn peer_certificate(stream: &TlsStream<TcpStream>) -> Option<PeerCertificate> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    let (_, x509) = X509Certificate::from_der(leaf).ok()?;
    let facts = certificates::facts(&x509).ok()?;
    Some(PeerCertificate { common_name: facts.common_name, organizations: facts.organizations })
}

#[cfg(test)]
mod tests;
