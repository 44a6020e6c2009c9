//! Nested clusters on the lab, made and removed by the tests that need them.

use crate::lab::{in_host, succeed};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longest wait for anything on a machine that stalls now and then.
const LIMIT: Duration = Duration::from_secs(240);

/// Installs k3k on the lab, once for each test process. Harmless when it is installed.
pub fn install() -> Result<()> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let done = INSTALLED.get_or_init(|| {
        succeed(in_host("kubectl").args(["k3k", "install"])).map(drop).map_err(|error| format!("{error:#}"))
    });
    done.clone().map_err(anyhow::Error::msg)
}

/// A nested cluster; removed when dropped.
#[derive(Debug)]
pub struct NestedCluster {
    /// Its name; it lives in the namespace `k3k-<name>`.
    pub name: String,
    kubeconfig: tempfile::TempPath,
}

impl NestedCluster {
    /// Creates `name` by `kubectl k3k create` with ephemeral storage and waits until it is ready.
    pub fn create(name: &str) -> Result<Self> {
        Self::create_with(name, &["--storage", "ephemeral"])
    }

    /// As [`Self::create`], with these flags.
    pub fn create_with(name: &str, flags: &[&str]) -> Result<Self> {
        install()?;
        let kubeconfig = tempfile::NamedTempFile::new()?.into_temp_path();
        succeed(in_host("kubectl").args(["k3k", "create", name, "--no-kubeconfig"]).args(flags))?;
        let cluster = Self { name: name.to_owned(), kubeconfig };
        let text = succeed(in_host("kubectl").args(["k3k", "kubeconfig", "get", name]))?;
        std::fs::write(&cluster.kubeconfig, text)?;
        Ok(cluster)
    }

    /// Its administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The host namespace.
    pub fn namespace(&self) -> String {
        format!("k3k-{}", self.name)
    }

    /// kubectl inside the cluster, as its administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = in_host("env");
        command.arg(format!("KUBECONFIG={}", self.kubeconfig.display())).arg("kubectl");
        command
    }

    /// Runs kubectl inside the cluster and returns what it prints.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        succeed(self.kubectl().args(arguments))
    }

    /// Runs kubectl on the host, in the cluster's namespace.
    pub fn on_host(&self, arguments: &[&str]) -> Result<String> {
        succeed(in_host("kubectl").args(["-n", &self.namespace()]).args(arguments))
    }

    /// Applies a manifest inside the cluster.
    pub fn apply(&self, manifest: &Value) -> Result<()> {
        let mut file = tempfile::NamedTempFile::with_suffix(".json")?;
        std::io::Write::write_all(&mut file, manifest.to_string().as_bytes())?;
        let path = file.path().to_string_lossy().into_owned();
        self.run(&["apply", "-f", &path]).map(drop)
    }

    /// Waits until pod `name` in `default` is Ready.
    pub fn until_ready(&self, name: &str) -> Result<()> {
        let wait = ["wait", "pod", name, "--for=condition=Ready", "--timeout=240s"];
        self.run(&wait).map(drop).with_context(|| {
            self.run(&["describe", "pod", name])
                .unwrap_or_else(|error| format!("nor can it be described: {error:#}"))
        })
    }

    /// Deletes the cluster by `kubectl k3k delete` and waits for the end, as a person would.
    pub fn delete(&self) -> Result<String> {
        succeed(in_host("kubectl").args(["k3k", "delete", &self.name, "--yes"]))
    }
}

impl Drop for NestedCluster {
    fn drop(&mut self) {
        let mut delete = in_host("kubectl");
        let _ = delete.args(["k3k", "delete", &self.name, "--yes", "--ignore-not-found"]).output();
    }
}

/// The controller, stopped until this is dropped: what it owns can be changed by hand meanwhile and stays so.
#[derive(Debug)]
pub struct WithoutController(());

impl WithoutController {
    /// Stops the controller and waits until it has ended.
    pub fn stop() -> Result<Self> {
        let stopped = Self(());
        scale_controller("0")?;
        succeed(in_host("kubectl").args([
            "-n",
            "k3k-system",
            "wait",
            "pods",
            "-l",
            "app.kubernetes.io/component=controller",
            "--for=delete",
            "--timeout=240s",
        ]))?;
        Ok(stopped)
    }
}

impl Drop for WithoutController {
    fn drop(&mut self) {
        // What needs the controller says so by itself when it does not run.
        let _ = scale_controller("1");
    }
}

fn scale_controller(replicas: &str) -> Result<()> {
    let scale = ["-n", "k3k-system", "scale", "deploy/k3k-controller", &format!("--replicas={replicas}")];
    succeed(in_host("kubectl").args(scale)).map(drop)
}

/// Asks again until the answer satisfies, for minutes. What kubectl cannot wait for by itself.
pub fn eventually<T>(
    what: &str,
    mut ask: impl FnMut() -> Result<T>,
    satisfies: impl Fn(&T) -> bool,
) -> Result<T>
where
    T: std::fmt::Debug,
{
    let start = Instant::now();
    loop {
        let answer = ask();
        match answer {
            Ok(answer) if satisfies(&answer) => return Ok(answer),
            answer if start.elapsed() > LIMIT => {
                anyhow::bail!("{what}: not so after {} s; the last answer was {answer:?}", LIMIT.as_secs())
            }
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
