//! How fast and how small k3k is, each figure beside what it is measured against, in one run on one machine.
//!
//! Run by `make bench`, inside the host's network. Absolute times say as much about the machine as about k3k; the ratios are
//! what counts.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k3k_api::v1beta1::Cluster;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, wait, watcher};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(300);
const NAMESPACE: &str = "k3k-bench";
const SERVER_IMAGE: &str = "rancher/k3s:v1.36.3-k3s1";
const POD_IMAGE: &str = "docker.io/library/busybox:1.36";

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (rounds, pods) = (number(5)?, number(20)?);
    let host = Client::try_default().await.context("no host: run `make bench`")?;
    let _ = Api::<Namespace>::all(host.clone())
        .create(&PostParams::default(), &object(json!({"metadata": {"name": NAMESPACE}}))?)
        .await;
    let result = Box::pin(measure(&host, rounds, pods)).await;
    Api::<Namespace>::all(host).delete(NAMESPACE, &DeleteParams::default()).await?;
    result
}

async fn measure(host: &Client, rounds: usize, pods: usize) -> Result<()> {
    let (mut bare, mut created) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        bare.push(Box::pin(bare_server(host, round)).await?);
        created.push(cluster(host, &format!("bench-{round}")).await?);
        if round + 1 < rounds {
            delete(&format!("bench-{round}")).await?;
        }
    }
    let last = format!("bench-{}", rounds.saturating_sub(1));
    println!("\nCluster usable (median of {rounds})");
    row("bare k3s server pod, API ready", median(&mut bare), None);
    row("kubectl k3k create, node Ready and kubeconfig used", median(&mut created), Some(median(&mut bare)));

    let nested = nested(&last).await?;
    let (mut on_host, mut inside) = (Vec::new(), Vec::new());
    for index in 0..pods {
        on_host.push(pod(host, NAMESPACE, index).await?);
        inside.push(pod(&nested, "default", index).await?);
    }
    println!("\nPod Running (median of {pods})");
    row("host pod", median(&mut on_host), None);
    row("nested pod", median(&mut inside), Some(median(&mut on_host)));

    println!("\nMemory, MiB resident (peak)");
    for name in ["k3k-controller", "k3k-kubelet", "k3k-webhook"] {
        for (now, peak) in memory(name)? {
            println!("  {name:<52} {now:>7.1} ({peak:.1})");
        }
    }
    delete(&last).await
}

fn object<T: k8s_openapi::serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

/// Time from asking for a pod with nothing but a k3s server to its API being ready.
async fn bare_server(host: &Client, round: usize) -> Result<Duration> {
    let name = format!("bare-{round}");
    let token = "bench-token";
    let api: Api<Pod> = Api::namespaced(host.clone(), NAMESPACE);
    let start = Instant::now();
    let pod = object(json!({"metadata": {"name": name}, "spec": {
        "automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "k3s", "image": SERVER_IMAGE,
            "args": ["server", "--disable-agent", "--disable=servicelb,traefik,metrics-server,local-storage", "--token", token],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        }],
    }}))?;
    api.create(&PostParams::default(), &pod).await?;
    let running = wait::await_condition(api.clone(), &name, |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref()?.pod_ip.as_ref()).is_some()
    });
    let pod = tokio::time::timeout(LIMIT, running).await??.context("the bare server pod went away")?;
    let ip = pod.status.and_then(|status| status.pod_ip).context("no address")?;
    let mut config = Config::new(format!("https://{ip}:6443").parse()?);
    config.accept_invalid_certs = true; // nothing is told to it, and what it says is only timed
    config.auth_info = AuthInfo {
        username: Some("node".into()),
        password: Some(token.to_owned().into()),
        ..AuthInfo::default()
    };
    config.default_retry = false;
    let server = Client::try_from(config)?;
    loop {
        let request = http::Request::get("/v1-k3s/readyz").body(Vec::new())?;
        if server.request_text(request).await.is_ok() {
            break;
        }
        if start.elapsed() > LIMIT {
            bail!("the bare server pod did not become ready");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let elapsed = start.elapsed();
    api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    Ok(elapsed)
}

/// Time from starting `kubectl k3k create` to having used the new cluster through its kubeconfig.
async fn cluster(host: &Client, name: &str) -> Result<Duration> {
    let start = Instant::now();
    let status = Command::new("kubectl-k3k")
        .args(["create", name, "--storage", "ephemeral", "--no-kubeconfig"])
        .stdout(Stdio::null())
        .status()
        .await?;
    if !status.success() {
        bail!("kubectl k3k create {name} failed");
    }
    let client = nested(name).await?;
    let nodes = Api::<k8s_openapi::api::core::v1::Node>::all(client).list(&ListParams::default()).await?;
    let ready = |node: &k8s_openapi::api::core::v1::Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    if !nodes.items.iter().any(ready) {
        bail!("{name} was called ready without a ready node");
    }
    let elapsed = start.elapsed();
    let made = Api::<Cluster>::namespaced(host.clone(), &format!("k3k-{name}")).get(name).await?;
    println!(
        "{name}: usable after {:.2} s, phase {:?}",
        elapsed.as_secs_f64(),
        made.status.map(|status| status.phase)
    );
    Ok(elapsed)
}

async fn delete(name: &str) -> Result<()> {
    let status = Command::new("kubectl-k3k")
        .args(["delete", name, "--yes"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await?;
    if status.success() { Ok(()) } else { bail!("kubectl k3k delete {name} failed") }
}

async fn nested(name: &str) -> Result<Client> {
    let output = Command::new("kubectl-k3k").args(["kubeconfig", "get", name]).output().await?;
    let kubeconfig = Kubeconfig::from_yaml(&String::from_utf8(output.stdout)?)?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
}

/// Time from asking for a pod to seeing it Running.
async fn pod(client: &Client, namespace: &str, index: usize) -> Result<Duration> {
    let name = format!("bench-{index}");
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    // The watch runs before the clock does.
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = watcher(api.clone(), config).touched_objects().boxed();
    let poll = tokio::time::timeout(Duration::from_millis(100), changes.try_next()).await;
    if let Ok(Ok(Some(_))) = poll {
        bail!("a pod {name} is there already");
    }
    let start = Instant::now();
    let pod = object(json!({"metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": POD_IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"]}],
    }}))?;
    api.create(&PostParams::default(), &pod).await?;
    loop {
        let pod = tokio::time::timeout(LIMIT, changes.try_next()).await??.context("the watch ended")?;
        if pod.status.and_then(|status| status.phase).as_deref() == Some("Running") {
            break;
        }
    }
    let elapsed = start.elapsed();
    api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    Ok(elapsed)
}

/// Resident memory, now and at its peak, of every process called `name`, in MiB.
fn memory(name: &str) -> Result<Vec<(f64, f64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let field = |key: &str| {
            status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
        };
        if field("Name") != name.get(..name.len().min(15)) {
            continue;
        }
        let mib = |key: &str| {
            let kib = field(key).and_then(|text| text.trim_end_matches(" kB").parse::<u32>().ok());
            kib.map(|kib| f64::from(kib) / 1024.0)
        };
        found.extend(mib("VmRSS").zip(mib("VmHWM")));
    }
    Ok(found)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn row(what: &str, time: Duration, against: Option<Duration>) {
    let ratio =
        against.filter(|time| !time.is_zero()).map(|against| time.as_secs_f64() / against.as_secs_f64());
    let ratio = ratio.map(|ratio| format!("  × {ratio:.2}")).unwrap_or_default();
    println!("  {what:<52} {:>7.2} s{ratio}", time.as_secs_f64());
}
