//! Pods that are asked for without end, as a host's users would, while something else happens.

use anyhow::{Context, Result};
use k3k_tests::lab;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How an attempt to make a pod ended.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// When it had ended.
    pub(crate) ended: Instant,
    /// Whether the pod was let in; else why not.
    pub(crate) outcome: Result<(), Refusal>,
}

/// Why a pod was not made.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// Whether it was decided, and not only that nobody could be asked.
    pub(crate) is_decision: bool,
    /// What the API server says.
    pub(crate) message: String,
}

/// Somebody who goes on asking for one pod, without making it: everything is asked, and nothing runs.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Result<Vec<Attempt>>>>,
}

/// A pod that is in nobody's way.
pub(crate) fn compliant() -> Value {
    json!({"containers": [{"name": "c", "image": "docker.io/library/busybox:1.36"}], "automountServiceAccountToken": false})
}

/// A pod that sees the node's processes.
pub(crate) fn violating() -> Value {
    let mut spec = compliant();
    spec["hostPID"] = true.into();
    spec
}

impl Load {
    /// Starts asking for pods with `spec` in `namespace`, `parallel` at a time, `most` in all.
    pub(crate) fn start(namespace: &str, spec: &Value, parallel: usize, most: usize) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted, namespace, spec) =
            (stop.clone(), count.clone(), namespace.to_owned(), spec.clone());
        let thread = std::thread::spawn(move || {
            lab::enter_network()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let client = lab::client(&lab::host_kubeconfig()).await?;
                let one = || ask(&client, &namespace, &spec, &stopped, &counted, most);
                let all = futures::future::join_all((0..parallel).map(|_| one())).await;
                Ok(all.into_iter().flatten().collect())
            })
        });
        Self { stop, count, thread: Some(thread) }
    }

    /// Waits until `more` attempts have ended from now on.
    pub(crate) fn until_more(&self, more: usize) -> Result<()> {
        let goal = self.count.load(Ordering::SeqCst) + more;
        let start = Instant::now();
        while self.count.load(Ordering::SeqCst) < goal {
            anyhow::ensure!(start.elapsed() < Duration::from_secs(240), "the load does not go on");
            anyhow::ensure!(
                self.thread.as_ref().is_some_and(|thread| !thread.is_finished()),
                "the load has ended"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Stops, and tells how each attempt ended.
    pub(crate) fn finish(mut self) -> Result<Vec<Attempt>> {
        self.stop.store(true, Ordering::SeqCst);
        self.join()
    }

    /// Waits until all that was to be asked was asked.
    pub(crate) fn join(&mut self) -> Result<Vec<Attempt>> {
        let thread = self.thread.take().context("it was joined before")?;
        thread.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

async fn ask(
    client: &Client,
    namespace: &str,
    spec: &Value,
    stop: &AtomicBool,
    count: &AtomicUsize,
    most: usize,
) -> Vec<Attempt> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let mut attempts = Vec::new();
    while !stop.load(Ordering::SeqCst) && count.load(Ordering::SeqCst) < most {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "load-"}, "spec": spec});
        let Ok(pod) = serde_json::from_value::<Pod>(pod) else { break };
        let outcome = match pods.create(&params, &pod).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => {
                Err(Refusal { is_decision: status.code == 403, message: status.message })
            }
            Err(error) => Err(Refusal { is_decision: false, message: error.to_string() }),
        };
        attempts.push(Attempt { ended: Instant::now(), outcome });
        count.fetch_add(1, Ordering::SeqCst);
    }
    attempts
}
