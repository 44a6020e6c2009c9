//! Connections to registries: name, addresses, guard, TCP, TLS. The address that was judged is the one connected to.

use super::Limits;
use super::address::Guard;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::Service;

/// How many addresses of one name are tried.
const TRIES: usize = 2;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the address is incomplete")]
    Address,
    #[error("its name is not found")]
    Name,
    #[error("no address of it is allowed")]
    Forbidden,
    #[error("no connection within the limit")]
    Slow,
    #[error("no connection: {0}")]
    Tcp(io::ErrorKind),
    #[error("no TLS with it: {0}")]
    Tls(String),
}

/// Finds the addresses of a name.
pub trait Names: Send + Sync {
    /// All addresses, the best first.
    fn addresses(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// Asks the system, as everyone does.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Connects under one guard.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) names: Arc<dyn Names>,
    pub(super) guard: Arc<Guard>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) limits: Limits,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<Stream>, Error> {
        let (Some(host), Some(scheme)) = (uri.host(), uri.scheme_str()) else { return Err(Error::Address) };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secure = scheme == "https";
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = self.tcp(host, port).await?;
        if !secure {
            return Ok(TokioIo::new(Stream(Box::new(tcp))));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Address)?;
        let handshake = TlsConnector::from(self.tls).connect(name, tcp);
        let tls = timeout(self.limits.tls, handshake).await.map_err(|_| Error::Slow)?;
        Ok(TokioIo::new(Stream(Box::new(tls.map_err(|error| Error::Tls(brief(&error)))?))))
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let addresses = if let Ok(address) = host.parse() {
            vec![address]
        } else {
            let asking = timeout(self.limits.names, self.names.addresses(host));
            asking.await.map_err(|_| Error::Slow)?.map_err(|_| Error::Name)?
        };
        if addresses.is_empty() {
            return Err(Error::Name);
        }
        let allowed = addresses.iter().filter(|address| self.guard.allows(**address)).take(TRIES);
        let mut failure = Error::Forbidden;
        for address in allowed {
            let connecting = TcpStream::connect(SocketAddr::new(*address, port));
            match timeout(self.limits.connect, connecting).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true); // it is only slower without
                    return Ok(stream);
                }
                Ok(Err(error)) => failure = Error::Tcp(error.kind()),
                Err(_) => failure = Error::Slow,
            }
        }
        Err(failure)
    }
}

/// What is wrong with a peer, without all that it says of itself.
fn brief(error: &io::Error) -> String {
    error.to_string().chars().take(200).collect()
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, encrypted or not.
pub(super) struct Stream(Box<dyn Io>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
