//! A kubelet of the host with one imaginary container. It ends WebSocket streams itself; a SPDY stream it only looks at,
//! because nothing in Rust ends one: the lab's tests use a real kubelet for that.

use crate::serving_leaf;
use anyhow::Result;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Router, http};
use futures::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use k3k_runtime::tls::{ClientAuth, ServerCertificate, TlsListener, server_config};
use k3k_tests::ApiServer;
use serde_json::json;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// Channels of `v5.channel.k8s.io`.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const CLOSE: u8 = 255;

/// What it has been asked.
#[derive(Default)]
pub(crate) struct HostKubelet {
    /// Method, path with query, and the protocol that was asked for.
    pub(crate) asked: Mutex<Vec<(String, String, String)>>,
    /// The versions that the last SPDY stream offered, and its first bytes.
    pub(crate) spdy: Mutex<Option<(Vec<String>, [u8; 4])>>,
}

impl HostKubelet {
    pub(crate) async fn serve(self: Arc<Self>, server: &ApiServer) -> Result<u16> {
        let pair = server.issue(&serving_leaf())?;
        let certificate = ServerCertificate::from_pem(&pair.certificate, &pair.key)?;
        let config = server_config(&certificate, ClientAuth::None, &[b"http/1.1"])?;
        let listener = TlsListener::bind((Ipv4Addr::LOCALHOST, 0).into(), config).await?;
        let port = listener.local_addr()?.port();
        let router = Router::new()
            .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
            .route("/exec/{namespace}/{pod}/{container}", any(exec))
            .route("/attach/{namespace}/{pod}/{container}", any(exec))
            .route("/portForward/{namespace}/{pod}", any(port_forward))
            .with_state(self);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(port)
    }

    fn note(&self, request: &Request) {
        let upgrade = request.headers().get(http::header::UPGRADE);
        let upgrade = upgrade.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let asked = (request.method().to_string(), request.uri().to_string(), upgrade);
        self.asked.lock().unwrap().push(asked);
    }

    pub(crate) fn last(&self) -> (String, String, String) {
        self.asked.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

async fn logs(State(kubelet): State<Arc<HostKubelet>>, request: Request) -> Response {
    kubelet.note(&request);
    let lines = ["first\n", "second\n"].map(|line| Ok::<_, std::convert::Infallible>(line.to_owned()));
    Body::from_stream(futures::stream::iter(lines)).into_response()
}

async fn exec(
    State(kubelet): State<Arc<HostKubelet>>,
    Path((_, _, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    mut request: Request,
) -> Response {
    kubelet.note(&request);
    let query = query.unwrap_or_default();
    if query.contains("command=gone") {
        let why = format!("unable to upgrade connection: container not found (\"{container}\")");
        return (http::StatusCode::INTERNAL_SERVER_ERROR, why).into_response();
    }
    let Some(key) = request.headers().get(http::header::SEC_WEBSOCKET_KEY) else {
        return spdy(kubelet, request);
    };
    let response = Response::builder()
        .status(101)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
        .header("sec-websocket-protocol", "v5.channel.k8s.io");
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await?;
        let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        run(stream, &query).await
    });
    response.body(Body::empty()).unwrap()
}

/// The imaginary process: says where it is, gives back what it hears, and exits with the status it was asked for.
async fn run(mut stream: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>, query: &str) -> Result<()> {
    let frame = |channel: u8, data: &[u8]| Message::binary([&[channel], data].concat());
    stream.send(frame(STDOUT, b"hello\n")).await?;
    stream.send(frame(STDERR, b"careful\n")).await?;
    while query.contains("input=1") {
        let Some(message) = stream.next().await else { break };
        match message?.into_data().as_ref() {
            [STDIN, data @ ..] => stream.send(frame(STDOUT, data)).await?,
            [CLOSE, STDIN] => break,
            _ => {}
        }
    }
    let status = if query.contains("command=fail") {
        json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "exit code 7",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]},
        })
    } else {
        json!({"status": "Success"})
    };
    stream.send(frame(ERROR, status.to_string().as_bytes())).await?;
    stream.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await?;
    while let Some(Ok(_)) = stream.next().await {}
    Ok(())
}

async fn port_forward(State(kubelet): State<Arc<HostKubelet>>, request: Request) -> Response {
    kubelet.note(&request);
    spdy(kubelet, request)
}

/// Accepts the upgrade, remembers how the stream begins, and hangs up.
fn spdy(kubelet: Arc<HostKubelet>, mut request: Request) -> Response {
    let offered: Vec<String> = request
        .headers()
        .get_all("x-stream-protocol-version")
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(|version| version.trim().to_owned())
        .collect();
    let mut response =
        Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "SPDY/3.1");
    if let Some(version) = offered.first() {
        response = response.header("x-stream-protocol-version", version);
    }
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await?;
        let mut first = [0; 4];
        TokioIo::new(upgraded).read_exact(&mut first).await?;
        *kubelet.spdy.lock().unwrap() = Some((offered, first));
        anyhow::Ok(())
    });
    response.body(Body::empty()).unwrap()
}
