//! Serving HTTP/1.1 with upgrades to peers that nobody vouches for: one that is slow, silent or does not go away costs a
//! bounded amount of memory for a bounded time. [`axum::serve()`] has none of these limits.

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What peers may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections may be open; more wait to be accepted. A connection that was upgraded no longer counts.
    pub connections: usize,
    /// How long a peer may take for the head of a request, and how long a connection may be idle.
    pub head: Duration,
    /// How long requests may go on after shutdown was asked for.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256, head: Duration::from_secs(30), grace: Duration::from_secs(10) }
    }
}

/// Answers with `router` what comes from `listener`, until `shutdown`. Then it accepts nothing more, lets requests that
/// were begun end within the grace, and returns. Handlers find the peer's address as [`ConnectInfo`].
pub async fn serve<L>(mut listener: L, router: Router, limits: Limits, shutdown: CancellationToken)
where
    L: Listener,
    L::Addr: Clone + Send + Sync + 'static,
{
    let mut connections = JoinSet::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accept = async {
            // Never closed, so a slot always comes.
            let slot = slots.clone().acquire_owned().await.ok();
            (listener.accept().await, slot)
        };
        tokio::select! {
            ((io, peer), slot) = accept => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                connections.spawn(async move {
                    converse(io, peer, router, limits.head, shutdown).await;
                    drop(slot);
                });
            }
            // Collects what has ended.
            Some(_) = connections.join_next() => {}
            () = shutdown.cancelled() => break,
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.grace, ended).await.is_err() {
        tracing::info!(connections = connections.len(), grace = ?limits.grace, "cutting connections short");
    }
}

/// One connection, until its end or its upgrade.
async fn converse<I, A>(io: I, peer: A, router: Router, head: Duration, shutdown: CancellationToken)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    A: Clone + Send + Sync + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer.clone()));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    const LIMIT: Duration = Duration::from_secs(120);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// A server whose `/` says who asked, and whose `/slow` waits for `release`.
    async fn start(
        limits: Limits,
    ) -> (SocketAddr, CancellationToken, Arc<tokio::sync::Notify>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, release) = (CancellationToken::new(), Arc::new(tokio::sync::Notify::new()));
        let router = Router::new()
            .route(
                "/",
                get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }),
            )
            .route(
                "/slow",
                get({
                    let release = release.clone();
                    || async move {
                        release.notified().await;
                        "done"
                    }
                }),
            );
        let served = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
        (address, shutdown, release, served)
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        tokio::time::timeout(LIMIT, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    }

    #[tokio::test]
    async fn handlers_know_the_peer() {
        let (address, ..) = start(Limits::default()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(rest(stream).await.ends_with("127.0.0.1"));
    }

    #[tokio::test]
    async fn a_peer_that_does_not_finish_its_head_is_hung_up_on() {
        let limits = Limits { head: Duration::from_millis(50), ..Limits::default() };
        let (address, ..) = start(limits).await;
        for begun in [&b""[..], b"GET / HTTP/1.1\r\nHost:", REQUEST] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun).await.unwrap();
            rest(stream).await;
        }
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait() {
        let (address, ..) = start(Limits { connections: 1, ..Limits::default() }).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(REQUEST).await.unwrap();
        first.read_u8().await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(REQUEST).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await;
        assert!(answer.is_err(), "the one place is taken");
        drop(first);
        tokio::time::timeout(LIMIT, second.read_u8()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn shutdown_lets_requests_end_and_closes_idle_connections() {
        let (address, shutdown, release, served) = start(Limits::default()).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(REQUEST).await.unwrap();
        idle.read_u8().await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        // The idle connection was answered, so the server runs; let it read the other request, too.
        tokio::time::sleep(Duration::from_millis(50)).await;
        shutdown.cancel();
        rest(idle).await;
        release.notify_one();
        assert!(rest(busy).await.ends_with("done"));
        tokio::time::timeout(LIMIT, served).await.unwrap().unwrap();
        TcpStream::connect(address).await.unwrap_err();
    }

    #[tokio::test]
    async fn shutdown_does_not_wait_for_ever() {
        let limits = Limits { grace: Duration::from_millis(50), ..Limits::default() };
        let (address, shutdown, _release, served) = start(limits).await;
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        shutdown.cancel();
        tokio::time::timeout(LIMIT, served).await.unwrap().unwrap();
        assert_eq!(rest(busy).await, "");
    }
}
