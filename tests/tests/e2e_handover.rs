//! Two virtual kubelets: when the one that acts is frozen, killed or ended, the other goes on, and tenants' pods notice nothing.

use anyhow::{Context, Result};
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

const IMAGE: &str = "docker.io/library/busybox:1.36";
const SELECTOR: &str = "k3k.io/component=kubelet";

fn pod(name: &str, script: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", script]}],
    }})
}

fn deployment(replicas: u32) -> Value {
    let labels = json!({"app": "churn"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "churn"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod("", "exec sleep 3600")["spec"]},
    }})
}

/// Who holds the Lease, and how often it has changed hands.
fn lease(cluster: &NestedCluster) -> Result<(String, u64)> {
    let name = format!("k3k-{}-kubelet", cluster.name);
    let lease: Value = serde_json::from_str(&cluster.on_host(&["get", "lease", &name, "-o", "json"])?)?;
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    Ok((holder, lease["spec"]["leaseTransitions"].as_u64().unwrap_or_default()))
}

fn items(text: &str) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(text)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// The virtual kubelets' pods.
fn kubelets(cluster: &NestedCluster) -> Result<Vec<Value>> {
    items(&cluster.on_host(&["get", "pods", "-l", SELECTOR, "-o", "json"])?)
}

fn until_two_are_ready(cluster: &NestedCluster) -> Result<()> {
    let ready = |pod: &Value| {
        pod["metadata"]["deletionTimestamp"].is_null()
            && pod["status"]["containerStatuses"][0]["ready"] == true
    };
    let count = || Ok(kubelets(cluster)?.iter().filter(|pod| ready(pod)).count());
    eventually("two virtual kubelets are ready", count, |count| *count == 2).map(drop)
}

/// Tenants' pods in the host by name: UID, restarts.
fn host_pods(cluster: &NestedCluster) -> Result<BTreeMap<String, (String, u64)>> {
    let ours = format!("k3k.io/clusterName={}", cluster.name);
    let pods = items(&cluster.on_host(&["get", "pods", "-l", &ours, "-o", "json"])?)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pods = pods.iter().map(|pod| {
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default();
        (text(&pod["metadata"]["name"]), (text(&pod["metadata"]["uid"]), restarts))
    });
    Ok(pods.collect())
}

/// A process of a virtual kubelet, found by its container among the processes of this machine. It goes on when this is dropped.
struct Process(u32);

impl Process {
    fn of(cluster: &NestedCluster, pod: &str) -> Result<Self> {
        let id = cluster.on_host(&[
            "get",
            "pod",
            pod,
            "-o",
            "jsonpath={.status.containerStatuses[0].containerID}",
        ])?;
        let id = id.rsplit('/').next().context("an ID")?.to_owned();
        for entry in std::fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse() else { continue };
            let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            if groups.contains(&id) {
                return Ok(Self(pid));
            }
        }
        anyhow::bail!("no process of container {id} on this machine")
    }

    fn signal(&self, name: &str) -> Result<()> {
        succeed(std::process::Command::new("kill").args(["-s", name, &self.0.to_string()])).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").args(["-s", "CONT", &self.0.to_string()]).output();
    }
}

/// A log that is followed; ended when dropped.
struct Following(Child);

impl Following {
    fn start(cluster: &NestedCluster, pod: &str) -> Result<(Self, BufReader<std::process::ChildStdout>)> {
        let mut child =
            cluster.kubectl().args(["logs", "-f", pod, "--tail=1"]).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("its output")?;
        Ok((Self(child), BufReader::new(output)))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A new pod runs, can be talked to and goes; what ran before is untouched.
fn prove(cluster: &NestedCluster, name: &str, before: &BTreeMap<String, (String, u64)>) -> Result<()> {
    cluster.apply(&pod(name, "exec sleep 3600"))?;
    cluster.until_ready(name)?;
    // For a while the Service may still lead to a process that is frozen or has ended. Nobody waits for that one.
    let exec = || {
        let mut command = in_host("timeout");
        command.args(["20", "kubectl", "--kubeconfig"]).arg(cluster.kubeconfig());
        succeed(command.args(["exec", name, "--", "echo", "hello"]))
    };
    eventually("exec works", exec, |said| said == "hello\n")?;
    cluster.run(&["delete", "pod", name, "--now"])?;
    let now = host_pods(cluster)?;
    for (pod, (uid, restarts)) in before {
        assert_eq!(now.get(pod), Some(&(uid.clone(), *restarts)), "{pod} after {name}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn pods_notice_nothing_when_the_leader_is_frozen_killed_or_ended() -> Result<()> {
    let cluster = NestedCluster::create("e2e-handover")?;
    until_two_are_ready(&cluster)?;
    cluster.apply(&pod("steady", "i=0; while true; do echo tick $i; i=$((i+1)); sleep 1; done"))?;
    cluster.apply(&deployment(4))?;
    cluster.until_ready("steady")?;
    cluster.run(&["rollout", "status", "deployment", "churn", "--timeout=240s"])?;
    let steady = host_pods(&cluster)?;
    assert_eq!(steady.keys().filter(|name| name.starts_with("churn")).count(), 4, "{steady:?}");

    // Frozen: it neither says goodbye nor loses a connection, and it wakes up again in the middle of what it did.
    let (leader, transitions) = lease(&cluster)?;
    let frozen = Process::of(&cluster, &leader)?;
    cluster.apply(&deployment(8))?;
    frozen.signal("STOP")?;
    let other = |answer: &(String, u64)| answer.0 != leader && !answer.0.is_empty();
    let (second, _) = eventually("another leads", || lease(&cluster), other)?;
    prove(&cluster, "while-one-is-frozen", &steady)?;
    cluster.run(&["rollout", "status", "deployment", "churn", "--timeout=240s"])?;
    frozen.signal("CONT")?;
    until_two_are_ready(&cluster)?;
    let (holder, now) = lease(&cluster)?;
    assert_eq!((holder.as_str(), now), (second.as_str(), transitions + 1), "it is not taken back");
    let awake = kubelets(&cluster)?;
    let restarts: u64 = awake
        .iter()
        .map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default())
        .sum();
    assert_eq!(restarts, 0, "who was frozen stands by");
    let nested = items(&cluster.run(&["get", "pods", "-o", "json"])?)?;
    let churn = host_pods(&cluster)?;
    let of_default = churn.keys().filter(|name| name.contains("-default-")).count();
    assert_eq!(of_default, nested.len(), "one host pod for each pod: {churn:?}");

    // Killed. Its own pod starts it again, so either may be next.
    let steady = host_pods(&cluster)?;
    Process::of(&cluster, &second)?.signal("KILL")?;
    prove(&cluster, "after-a-kill", &steady)?;
    until_two_are_ready(&cluster)?;

    // Ended in order: the Lease is given back, and a stream that the other carries goes on.
    let (ending, _) = lease(&cluster)?;
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(Following::start(&cluster, "steady")?);
    }
    for (_, output) in &mut streams {
        let mut line = String::new();
        output.read_line(&mut line)?;
        assert!(line.starts_with("tick "), "{line:?}");
    }
    cluster.on_host(&["delete", "pod", &ending])?;
    let other = |answer: &(String, u64)| answer.0 != ending && !answer.0.is_empty();
    eventually("another leads", || lease(&cluster), other)?;
    prove(&cluster, "after-an-orderly-end", &steady)?;
    until_two_are_ready(&cluster)?;
    let mut survivors = 0;
    for (following, _) in &mut streams {
        survivors += usize::from(following.0.try_wait()?.is_none());
    }
    assert!(survivors > 0, "of twelve streams some went through the other virtual kubelet");

    // The node was never given up, and nothing is left twice.
    let node: Value =
        serde_json::from_str(&cluster.run(&["get", "node", "k3k-e2e-handover", "-o", "json"])?)?;
    assert!(node["spec"]["taints"].is_null(), "{}", node["spec"]);
    let rollout = ["rollout", "status", "deployment", "k3k-e2e-handover-kubelet", "--timeout=240s"];
    cluster.on_host(&["rollout", "restart", "deployment", "k3k-e2e-handover-kubelet"])?;
    cluster.on_host(&rollout)?;
    prove(&cluster, "after-a-rollout", &steady)?;
    succeed(in_host("kubectl").args(["k3k", "delete", &cluster.name, "--yes"]))?;
    let left = cluster.on_host(&["get", "leases", "-o", "name", "--ignore-not-found"])?;
    assert_eq!(left, "", "the Lease goes with its cluster");
    Ok(())
}
