//! How fast and how small k3k is, each figure beside what it is measured against, in one run on one machine.
//!
//! Run by `make bench`, inside the host's network. Absolute times say as much about the machine as about k3k; the ratios are
//! what counts.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

mod cluster;
mod footprint;
mod pods;

use anyhow::{Context, Result};
use footprint::Footprint;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(300);
const NAMESPACE: &str = "k3k-bench";
/// After a burst of work, for what it left behind to be done.
const SETTLE: Duration = Duration::from_secs(15);
/// After a crowd of pods: the nodes' kubelets look at each of them again within a minute or two, and clear away what is left of those
/// that have gone; good news is retold little by little.
const CALM: Duration = Duration::from_secs(180);

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (rounds, pods, crowd) = (number(5)?, number(20)?, number(200)?);
    let host = Client::try_default().await.context("no host: run `make bench`")?;
    let _ = Api::<Namespace>::all(host.clone())
        .create(&PostParams::default(), &object(json!({"metadata": {"name": NAMESPACE}}))?)
        .await;
    let result = Box::pin(measure(&host, rounds, pods, crowd)).await;
    Api::<Namespace>::all(host).delete(NAMESPACE, &DeleteParams::default()).await?;
    result
}

async fn measure(host: &Client, rounds: usize, pods: usize, crowd: usize) -> Result<()> {
    let (mut bare, mut created) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        bare.push(Box::pin(cluster::bare_server(host, round)).await?);
        created.push(cluster::create(host, &format!("bench-{round}")).await?);
        if round + 1 < rounds {
            cluster::delete(&format!("bench-{round}")).await?;
        }
    }
    let last = format!("bench-{}", rounds.saturating_sub(1));
    println!("\nCluster usable (median of {rounds})");
    row("bare k3s server pod, API ready", median(&mut bare), None, "");
    let what = "kubectl k3k create, node Ready and kubeconfig used";
    row(what, median(&mut created), Some(median(&mut bare)), "");

    let nested = cluster::nested(&last).await?;
    let (mut on_host, mut inside) = (Vec::new(), Vec::new());
    for index in 0..pods {
        on_host.push(pods::one(host, NAMESPACE, index).await?);
        inside.push(pods::one(&nested, "default", index).await?);
    }
    println!("\nPod Running (median of {pods})");
    row("host pod", median(&mut on_host), None, "");
    row("nested pod", median(&mut inside), Some(median(&mut on_host)), "≤ 1.15");

    let namespace = format!("k3k-{last}");
    tokio::time::sleep(SETTLE).await;
    footprints("without pods", &idle(host, &namespace).await?);

    let beside = pods::crowd(host, NAMESPACE, crowd).await?;
    pods::disperse(host, NAMESPACE).await?;
    tokio::time::sleep(CALM).await;
    let within = pods::crowd(&nested, "default", crowd).await?;
    println!("\n{crowd} pods at once, until the last is Running");
    row("host pods", beside, None, "");
    row("nested pods", within, Some(beside), "≤ 1.2");
    tokio::time::sleep(CALM).await;
    footprints(&format!("with {crowd} pods"), &idle(host, &namespace).await?);
    pods::disperse(&nested, "default").await?;
    cluster::delete(&last).await
}

/// What k3k's processes use while nothing happens: those of all clusters, and those of one.
async fn idle(host: &Client, namespace: &str) -> Result<Vec<Footprint>> {
    let mut ours = footprint::processes(host, "k3k-system").await?;
    ours.extend(footprint::processes(host, namespace).await?);
    footprint::idle(&ours).await
}

fn footprints(when: &str, all: &[Footprint]) {
    println!("\nIdle for a minute, {when}: MiB resident (peak), millicores");
    for Footprint { program, resident, peak, millicores } in all {
        let bars = if program == "k3k-kubelet" { "  bars: ≤ 25 MiB, ≤ 2 m" } else { "" };
        println!("  {program:<52} {resident:>7.1} ({peak:.1}) {millicores:>6.2} m{bars}");
    }
}

fn object<T: k8s_openapi::serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A line with its ratio to what it is measured against, and the bar for that.
fn row(what: &str, time: Duration, against: Option<Duration>, bar: &str) {
    let ratio =
        against.filter(|time| !time.is_zero()).map(|against| time.as_secs_f64() / against.as_secs_f64());
    let ratio = ratio.map(|ratio| format!("  × {ratio:.2}")).unwrap_or_default();
    let bar = if bar.is_empty() { String::new() } else { format!("  bar: {bar}") };
    println!("  {what:<52} {:>7.2} s{ratio}{bar}", time.as_secs_f64());
}
