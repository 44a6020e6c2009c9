//! Several servers: no acknowledged write is lost, whatever happens to them one after the other or all at once, and none begins a second cluster.

use anyhow::{Context, Result, ensure};
use k3k_tests::lab::{client, crash, enter_network};
use k3k_tests::nested::{NestedCluster, eventually};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const SERVERS: &str = "role=server";

/// The Cluster's status.
fn status(cluster: &NestedCluster) -> Result<Value> {
    let object: Value =
        serde_json::from_str(&cluster.on_host(&["get", "clusters.k3k.io", &cluster.name, "-o", "json"])?)?;
    Ok(object["status"].clone())
}

fn etcd_ready(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == "EtcdReady")
}

/// Waits until `count` servers are ready and vote, and returns the cluster's etcd as its status has it.
fn until_healthy(cluster: &NestedCluster, count: usize) -> Result<Value> {
    let pods = || -> Result<usize> {
        let pods = cluster.on_host(&["get", "pods", "-l", SERVERS, "-o", "json"])?;
        let pods: Value = serde_json::from_str(&pods)?;
        let ready = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
            pod["metadata"]["deletionTimestamp"].is_null() && ready.any(|ready| ready["status"] == "True")
        };
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        Ok(if pods.len() == count { pods.iter().filter(ready).count() } else { usize::MAX })
    };
    let ask = || Ok((status(cluster)?, pods()?));
    let healthy = |(status, ready): &(Value, usize)| {
        let members = status["etcd"]["members"].as_array().map_or(0, Vec::len);
        let condition = etcd_ready(status);
        *ready == count
            && members == count
            && condition.is_some_and(|condition| condition["status"] == "True")
    };
    let (status, _) = eventually(&format!("{count} servers vote"), ask, healthy)?;
    Ok(status["etcd"].clone())
}

fn server(cluster: &NestedCluster, ordinal: usize) -> String {
    format!("k3k-{}-server-{ordinal}", cluster.name)
}

/// Writes without a pause, and notes what was acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<BTreeSet<String>>>,
}

impl Writer {
    fn start(cluster: &NestedCluster, prefix: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, kubeconfig) = (stop.clone(), cluster.kubeconfig().to_path_buf());
        let thread = std::thread::spawn(move || {
            enter_network()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(write(kubeconfig, prefix, stopped))
        });
        Self { stop, thread }
    }

    fn finish(self) -> Result<BTreeSet<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?
    }
}

async fn write(kubeconfig: PathBuf, prefix: &str, stop: Arc<AtomicBool>) -> Result<BTreeSet<String>> {
    let mut maps: Api<ConfigMap> = Api::default_namespaced(client(&kubeconfig).await?);
    let mut acknowledged = BTreeSet::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let name = format!("{prefix}-{number:06}");
        let map = serde_json::from_value(json!({"metadata": {"name": name}, "data": {"number": name}}))?;
        if maps.create(&PostParams::default(), &map).await.is_ok() {
            acknowledged.insert(name);
        } else {
            // What was not acknowledged may be there or not. The next connection may meet another server.
            maps = Api::default_namespaced(client(&kubeconfig).await?);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(acknowledged)
}

/// All ConfigMaps that there are.
fn stored(cluster: &NestedCluster) -> Result<BTreeSet<String>> {
    let kubeconfig = cluster.kubeconfig().to_path_buf();
    let read = std::thread::spawn(move || -> Result<BTreeSet<String>> {
        enter_network()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let maps: Api<ConfigMap> = Api::default_namespaced(client(&kubeconfig).await?);
            let all = maps.list(&ListParams::default()).await?;
            Ok(all.items.into_iter().filter_map(|map| map.metadata.name).collect())
        })
    });
    read.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
}

/// All that was acknowledged is there.
fn ensure_kept(cluster: &NestedCluster, acknowledged: &BTreeSet<String>) -> Result<()> {
    // Whether somebody answers is asked elsewhere; here it is what.
    let there = eventually("somebody answers", || stored(cluster), |_| true)?;
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    ensure!(
        lost.is_empty(),
        "{} of {} acknowledged writes are lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    Ok(())
}

fn id<'a>(etcd: &'a Value, pod: &str) -> Option<&'a str> {
    etcd["members"].as_array()?.iter().find(|member| member["server"] == pod)?["id"].as_str()
}

#[test]
#[ignore = "needs the lab: make test"]
#[allow(clippy::print_stdout, reason = "how much was tried")]
fn three_servers_lose_nothing() -> Result<()> {
    let cluster = NestedCluster::create_with("three", &["--servers", "3"])?;
    let etcd = until_healthy(&cluster, 3)?;
    let (namespace, container) = (cluster.namespace(), format!("k3k-{}-server", cluster.name));

    // Each in turn, under writes.
    let writer = Writer::start(&cluster, "turn");
    for ordinal in 0..3 {
        crash(&["container", &namespace, &server(&cluster, ordinal), &container])?;
        // The status says so when somebody has looked; until then it speaks of what was.
        std::thread::sleep(Duration::from_secs(3));
        until_healthy(&cluster, 3).with_context(|| format!("server {ordinal} was killed"))?;
    }
    let mut acknowledged = writer.finish()?;
    println!("{} writes were acknowledged while each server was killed", acknowledged.len());
    ensure!(acknowledged.len() > 20, "only {} writes went through", acknowledged.len());
    ensure_kept(&cluster, &acknowledged)?;

    // All at once: none has the address any more that it had.
    let writer = Writer::start(&cluster, "once");
    eventually(
        "something is written",
        || cluster.run(&["get", "configmaps", "-o", "name"]),
        |names| names.contains("once-"),
    )?;
    cluster.on_host(&["delete", "pods", "-l", SERVERS, "--force", "--grace-period=0"])?;
    let after = until_healthy(&cluster, 3).context("all servers were deleted at once")?;
    acknowledged.extend(writer.finish()?);
    println!("{} writes were acknowledged by then", acknowledged.len());
    ensure!(after == etcd, "the members are others: {etcd} and {after}");
    ensure_kept(&cluster, &acknowledged)?;

    // The first server loses its volume.
    let claim = format!("varlibrancherk3s-{}", server(&cluster, 0));
    cluster.on_host(&["delete", "pvc", &claim, "--wait=false"])?;
    cluster.on_host(&["delete", "pod", &server(&cluster, 0), "--wait=false"])?;
    let is_another = |etcd: &Value| {
        id(etcd, &server(&cluster, 0)).is_some_and(|now| Some(now) != id(&after, &server(&cluster, 0)))
    };
    eventually("the first server is another member", || Ok(status(&cluster)?["etcd"].clone()), is_another)?;
    let rejoined = until_healthy(&cluster, 3).context("the first server lost its volume")?;
    ensure!(rejoined["clusterID"] == etcd["clusterID"], "it began a cluster of its own: {rejoined}");
    ensure_kept(&cluster, &acknowledged)?;

    // Fewer, and more again.
    let scale = |servers: u32| {
        let patch = json!({"spec": {"servers": servers}}).to_string();
        cluster.on_host(&["patch", "clusters.k3k.io", &cluster.name, "--type=merge", "-p", &patch])
    };
    scale(1)?;
    let one = until_healthy(&cluster, 1).context("servers: 1")?;
    ensure!(one["clusterID"] == etcd["clusterID"], "{one}");
    ensure_kept(&cluster, &acknowledged)?;
    scale(3)?;
    until_healthy(&cluster, 3).context("servers: 3 again")?;
    ensure_kept(&cluster, &acknowledged)?;

    cluster.delete()?;
    let left =
        cluster.on_host(&["get", "statefulsets,pods,pvc,pdb,services", "-l", "cluster=three", "-o", "name"]);
    ensure!(left.as_ref().map_or(true, String::is_empty), "left over: {left:?}");
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn one_server_becomes_three_with_what_it_has_stored() -> Result<()> {
    let cluster = NestedCluster::create_with("grows", &["--servers", "1"])?;
    cluster.run(&["create", "configmap", "kept", "--from-literal=a=b"])?;
    let patch = json!({"spec": {"servers": 3}}).to_string();
    cluster.on_host(&["patch", "clusters.k3k.io", &cluster.name, "--type=merge", "-p", &patch])?;
    until_healthy(&cluster, 3)?;
    ensure_kept(&cluster, &BTreeSet::from(["kept".to_owned()]))
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_server_whose_data_went_with_its_pod_joins_again() -> Result<()> {
    let cluster = NestedCluster::create_with("fleeting", &["--servers", "3", "--storage", "ephemeral"])?;
    let etcd = until_healthy(&cluster, 3)?;
    let writer = Writer::start(&cluster, "fleeting");
    for ordinal in [0, 2] {
        let pod = server(&cluster, ordinal);
        cluster.on_host(&["delete", "pod", &pod, "--wait=false"])?;
        let is_another = |now: &Value| id(now, &pod).is_some_and(|now| Some(now) != id(&etcd, &pod));
        eventually("it is another member", || Ok(status(&cluster)?["etcd"].clone()), is_another)?;
        let now = until_healthy(&cluster, 3)?;
        ensure!(now["clusterID"] == etcd["clusterID"], "it began a cluster of its own: {now}");
    }
    ensure_kept(&cluster, &writer.finish()?)
}
