//! From one version of K3s to the next: nothing is lost, somebody always answers, and what does not start is taken back.

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt as _;
use k3k_tests::lab::{client, enter_network, host_kubeconfig, in_host};
use k3k_tests::nested::{NestedCluster, eventually};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The stand-in's two versions: tests/lab/build.
const OLDER: &str = "v1.35.6-k3s1";
const NEWER: &str = "v1.36.3-k3s1";
/// No such image.
const MISSING: &str = "v1.36.99-k3s1";

fn status(cluster: &NestedCluster) -> Result<Value> {
    let object: Value =
        serde_json::from_str(&cluster.on_host(&["get", "clusters.k3k.io", &cluster.name, "-o", "json"])?)?;
    Ok(object["status"].clone())
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let mut all = status["conditions"].as_array().into_iter().flatten();
    all.find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// `kubectl k3k upgrade`: its exit code, and what it said.
fn upgrade(cluster: &NestedCluster, version: &str) -> Result<(Option<i32>, String)> {
    let mut command = in_host("kubectl");
    command.args(["k3k", "upgrade", &cluster.name, "--version", version, "--yes", "--timeout", "10m"]);
    let output = command.output()?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code(), said))
}

fn upgraded(cluster: &NestedCluster, version: &str) -> Result<()> {
    let (code, said) = upgrade(cluster, version)?;
    ensure!(code == Some(0), "{said}\n{}", status(cluster)?);
    ensure!(status(cluster)?["version"] == version, "{}", status(cluster)?);
    Ok(())
}

/// What the nested API says that it is.
fn served(cluster: &NestedCluster) -> Result<String> {
    let version: Value = serde_json::from_str(&cluster.run(&["get", "--raw", "/version"])?)?;
    Ok(version["gitVersion"].as_str().unwrap_or_default().replace('+', "-"))
}

/// UIDs of the server pods.
fn server_uids(cluster: &NestedCluster) -> Result<String> {
    let uids = "jsonpath={range .items[*]}{.metadata.name}={.metadata.uid} {end}";
    cluster.on_host(&["get", "pods", "-l", "role=server", "-o", uids])
}

fn events(cluster: &NestedCluster) -> Result<String> {
    let reasons = "jsonpath={range .items[*]}{.reason} {end}";
    cluster.on_host(&["get", "events", "--field-selector", "involvedObject.kind=Cluster", "-o", reasons])
}

/// Waits until three servers are ready and vote.
fn healthy(cluster: &NestedCluster) -> Result<Value> {
    let ready = "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status}{.metadata.deletionTimestamp} {end}";
    let look =
        || Ok((status(cluster)?, cluster.on_host(&["get", "pods", "-l", "role=server", "-o", ready])?));
    let (status, _) = eventually("three servers are ready and vote", look, |(status, pods)| {
        let members = status["etcd"]["members"].as_array().map_or(0, Vec::len);
        members == 3
            && condition(status, "EtcdReady")["reason"] == "Healthy"
            && pods.trim() == "True True True"
    })?;
    Ok(status)
}

/// Runs on a thread of its own in the lab's network until it is told to stop.
struct Beside<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<T>>,
}

impl<T: Send + 'static> Beside<T> {
    fn start<F: Future<Output = Result<T>>>(
        work: impl FnOnce(Arc<AtomicBool>) -> F + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            enter_network()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work(stopped))
        });
        Self { stop, thread }
    }

    fn finish(self) -> Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("it panicked"))?
    }
}

/// Asks one question after the other, each over a connection of its own. One of three servers may be gone when its turn comes, which nobody
/// can tell the connection: then another connection is tried, and so many in a row all meet that one only if the others do not answer either.
async fn ask(kubeconfig: PathBuf, stop: Arc<AtomicBool>) -> Result<(usize, usize)> {
    const CONNECTIONS: usize = 12;
    let (mut answered, mut broken) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut last = None;
        for attempt in 0..CONNECTIONS {
            let asked = client(&kubeconfig).await?.apiserver_version().await;
            match asked {
                Ok(_) => {
                    answered += 1;
                    last = None;
                    break;
                }
                Err(error) => {
                    broken += 1;
                    last = Some(error);
                    // The host takes a moment to lead connections elsewhere.
                    tokio::time::sleep(Duration::from_millis(50 << attempt.min(6))).await;
                }
            }
        }
        if let Some(error) = last {
            return Err(error)
                .with_context(|| format!("no server answered {CONNECTIONS} connections in a row"));
        }
    }
    Ok((answered, broken))
}

/// Watches the server pods: the most that were being replaced at once, each from the moment when its pod was to go until the next one was ready
/// for the first time. A probe that a slow machine fails now and then is no replacement.
async fn most_replaced(namespace: String, servers: usize, stop: Arc<AtomicBool>) -> Result<usize> {
    let pods: Api<Pod> = Api::namespaced(client(&host_kubeconfig()).await?, &namespace);
    let config = watcher::Config::default().labels("role=server");
    let mut events = pin!(watcher(pods, config).default_backoff());
    // By name: the UID of the pod that has been ready and is not to go.
    let (mut serving, mut known, mut most) = (BTreeMap::new(), false, 0);
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    while !stop.load(Ordering::Relaxed) {
        let Ok(event) = tokio::time::timeout(Duration::from_secs(1), events.try_next()).await else {
            continue;
        };
        match event {
            Ok(Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod))) => {
                let (name, uid) = (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.uid.clone());
                if pod.metadata.deletion_timestamp.is_none() && is_ready(&pod) {
                    serving.insert(name, uid);
                } else if pod.metadata.deletion_timestamp.is_some() || serving.get(&name) != Some(&uid) {
                    serving.remove(&name);
                }
            }
            Ok(Some(watcher::Event::Delete(pod))) => {
                serving.remove(&pod.metadata.name.unwrap_or_default());
            }
            Ok(Some(watcher::Event::Init)) => known = false,
            Ok(Some(watcher::Event::InitDone)) => known = true,
            Ok(None) | Err(_) => {}
        }
        if known {
            most = most.max(servers.saturating_sub(serving.len()));
        }
    }
    Ok(most)
}

#[test]
#[ignore = "needs the lab: make test"]
fn one_server_keeps_data_and_tenants_and_refuses_what_cannot_be() -> Result<()> {
    let cluster = NestedCluster::create_with("upone", &["--version", OLDER])?;
    ensure!(served(&cluster)? == OLDER);
    cluster.run(&["create", "configmap", "kept", "--from-literal=a=b"])?;
    cluster.run(&["run", "tenant", "--image=busybox:1.36", "--", "sleep", "100000"])?;
    cluster.until_ready("tenant")?;
    let tenant = |cluster: &NestedCluster| {
        cluster.on_host(&[
            "get",
            "pods",
            "-l",
            &format!("k3k.io/clusterName={}", cluster.name),
            "-o",
            "jsonpath={range .items[?(@.metadata.annotations.k3k\\.io/name==\"tenant\")]}{.metadata.uid} {.status.containerStatuses[0].restartCount} {.status.phase}{end}",
        ])
    };
    let before = tenant(&cluster)?;
    ensure!(before.ends_with(" 0 Running"), "{before}");

    // Neither the command nor the controller goes where there is no way; the command does not even ask.
    let servers = server_uids(&cluster)?;
    let spec =
        || cluster.on_host(&["get", "clusters.k3k.io", &cluster.name, "-o", "jsonpath={.spec.version}"]);
    for (version, why) in
        [("v1.37.0-k3s1", "one minor version at a time"), ("v1.34.9-k3s1", "cannot go back")]
    {
        let (code, said) = upgrade(&cluster, version)?;
        ensure!(code == Some(1) && said.contains(why), "{code:?}: {said}");
        ensure!(spec()? == OLDER);
        let patch = json!({"spec": {"version": version}}).to_string();
        cluster.on_host(&["patch", "clusters.k3k.io", &cluster.name, "--type=merge", "-p", &patch])?;
        let refused = eventually(
            &format!("{version} is refused"),
            || Ok(condition(&status(&cluster)?, "Upgraded").clone()),
            |condition| condition["message"].as_str().is_some_and(|message| message.contains(version)),
        )?;
        ensure!(refused["reason"] == "Refused", "{refused}");
        ensure!(refused["message"].as_str().is_some_and(|message| message.contains(why)), "{refused}");
        let patch = json!({"spec": {"version": OLDER}}).to_string();
        cluster.on_host(&["patch", "clusters.k3k.io", &cluster.name, "--type=merge", "-p", &patch])?;
    }
    ensure!(server_uids(&cluster)? == servers, "a version that was refused replaced a server");
    ensure!(condition(&status(&cluster)?, "Ready")["status"] == "True", "{}", status(&cluster)?);
    ensure!(events(&cluster)?.contains("UpgradeRefused"), "{}", events(&cluster)?);

    upgraded(&cluster, NEWER)?;
    eventually("the new version serves", || served(&cluster), |version| version == NEWER)?;
    ensure!(cluster.run(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"])? == "b");
    ensure!(tenant(&cluster)? == before, "the tenant's pod was {before} and is {}", tenant(&cluster)?);
    // The virtual kubelet is replaced last, and the host takes a moment to lead connections to the new one.
    let enter = || cluster.run(&["exec", "tenant", "--", "echo", "alive"]);
    eventually("the tenant's pod is entered", enter, |said| said.trim() == "alive")?;
    let told = events(&cluster)?;
    ensure!(told.contains("UpgradeBegun") && told.contains("Upgraded "), "{told}");
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn three_servers_always_answer_and_what_does_not_start_is_taken_back() -> Result<()> {
    let cluster = NestedCluster::create_with("upthree", &["--servers", "3", "--version", OLDER])?;
    healthy(&cluster)?;
    // Servers that have just joined come and go for a moment more.
    let kept =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}});
    eventually("something is stored", || cluster.apply(&kept), |()| true)?;
    let (kubeconfig, namespace) = (cluster.kubeconfig().to_path_buf(), cluster.namespace());
    let asking = Beside::start(|stop| ask(kubeconfig, stop));
    let watching = Beside::start(|stop| most_replaced(namespace, 3, stop));

    // An image that does not exist: one server tries it, and gets back what it ran.
    let (code, said) = upgrade(&cluster, MISSING)?;
    ensure!(
        code == Some(3) && said.contains(MISSING) && said.contains("ImagePullBackOff"),
        "{code:?}: {said}"
    );
    let back = healthy(&cluster)?;
    ensure!(back["version"] == OLDER && back["upgrade"]["to"] == MISSING, "{back}");
    ensure!(condition(&back, "Upgraded")["reason"] == "RolledBack", "{back}");
    let images = "jsonpath={range .items[*]}{.spec.containers[0].image} {end}";
    eventually(
        "all servers run what they ran",
        || cluster.on_host(&["get", "pods", "-l", "role=server", "-o", images]),
        |images| images.matches(OLDER).count() == 3 && !images.contains(MISSING),
    )?;
    healthy(&cluster)?;
    // Once more is not tried by itself, nor by the same command.
    let (code, said) = upgrade(&cluster, MISSING)?;
    ensure!(code == Some(1) && said.contains("was tried"), "{code:?}: {said}");
    ensure!(cluster.run(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"])? == "b");

    upgraded(&cluster, NEWER)?;
    healthy(&cluster)?;
    let most = watching.finish()?;
    let (answered, broken) = asking.finish().context("somebody must always answer")?;
    println!(
        "{answered} questions were answered, {broken} connections broke, at most {most} server was being replaced"
    );
    ensure!(answered > 20, "only {answered} questions were asked");
    ensure!(most == 1, "{most} servers were being replaced at once");
    eventually("the new version serves", || served(&cluster), |version| version == NEWER)?;
    ensure!(cluster.run(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"])? == "b");
    let told = events(&cluster)?;
    for event in ["UpgradeBegun", "UpgradeRolledBack", "Upgraded "] {
        ensure!(told.contains(event), "{event}: {told}");
    }
    Ok(())
}
