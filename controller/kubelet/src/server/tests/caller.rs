//! A caller that speaks HTTP/1.1 by hand, so that nothing between a test and the wire is helpful.

use super::fixture::LIMIT;
use k3k_runtime::certificates::Pair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// One connection.
pub(super) struct Caller {
    pub(super) io: TlsStream<TcpStream>,
}

/// Status code and headers.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) code: u16,
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Caller {
    pub(super) async fn connect(address: SocketAddr, trusted: &str, identity: Option<&Pair>) -> Self {
        let certificates = |pem: &str| -> Vec<CertificateDer<'static>> {
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(trusted));
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(certificates(&pair.certificate), key).unwrap()
            }
        };
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::from(address.ip());
        Self { io: TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap() }
    }

    /// Sends a request without a body.
    pub(super) async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: kubelet\r\n");
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text += "\r\n";
        self.io.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads the head of an answer, and no byte beyond it.
    pub(super) async fn head(&mut self) -> Head {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(LIMIT, self.io.read_u8()).await.expect("an answer in time");
            text.push(byte.expect("an answer"));
        }
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.trim_end().lines();
        let code = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Head { code, headers: lines.map(header).collect() }
    }

    /// Asks for a stream by SPDY, as kube-apiserver does for its clients.
    pub(super) async fn spdy(&mut self, path: &str) -> Head {
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "SPDY/3.1"),
            ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
        ];
        self.send("POST", path, &headers).await;
        self.head().await
    }

    /// Sends a request and reads the whole answer, which must come with its length.
    pub(super) async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> (Head, Value) {
        self.send(method, path, headers).await;
        let head = self.head().await;
        let body = self.body(&head).await;
        (head, body)
    }

    /// The JSON that comes after `head`.
    pub(super) async fn body(&mut self, head: &Head) -> Value {
        let length = head.get("content-length").expect("a length").parse().unwrap();
        let mut body = vec![0; length];
        tokio::time::timeout(LIMIT, self.io.read_exact(&mut body)).await.unwrap().unwrap();
        serde_json::from_slice(&body).unwrap_or(Value::Null)
    }

    /// Reads one chunk of a chunked body; None at its end.
    pub(super) async fn chunk(&mut self) -> std::io::Result<Option<String>> {
        let mut size = Vec::new();
        while !size.ends_with(b"\r\n") {
            size.push(tokio::time::timeout(LIMIT, self.io.read_u8()).await.unwrap()?);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        tokio::time::timeout(LIMIT, self.io.read_exact(&mut chunk)).await.unwrap()?;
        chunk.truncate(size);
        Ok((size > 0).then(|| String::from_utf8(chunk).unwrap()))
    }

    /// Reads exactly what was expected.
    pub(super) async fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        tokio::time::timeout(LIMIT, self.io.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(bytes));
    }

    /// Reads to the end.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A close without TLS' goodbye is an end, too.
        let _ = tokio::time::timeout(LIMIT, self.io.read_to_end(&mut rest)).await.unwrap();
        rest
    }
}
