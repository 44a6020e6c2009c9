//! How fast the webhook decides, and how small it stays, with 200 policies and 1,000 namespaces: over TLS and HTTP/1.1 as an API server asks,
//! and in process. `make bench-webhook`. Needs the released binary and a kube-apiserver; no lab.

#![expect(clippy::print_stdout, reason = "a bench prints")]

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k3k_api::labels;
use k3k_policy::{Facts, Governing, Policy, Requester};
use k3k_tests::{ApiServer, chart, workspace};
use k3k_webhook::decision::{self, Phase, Resolved};
use k3k_webhook::review;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SYSTEM: &str = "k3k-system";
const ACCOUNT: &str = "system:serviceaccount:k3k-system:k3k-webhook";
const POLICIES: usize = 200;
const NAMESPACES: usize = 1000;
/// Connections, as a few API servers keep.
const CONNECTIONS: usize = 16;
/// Requests per second of the measured rate, and for how long.
const RATE: u32 = 1000;
const MEASURED: Duration = Duration::from_secs(20);

struct Webhook(Child);

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let program = workspace::path("target/x86_64-unknown-linux-gnu/release/k3k-webhook");
    ensure!(program.exists(), "{} is missing: make image", program.display());
    in_process("typical", 9, "")?;
    in_process("large", 40, " (bar 100 µs)")?;

    let server = chart::host(SYSTEM).await?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let admin = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    prepare(&server, port).await?;
    let webhook = Webhook(
        Command::new(&program)
            .args([format!("--address=127.0.0.1:{port}"), format!("--admin-address=127.0.0.1:{admin}")])
            .args([
                "--namespace=k3k-system",
                "--identity=bench",
                "--serving-name=localhost",
                "--log-level=warn",
            ])
            .env("KUBECONFIG", server.kubeconfig(ACCOUNT, None)?)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?,
    );
    let client = server.client().await?;
    let connector = connector(&client).await?;
    until_ready(admin).await?;

    let requests: Arc<Vec<Vec<u8>>> = Arc::new((0..NAMESPACES).map(|number| request(number, 4)).collect());
    run(&connector, port, &requests, Pace::Free(Duration::from_secs(3))).await?; // warm
    let pid = webhook.0.id();
    let paced = run(&connector, port, &requests, Pace::Rate(RATE, MEASURED)).await?;
    report(&format!("review over TLS at {RATE} requests/s"), paced);
    let (before, started) = (cpu(pid)?, Instant::now());
    let free = run(&connector, port, &requests, Pace::Free(MEASURED)).await?;
    let (took, used) = (started.elapsed(), cpu(pid)?.saturating_sub(before));
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let count = free.len() as f64;
    println!(
        "as fast as it can: {:.0} requests/s, {:.0} per second of one core (bar 5000)",
        count / took.as_secs_f64(),
        count / used.as_secs_f64()
    );
    println!(
        "resident with {POLICIES} policies and {NAMESPACES} namespaces: {} MiB at most (bar 30)",
        peak(pid)? / 1024
    );
    Ok(())
}

/// A decision without a network: a pod, read and judged.
fn in_process(what: &str, containers: usize, bar: &str) -> Result<()> {
    let body = request(0, containers);
    let start = body.windows(4).position(|four| four == b"\r\n\r\n").context("no body")? + 4;
    let body = &body[start..];
    let policy = Policy::compile("bench-0", 1, serde_json::from_value(spec(0))?)?;
    let governing = Governing::Named(Arc::new(policy));
    let request = review::parse(body)?;
    let mut objects = decision::read(&request).map_err(|_| anyhow::anyhow!("not read"))?;
    let mut times = Vec::new();
    let mut reads = Vec::new();
    for _ in 0..2000 {
        let started = Instant::now();
        let request = review::parse(body)?;
        std::hint::black_box(decision::read(&request).is_ok());
        reads.push(started.elapsed());
        let started = Instant::now();
        let facts = Facts::new(&governing, Timestamp::UNIX_EPOCH);
        let decided = decision::decide(
            &request,
            &mut objects,
            &Requester::Other,
            &facts,
            Phase::Validate,
            &Resolved::default(),
        );
        times.push(started.elapsed());
        ensure!(decided.is_allowed(), "{:?}", decided.violations());
    }
    report(
        &format!(
            "decision of a {what} pod ({} KiB, {containers} containers), read before{bar}",
            body.len() / 1024
        ),
        times,
    );
    report("reading it, strictly", reads);
    Ok(())
}

fn spec(number: usize) -> Value {
    json!({
        "podSecurityAdmissionLevel": "restricted",
        "images": {
            "digest": "Require", "pullPolicy": "Always",
            "allowedRegistries": [{"host": "registry.example.com", "repositories": [format!("team-{number}/**"), "shared/**"]}],
        },
        "nodes": {"placement": "Dedicated", "requiredSelector": {"k3k.node-restriction.kubernetes.io/tenant": format!("t{number}")},
            "tolerations": {"allowed": [{"key": "nvidia.com/gpu"}]}, "topologyKeys": ["kubernetes.io/hostname"]},
        "resources": {"perPod": {"max": {"cpu": "64", "memory": "256Gi"}, "maxContainers": 100}, "containers": {"require": ["Requests", "MemoryLimit"]}, "extended": []},
        "workloads": {"priorityClasses": ["low"], "maxTerminationGracePeriodSeconds": 600, "allowedLabels": ["*"]},
        "network": {"services": {"types": ["ClusterIP"]}, "ingresses": {"hosts": ["*.a.example"]}},
        "enforcement": {"rules": [{"name": "workloads", "mode": "Warn"}]},
    })
}

/// One whole HTTP request with the review of a pod of `containers` containers in the namespace `number`.
fn request(number: usize, containers: usize) -> Vec<u8> {
    let policy = number % POLICIES;
    let container = |index: usize| {
        let env: Vec<Value> =
            (0..8).map(|at| json!({"name": format!("SETTING_{at}"), "value": "some value of the usual length of a setting"})).collect();
        json!({
            "name": format!("c{index}"), "imagePullPolicy": "Always", "env": env,
            "image": format!("registry.example.com/team-{policy}/app:1.2.3@sha256:{}", "0123456789abcdef".repeat(4)),
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}], "ports": [{"containerPort": 8080}],
            "livenessProbe": {"httpGet": {"path": "/", "port": 8080}},
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "web"}},
        "spec": {
            "nodeSelector": {"k3k.node-restriction.kubernetes.io/tenant": format!("t{policy}")},
            "containers": (0..containers).map(container).collect::<Vec<_>>(), "volumes": [{"name": "data", "emptyDir": {}}],
            "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30,
        },
    });
    let body = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "0b6f3d3e-6a1c-4ad7-9d6b-0f4b64c6e0a1", "operation": "CREATE", "name": "p", "namespace": format!("bench-{number}"),
            "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
            "userInfo": {"username": "jane", "groups": ["system:authenticated"]}, "object": pod, "oldObject": null,
        },
    })
    .to_string();
    let head = format!(
        "POST /validate?timeout=5s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

async fn prepare(server: &ApiServer, port: u16) -> Result<()> {
    let mut objects = chart::objects_with_webhook_at(SYSTEM, port)?;
    for object in &mut objects {
        for webhook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
            // Nobody answers yet.
            webhook["failurePolicy"] = "Ignore".into();
        }
    }
    chart::apply(server, &objects)?;
    let client = server.client().await?;
    let api = |group: &str, version: &str, kind: &str| -> Api<DynamicObject> {
        Api::all_with(client.clone(), &ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)))
    };
    let policies = Api::<k3k_api::v1beta1::VirtualClusterPolicy>::all(client.clone());
    for number in 0..POLICIES {
        let policy = json!({"apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy",
            "metadata": {"name": format!("bench-{number}")}, "spec": spec(number)});
        policies.create(&PostParams::default(), &serde_json::from_value(policy)?).await?;
    }
    let namespaces = api("", "v1", "Namespace");
    for number in 0..NAMESPACES {
        let labels = json!({labels::CLUSTER_NAMESPACE: "true", labels::POLICY_NAME: format!("bench-{}", number % POLICIES)});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("bench-{number}"), "labels": labels}});
        namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
    }
    Ok(())
}

/// Believes in the authority that the webhook makes for itself.
async fn connector(client: &Client) -> Result<TlsConnector> {
    let secrets = Api::<Secret>::namespaced(client.clone(), SYSTEM);
    let authority = k3k_tests::wait::until("there is a certificate", async || {
        let data = secrets.get("k3k-webhook-tls").await?.data.unwrap_or_default();
        Ok(data.get("ca.crt").map(|bytes| bytes.0.clone()))
    })
    .await?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&authority) {
        roots.add(certificate?)?;
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn until_ready(admin: u16) -> Result<()> {
    k3k_tests::wait::until("the webhook is ready", async || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", admin)).await else { return Ok(None) };
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.starts_with("HTTP/1.1 200").then_some(()))
    })
    .await
}

#[derive(Clone, Copy)]
enum Pace {
    /// As soon as the last answer is there.
    Free(Duration),
    /// So many per second, whether answers come or not: who waits for an earlier answer counts as late.
    Rate(u32, Duration),
}

async fn run(
    connector: &TlsConnector,
    port: u16,
    requests: &Arc<Vec<Vec<u8>>>,
    pace: Pace,
) -> Result<Vec<Duration>> {
    let mut tasks = tokio::task::JoinSet::new();
    let started = Instant::now() + Duration::from_millis(100);
    for number in 0..CONNECTIONS {
        let (connector, requests) = (connector.clone(), requests.clone());
        tasks.spawn(async move { connection(&connector, port, &requests, pace, number, started).await });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

async fn connection(
    connector: &TlsConnector,
    port: u16,
    requests: &[Vec<u8>],
    pace: Pace,
    number: usize,
    started: Instant,
) -> Result<Vec<Duration>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(connector.connect(ServerName::try_from("localhost")?, stream).await?);
    let mut times = Vec::new();
    let mut buffer = Vec::new();
    for turn in 0.. {
        let due = match pace {
            Pace::Free(end) if started.elapsed() >= end => break,
            Pace::Free(_) => Instant::now(),
            Pace::Rate(rate, end) => {
                let due =
                    started + Duration::from_secs(1) / rate * u32::try_from(turn * CONNECTIONS + number)?;
                if due.duration_since(started) >= end {
                    break;
                }
                let is_free = Instant::now() <= due;
                tokio::time::sleep_until(due.into()).await;
                // Timers here are a millisecond late at times, which is not the webhook's doing.
                if is_free { Instant::now() } else { due }
            }
        };
        let request = &requests[(turn * CONNECTIONS + number) % requests.len()];
        stream.get_mut().write_all(request).await?;
        answer(&mut stream, &mut buffer).await?;
        times.push(due.elapsed());
    }
    Ok(times)
}

async fn answer(stream: &mut BufReader<TlsStream<TcpStream>>, buffer: &mut Vec<u8>) -> Result<()> {
    let (mut length, mut line) = (0, String::new());
    stream.read_line(&mut line).await?;
    ensure!(line.starts_with("HTTP/1.1 200"), "{line}");
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        if line == "\r\n" {
            break;
        }
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse()?;
        }
    }
    buffer.resize(length, 0);
    stream.read_exact(buffer).await?;
    ensure!(
        buffer.windows(14).any(|part| part == b"\"allowed\":true"),
        "{}",
        String::from_utf8_lossy(buffer)
    );
    Ok(())
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| {
        times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    };
    println!("{what}: p50 {:?}, p99 {:?}, most {:?}, of {}", at(50), at(99), at(100), times.len());
}

/// Time that a process has used.
fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit(") ").next().context("stat")?;
    let fields: Vec<&str> = after.split(' ').collect();
    let ticks: u64 =
        fields.get(11).context("utime")?.parse::<u64>()? + fields.get(12).context("stime")?.parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// The most memory that a process has had, in KiB.
fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
