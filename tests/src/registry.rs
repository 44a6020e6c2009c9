//! A real registry on loopback, that of the distribution project, with TLS and images of a few bytes.

use crate::api_server::{base64, free_ports, tail};
use crate::process::Process;
use crate::{wait, workspace};
use anyhow::{Context, Result, bail, ensure};
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{Request, Response, StatusCode, Uri};
use k3k_runtime::certificates::{Authority, Leaf, Usage};
use kube::client::Body;
use kube::{Client, Config};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Who may read and write where a password is wanted.
pub const USER: &str = "joe";
/// The password.
pub const PASSWORD: &str = "s3cr3t";
/// The password as the registry's file has it: bcrypt, at its lowest cost.
const HASH: &str = "$2a$04$zgg3/shimdy7RV5JLw9TIOSYe2IlljQSqd5cJJo.B8B8nRQVmZ14O";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How often a start is tried: a port that was free may have been taken meanwhile.
const ATTEMPTS: usize = 3;

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Only [`USER`] with [`PASSWORD`].
    Password,
}

/// What was pushed under one tag.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The digest of the index.
    pub index: String,
    /// The digest of each platform's manifest.
    pub platforms: Vec<String>,
}

/// A running registry. Dropping it ends it and removes its data.
pub struct Registry {
    // Dropped first.
    process: Option<Process>,
    authority: Authority,
    client: Client,
    access: Access,
    port: u16,
    _directory: TempDir,
}

impl Registry {
    /// Starts a registry without images and waits until it answers.
    pub async fn start(access: Access) -> Result<Self> {
        let program = workspace::made_by("test", "target/registry/bin/registry")?;
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match Self::try_start(&program, access).await {
                Ok(registry) => return Ok(registry),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| anyhow::anyhow!("no attempt was made"))).context("starting a registry")
    }

    /// Ends the registry. Its images are gone from then on.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Who signed its certificate.
    pub fn authority_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// A pull secret's content for this registry.
    pub fn pull_secret(&self, user: &str, password: &str) -> Vec<u8> {
        let auth = base64(&format!("{user}:{password}"));
        json!({"auths": {self.host(): {"auth": auth}}}).to_string().into_bytes()
    }

    /// Pushes an image for two platforms. Images with the same `content` are the same.
    pub async fn push(&self, repository: &str, tag: &str, content: &str) -> Result<Pushed> {
        let mut entries = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let manifest = self.push_platform(repository, architecture, content).await?;
            entries.push(json!({
                "mediaType": MANIFEST, "digest": digest(&manifest), "size": manifest.len(),
                "platform": {"os": "linux", "architecture": architecture},
            }));
        }
        let platforms =
            entries.iter().filter_map(|entry| entry["digest"].as_str().map(str::to_owned)).collect();
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string();
        self.put_manifest(repository, tag, INDEX, &index).await?;
        Ok(Pushed { index: digest(&index), platforms })
    }

    /// Gives `tag` to one of the manifests of `pushed`.
    pub async fn tag_platform(&self, repository: &str, tag: &str, manifest: &str) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{manifest}");
        let response = self.send(Request::get(path).header("accept", MANIFEST), String::new()).await?;
        let body = response.into_body().collect_bytes().await?;
        self.put_manifest(repository, tag, MANIFEST, std::str::from_utf8(&body)?).await
    }

    async fn push_platform(&self, repository: &str, architecture: &str, content: &str) -> Result<String> {
        let config: Value = json!({
            "os": "linux", "architecture": architecture, "author": content,
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        let config = config.to_string();
        self.put_blob(repository, &config).await?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
            "config": {"mediaType": IMAGE_CONFIG, "digest": digest(&config), "size": config.len()},
        });
        let manifest = manifest.to_string();
        self.put_manifest(repository, &digest(&manifest), MANIFEST, &manifest).await?;
        Ok(manifest)
    }

    async fn put_blob(&self, repository: &str, blob: &str) -> Result<()> {
        let begin = Request::post(format!("/v2/{repository}/blobs/uploads/"));
        let started = self.send(begin, String::new()).await?;
        let location = started.headers().get(LOCATION).context("no place to upload to")?.to_str()?;
        let location: Uri = location.parse()?;
        let place = location.path_and_query().context("no place to upload to")?;
        let joint = if location.query().is_some() { '&' } else { '?' };
        let end = Request::put(format!("{place}{joint}digest={}", digest(blob)))
            .header(CONTENT_TYPE, "application/octet-stream");
        self.send(end, blob.to_owned()).await.map(drop)
    }

    async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        kind: &str,
        manifest: &str,
    ) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send(Request::put(path).header(CONTENT_TYPE, kind), manifest.to_owned()).await.map(drop)
    }

    /// Sends a request in the name of [`USER`], and fails unless it succeeds.
    async fn send(&self, request: http::request::Builder, body: String) -> Result<Response<Body>> {
        let mut request = request;
        if self.access == Access::Password {
            request =
                request.header(AUTHORIZATION, format!("Basic {}", base64(&format!("{USER}:{PASSWORD}"))));
        }
        let request = request.body(Body::from(body.into_bytes()))?;
        let what = format!("{} {}", request.method(), request.uri());
        let response = self.client.send(request).await.with_context(|| what.clone())?;
        ensure!(response.status().is_success(), "{what}: {}", response.status());
        Ok(response)
    }

    async fn try_start(program: &Path, access: Access) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("k3k-registry-").tempdir()?;
        let [port] = free_ports()?;
        let authority = Authority::generate("registry-ca")?;
        let pair = authority.issue(&Leaf {
            common_name: "registry".into(),
            organizations: Vec::new(),
            dns_names: vec!["localhost".into()],
            ip_addresses: vec![LOOPBACK],
            usages: vec![Usage::Server],
            lifetime: Duration::from_secs(24 * 60 * 60),
        })?;
        let file = |name: &str| directory.path().join(name);
        fs::write(file("tls.crt"), &pair.certificate)?;
        fs::write(file("tls.key"), &pair.key)?;
        fs::write(file("htpasswd"), format!("{USER}:{HASH}\n"))?;
        fs::write(file("config.yml"), configuration(directory.path(), port, access).to_string())?;

        let mut config = Config::new(format!("https://127.0.0.1:{port}").parse()?);
        config.root_cert = Some(vec![der(authority.certificate_pem())?]);
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let log = file("registry.log");
        // It would send traces to whoever listens.
        let words = ["OTEL_TRACES_EXPORTER=none".into(), program.into(), "serve".into(), file("config.yml")];
        let process = Process::start(Path::new("/usr/bin/env"), words, &log, None)?;
        let mut registry =
            Self { process: Some(process), authority, client, access, port, _directory: directory };
        registry.wait_until_ready(&log).await?;
        Ok(registry)
    }

    async fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let client = self.client.clone();
        let ready = wait::until("the registry answers", async || {
            if self.process.as_mut().is_none_or(Process::has_ended) {
                bail!("the registry has ended");
            }
            let answer = client.send(Request::get("/v2/").body(Body::empty())?).await;
            let status = answer.map(|answer| answer.status());
            Ok(matches!(status, Ok(StatusCode::OK | StatusCode::UNAUTHORIZED)).then_some(()))
        });
        ready.await.with_context(|| tail(log))
    }
}

fn configuration(directory: &Path, port: u16, access: Access) -> Value {
    let file = |name: &str| directory.join(name);
    let mut configuration = json!({
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": file("data")}},
        "http": {
            "addr": format!("127.0.0.1:{port}"),
            "tls": {"certificate": file("tls.crt"), "key": file("tls.key")},
        },
    });
    if access == Access::Password {
        configuration["auth"] = json!({"htpasswd": {"realm": "test", "path": file("htpasswd")}});
    }
    configuration
}

/// The digest of this text, as registries write it.
fn digest(text: &str) -> String {
    use std::fmt::Write;
    Sha256::digest(text).iter().fold("sha256:".to_owned(), |mut digest, byte| {
        let _ = write!(digest, "{byte:02x}"); // a String takes anything
        digest
    })
}

fn der(pem: &str) -> Result<Vec<u8>> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    Ok(CertificateDer::from_pem_slice(pem.as_bytes())?.to_vec())
}
