//! A cluster that is paused and goes on: nothing that it stored is lost, what ran runs again, and what was done is not done twice.

use anyhow::{Context, Result, ensure};
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::{Value, json};

const IMAGE: &str = "docker.io/library/busybox:1.36";
/// Of the host's pods those that hold or may hold something that runs.
const RUNNING: &str = "--field-selector=status.phase!=Succeeded,status.phase!=Failed";

fn pod_spec(restart: &str, command: &Value) -> Value {
    json!({
        "restartPolicy": restart, "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": IMAGE, "command": command}],
    })
}

fn workload() -> Value {
    let sleep = json!(["sleep", "3600"]);
    let web = json!({"app": "web"});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"word": "same"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": web},
            "template": {"metadata": {"labels": web}, "spec": pod_spec("Always", &sleep)},
        }},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": pod_spec("Always", &sleep)},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "once"}, "spec": pod_spec("Never", &sleep)},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "done"}, "spec": {
            "template": {"spec": pod_spec("Never", &json!(["true"]))},
        }},
    ]})
}

fn k3k(arguments: &[&str]) -> Result<String> {
    succeed(in_host("kubectl").arg("k3k").args(arguments))
}

fn json_of(text: &str) -> Result<Value> {
    Ok(serde_json::from_str(text)?)
}

/// The nested pods of `default`: name, UID, phase and reason, those whose names begin so.
fn nested(cluster: &NestedCluster, prefix: &str) -> Result<Vec<(String, String, String, String)>> {
    let pods = json_of(&cluster.run(&["get", "pods", "-o", "json"])?)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let of = |pod: &Value| {
        let (metadata, status) = (&pod["metadata"], &pod["status"]);
        (text(&metadata["name"]), text(&metadata["uid"]), text(&status["phase"]), text(&status["reason"]))
    };
    let mut pods: Vec<_> = pods.iter().map(of).filter(|(name, ..)| name.starts_with(prefix)).collect();
    pods.sort();
    Ok(pods)
}

/// The host pod of the nested pod `bare`: its UID, and how often its container was started again.
fn host_pod_of_bare(cluster: &NestedCluster) -> Result<(String, i64)> {
    let pods = json_of(&cluster.on_host(&["get", "pods", "-o", "json"])?)?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let bare = pods.iter().find(|pod| pod["metadata"]["annotations"]["k3k.io/name"] == "bare");
    let bare = bare.context("no host pod of bare")?;
    let uid = bare["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    Ok((uid, bare["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1)))
}

fn cluster_object(cluster: &NestedCluster) -> Result<Value> {
    json_of(&cluster.on_host(&["get", "clusters.k3k.io", &cluster.name, "-o", "json"])?)
}

fn until_all_run(cluster: &NestedCluster) -> Result<()> {
    cluster.run(&["rollout", "status", "deployment/web", "--timeout=240s"])?;
    cluster.until_ready("bare")?;
    cluster.run(&["wait", "job/done", "--for=condition=Complete", "--timeout=240s"]).map(drop)
}

fn nothing_left(cluster: &NestedCluster) -> Result<()> {
    let selector = format!("cluster={}", cluster.name);
    let kinds = "statefulsets,deployments,pods,pvc,services,secrets";
    // The namespace goes as well, and with it the question.
    let left = cluster.on_host(&["get", kinds, "-l", &selector, "-o", "name"]);
    ensure!(left.as_ref().map_or(true, String::is_empty), "left over: {left:?}");
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_pause_is_like_a_night() -> Result<()> {
    let cluster = NestedCluster::create_with("night", &[])?;
    cluster.apply(&workload())?;
    until_all_run(&cluster)?;
    cluster.until_ready("once")?;
    let (web, bare, job) = (nested(&cluster, "web")?, nested(&cluster, "bare")?, nested(&cluster, "done")?);
    ensure!(web.len() == 2 && job.len() == 1, "{web:?} {job:?}");
    let endpoint = cluster_object(&cluster)?["status"]["endpoint"].clone();
    let before = host_pod_of_bare(&cluster)?;

    // All of it stops, and says so.
    k3k(&["pause", &cluster.name])?;
    let running = cluster.on_host(&["get", "pods", RUNNING, "-o", "name"])?;
    ensure!(running.is_empty(), "something still runs: {running}");
    let paused = cluster_object(&cluster)?;
    ensure!(paused["status"]["endpoint"] == endpoint, "the endpoint has changed: {}", paused["status"]);
    ensure!(k3k(&["get", &cluster.name])?.contains("Paused"), "get does not say it");
    ensure!(k3k(&["describe", &cluster.name])?.contains(&format!("k3k resume {}", cluster.name)));
    let refused = k3k(&["kubectl", &cluster.name, "--", "get", "nodes"]);
    let refused = format!("{:#}", refused.err().context("the API of a paused cluster answers")?);
    ensure!(refused.contains("is paused"), "{refused}");
    k3k(&["pause", &cluster.name]).context("once more")?;
    let running = cluster.on_host(&["get", "pods", RUNNING, "-o", "name"])?;
    ensure!(running.is_empty(), "something runs again: {running}");

    // And goes on.
    k3k(&["resume", &cluster.name])?;
    k3k(&["resume", &cluster.name]).context("once more")?;
    let another = |(uid, _): &(String, i64)| *uid != before.0;
    eventually("the bare pod runs again", || host_pod_of_bare(&cluster), another)?;
    until_all_run(&cluster)?;
    let word = cluster.run(&["get", "configmap", "kept", "-o", "jsonpath={.data.word}"])?;
    ensure!(word == "same", "{word}");
    let uids = |pods: &[(String, String, String, String)]| -> Vec<String> {
        pods.iter().map(|(_, uid, ..)| uid.clone()).collect()
    };
    ensure!(uids(&nested(&cluster, "web")?) == uids(&web), "the Deployment's pods are others");
    ensure!(uids(&nested(&cluster, "bare")?) == uids(&bare), "the bare pod is another");
    let job_now = nested(&cluster, "done")?;
    ensure!(job_now == job, "the Job did not stay done: {job:?}, now {job_now:?}");
    // What may not run twice does not, and says why.
    let failed = |pods: &Vec<(String, String, String, String)>| {
        pods.iter().all(|(_, _, phase, reason)| phase == "Failed" && reason == "Terminated")
    };
    eventually("the pod that may run once has failed", || nested(&cluster, "once"), failed)?;

    // Its pods may run on.
    let before = host_pod_of_bare(&cluster)?;
    k3k(&["pause", &cluster.name, "--keep-pods"])?;
    let ours = cluster.on_host(&["get", "pods", "-l", "k3k.io/component", "-o", "name"])?;
    ensure!(ours.is_empty(), "something of the cluster still runs: {ours}");
    ensure!(host_pod_of_bare(&cluster)? == before, "the pod was touched");
    k3k(&["resume", &cluster.name])?;
    until_all_run(&cluster)?;
    ensure!(host_pod_of_bare(&cluster)? == before, "the pod was touched after the pause");
    ensure!(uids(&nested(&cluster, "bare")?) == uids(&bare), "the bare pod is another");

    // And it ends from there.
    k3k(&["pause", &cluster.name, "--keep-pods"])?;
    cluster.delete()?;
    nothing_left(&cluster)
}

#[test]
#[ignore = "needs the lab: make test"]
fn what_would_lose_its_state_is_not_paused() -> Result<()> {
    let cluster = NestedCluster::create("fleeting-pause")?;
    let refused = k3k(&["pause", &cluster.name]);
    let refused = format!("{:#}", refused.err().context("it was paused")?);
    ensure!(refused.contains("ephemeral"), "{refused}");
    let patch = json!({"spec": {"pause": {}}}).to_string();
    cluster.on_host(&["patch", "clusters.k3k.io", &cluster.name, "--type=merge", "-p", &patch])?;
    let is_told = |cluster: &Value| {
        let mut conditions = cluster["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Paused" && condition["reason"] == "PauseRefused")
    };
    eventually("the refusal is told", || cluster_object(&cluster), is_told)?;
    cluster.run(&["get", "nodes"]).context("it does not run on").map(drop)
}

#[test]
#[ignore = "needs the lab: make test"]
fn several_servers_come_back_as_they_were() -> Result<()> {
    let cluster = NestedCluster::create_with("crew", &["--servers", "3"])?;
    let healthy = |cluster: &Value| {
        let mut conditions = cluster["status"]["conditions"].as_array().into_iter().flatten();
        let etcd = conditions.find(|condition| condition["type"] == "EtcdReady");
        etcd.is_some_and(|condition| condition["status"] == "True")
            && cluster["status"]["etcd"]["members"].as_array().map_or(0, Vec::len) == 3
    };
    let etcd =
        eventually("three servers vote", || cluster_object(&cluster), healthy)?["status"]["etcd"].clone();
    // Servers that have just joined come and go for a moment more.
    let kept = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"word": "same"}});
    eventually("something is stored", || cluster.apply(&kept), |()| true)?;
    k3k(&["pause", &cluster.name])?;
    let pods = cluster.on_host(&["get", "pods", RUNNING, "-o", "name"])?;
    ensure!(pods.is_empty(), "something still runs: {pods}");
    let claims = cluster.on_host(&["get", "pvc", "-o", "name"])?;
    ensure!(claims.lines().count() == 3, "volumes are gone: {claims}");
    ensure!(cluster_object(&cluster)?["status"]["etcd"] == etcd, "members have changed");
    k3k(&["resume", &cluster.name])?;
    let after = eventually("three servers vote again", || cluster_object(&cluster), healthy)?;
    ensure!(
        after["status"]["etcd"] == etcd,
        "the members are others: {etcd} and {}",
        after["status"]["etcd"]
    );
    let word = || cluster.run(&["get", "configmap", "kept", "-o", "jsonpath={.data.word}"]);
    eventually("what was stored is there", word, |word| word == "same")?;
    k3k(&["pause", &cluster.name])?;
    cluster.delete()?;
    nothing_left(&cluster)
}
