//! A real etcd and kube-apiserver on loopback, and nothing else: no controller, scheduler or node.

use crate::process::Process;
use crate::{wait, workspace};
use anyhow::{Context, Result, bail};
use k3k_runtime::certificates::{Authority, Leaf, Pair, Usage};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::sync::OnceCell;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ADMINISTRATORS: &str = "system:masters";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a start is tried: a port that was free may have been taken meanwhile.
const ATTEMPTS: usize = 3;

/// A running API server. Dropping it ends both processes and removes their data.
pub struct ApiServer {
    // Dropped in this order: the API server goes first, the directory with etcd.
    frontend: Process,
    etcd: Process,
    authority: Authority,
    directory: PathBuf,
    url: String,
}

impl ApiServer {
    /// The one server that all tests of a test binary share. It lives until the binary ends.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// Starts a server with data of its own and waits until it is ready.
    pub async fn start() -> Result<Self> {
        let program = program()?;
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match Self::try_start(&program).await {
                Ok(server) => return Ok(server),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| anyhow::anyhow!("no attempt was made")))
            .context("starting a kube-apiserver")
    }

    /// An administrator's client. Make one per test: a client does not survive the runtime it was made in.
    pub async fn client(&self) -> Result<Client> {
        self.client_as("admin", Some(ADMINISTRATORS)).await
    }

    /// A client with another identity, which has the rights that RBAC gives to it.
    pub async fn client_as(&self, user: &str, group: Option<&str>) -> Result<Client> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig_text(user, group)?)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// A kubeconfig file for commands, for `user` in `group`.
    pub fn kubeconfig(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let mut file = tempfile::Builder::new()
            .prefix(&user.replace([':', '/'], "-"))
            .suffix(".kubeconfig")
            .tempfile_in(&self.directory)?;
        file.write_all(self.kubeconfig_text(user, group)?.as_bytes())?;
        let (_, path) = file.keep()?; // removed with the directory
        Ok(path)
    }

    /// `kubectl` as the administrator of this server.
    pub fn kubectl(&self) -> Result<Command> {
        let mut command = Command::new(program()?);
        command.arg("kubectl").env("KUBECONFIG", self.kubeconfig("admin", Some(ADMINISTRATORS))?);
        Ok(command)
    }

    /// A certificate that this server accepts: from its clients, and from the kubelets that it calls.
    pub fn issue(&self, request: &Leaf) -> Result<Pair> {
        Ok(self.authority.issue(request)?)
    }

    /// The authority behind every certificate here, including the one with which the server calls kubelets.
    pub fn authority_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// Certificate and key of that authority, for code that issues certificates itself.
    pub fn authority(&self) -> Pair {
        self.authority.pair()
    }

    /// Where the server listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn kubeconfig_text(&self, user: &str, group: Option<&str>) -> Result<String> {
        let pair = self.authority.issue(&leaf(user, group, Usage::Client))?;
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": {
                "server": self.url, "certificate-authority-data": base64(self.authority.certificate_pem()),
            }}],
            "users": [{ "name": "test", "user": {
                "client-certificate-data": base64(&pair.certificate), "client-key-data": base64(&pair.key),
            }}],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "current-context": "test",
        });
        Ok(config.to_string())
    }

    async fn try_start(program: &Path) -> Result<Self> {
        // From here on whoever ends etcd also removes the directory.
        let directory = tempfile::Builder::new().prefix("k3k-api-server-").tempdir()?.keep();
        let [client_port, peer_port, port] = free_ports()?;
        let log = directory.join("etcd.log");
        let etcd = Process::start(
            program,
            etcd_arguments(&directory, client_port, peer_port),
            &log,
            Some(&directory),
        )?;

        let authority = Authority::generate("test-ca")?;
        let serving = authority.issue(&leaf("kube-apiserver", None, Usage::Server))?;
        let calling = authority.issue(&leaf("system:apiserver", Some(ADMINISTRATORS), Usage::Client))?;
        for (name, text) in [
            ("ca.crt", authority.certificate_pem()),
            ("tls.crt", &serving.certificate),
            ("tls.key", &serving.key),
            ("kubelet-client.crt", &calling.certificate),
            ("kubelet-client.key", &calling.key),
        ] {
            fs::write(directory.join(name), text)?;
        }
        let log = directory.join("kube-apiserver.log");
        let frontend =
            Process::start(program, api_server_arguments(&directory, client_port, port), &log, None)?;
        let mut server =
            Self { frontend, etcd, authority, directory, url: format!("https://127.0.0.1:{port}") };
        server.wait_until_ready().await?;
        Ok(server)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let client = self.client().await?;
        let ready = wait::until("the API server is ready", async || {
            if self.etcd.has_ended() {
                bail!("etcd has ended:\n{}", tail(&self.directory.join("etcd.log")));
            }
            if self.frontend.has_ended() {
                bail!("kube-apiserver has ended:\n{}", tail(&self.directory.join("kube-apiserver.log")));
            }
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(client.request_text(request).await.is_ok().then_some(()))
        });
        ready.await.with_context(|| tail(&self.directory.join("kube-apiserver.log")))
    }
}

/// The lab's binary, which is etcd, kube-apiserver and kubectl in one.
fn program() -> Result<PathBuf> {
    workspace::made_by("lab", "target/lab/bin/k3s")
}

fn etcd_arguments(directory: &Path, client_port: u16, peer_port: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{peer_port}"));
    vec![
        "etcd".into(),
        "--name=default".into(),
        format!("--data-dir={}", directory.join("etcd").display()),
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ]
}

fn api_server_arguments(directory: &Path, etcd_port: u16, port: u16) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    vec![
        "kube-apiserver".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("tls.crt")),
        format!("--tls-private-key-file={}", file("tls.key")),
        format!("--kubelet-certificate-authority={}", file("ca.crt")),
        format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
        format!("--kubelet-client-key={}", file("kubelet-client.key")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", file("tls.crt")),
        format!("--service-account-signing-key-file={}", file("tls.key")),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--authorization-mode=RBAC".into(),
        "--allow-privileged=true".into(),
        // Nobody makes service accounts here, and pods would be refused without one.
        "--disable-admission-plugins=ServiceAccount".into(),
        "--endpoint-reconciler-type=none".into(),
        "--profiling=false".into(),
    ]
}

fn leaf(user: &str, group: Option<&str>, usage: Usage) -> Leaf {
    Leaf {
        common_name: user.into(),
        organizations: group.map(Into::into).into_iter().collect(),
        dns_names: vec!["localhost".into()],
        ip_addresses: vec![LOOPBACK],
        usages: vec![usage],
        lifetime: DAY,
    }
}

/// Different ports that nobody listened on a moment ago.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind((LOOPBACK, 0))).collect::<std::io::Result<_>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// The last lines of a log, for a message.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

pub(crate) fn base64(text: &str) -> String {
    let encoded = serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec()));
    encoded.ok().and_then(|value| value.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}
