//! Policies on the lab: real registries, real nodes, and a webhook that is killed, frozen and replaced while everybody works.

mod audit;
mod budget;
mod change;
mod glass;
mod images;
mod load;
mod nodes;
mod outage;

use anyhow::{Context, Result};
use k3k_tests::lab::{in_host, succeed};
use serde_json::{Value, json};
use std::process::Command;

/// kubectl on the host, as its administrator.
fn host(arguments: &[&str]) -> Result<String> {
    succeed(in_host("kubectl").args(arguments))
}

/// Applies a manifest on the host.
fn apply(manifest: &Value) -> Result<()> {
    let mut file = tempfile::NamedTempFile::with_suffix(".json")?;
    std::io::Write::write_all(&mut file, manifest.to_string().as_bytes())?;
    host(&["apply", "-f", &file.path().to_string_lossy()]).map(drop)
}

/// A program of `tests/lab`.
fn lab(program: &str, arguments: &[&str]) -> Result<String> {
    succeed(Command::new(k3k_tests::workspace::path(&format!("tests/lab/{program}"))).args(arguments))
}

/// A policy, gone when this is dropped.
struct Policy(String);

impl Policy {
    /// Applies `spec` as the policy `name`.
    fn apply(name: &str, spec: &Value) -> Result<Self> {
        k3k_tests::nested::install()?;
        apply(
            &json!({"apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "metadata": {"name": name}, "spec": spec}),
        )?;
        Ok(Self(name.to_owned()))
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let _ = host(&["delete", "virtualclusterpolicy", &self.0, "--ignore-not-found"]);
    }
}

/// A host namespace where the webhook is asked, gone when this is dropped.
struct Namespace(String);

impl Namespace {
    /// Makes the namespace, bound to `policy`.
    fn create(name: &str, policy: Option<&str>) -> Result<Self> {
        k3k_tests::nested::install()?;
        let mut labels = json!({"k3k.io/cluster-namespace": "true"});
        if let Some(policy) = policy {
            labels["policy.k3k.io/policy-name"] = policy.into();
        }
        apply(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
        )
        .with_context(|| format!("namespace {name}"))?;
        Ok(Self(name.to_owned()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = host(&["delete", "namespace", &self.0, "--ignore-not-found", "--wait=false"]);
    }
}
