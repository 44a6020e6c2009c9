//! Installing into a bare API server, and removing.

use super::{Host, ended};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

const NOT_INSTALLED: &str = "K3k is not installed in this cluster (context \"test\", no CRD clusters.k3k.io)";

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s and kubectl-k3k: make test"]
async fn without_k3k_every_command_says_how_to_get_it() -> Result<()> {
    let host = Host::start().await?;
    let before = host.kubectl(&["get", "namespaces", "-o", "name"])?;
    for args in [
        &["get"][..],
        &["get", "-n", "default"],
        &["create", "dev"],
        &["create", "dev", "--dry-run=server"],
        &["describe", "dev"],
        &["delete", "dev", "--yes"],
        &["kubeconfig", "get", "dev"],
    ] {
        let ran = host.run(args)?;
        ended(&ran, 1, &[NOT_INSTALLED, "install: kubectl k3k install"])?;
        ensure!(ran.stdout.is_empty(), "{args:?}: {}", ran.stdout);
    }
    ensure!(host.kubectl(&["get", "namespaces", "-o", "name"])? == before);
    ensure!(host.run(&["version"])?.stdout.contains("not installed"));
    ended(&host.run(&["uninstall", "--yes"])?, 0, &["Nothing of K3k is installed"])
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s and kubectl-k3k: make test"]
async fn install_is_idempotent_and_uninstall_takes_everything() -> Result<()> {
    let host = Host::start().await?;
    let dry = host.run(&["install", "--dry-run=server"])?;
    ended(&dry, 0, &[])?;
    ensure!(host.kubectl(&["get", "crd", "-o", "name"])?.is_empty(), "a dry run made something");

    let first = host.run(&["install", "--no-wait"])?;
    ended(&first, 0, &["Context test · Kubernetes v1.", "resource definitions: 2 established"])?;
    ensure!(first.stdout.lines().all(|line| line.ends_with(" created")), "{}", first.stdout);
    let names = |text: &str| {
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    ensure!(names(&first.stdout) == names(&dry.stdout), "the dry run showed something else");
    let again = host.run(&["install", "--no-wait"])?;
    ended(&again, 0, &[])?;
    ensure!(again.stdout.lines().all(|line| line.ends_with(" unchanged")), "{}", again.stdout);
    let changed = host.run(&["install", "--no-wait", "--image=reg.example.com/k3k:v2"])?;
    let configured: Vec<&str> = changed.stdout.lines().filter(|line| line.ends_with(" configured")).collect();
    ensure!(
        configured == ["deployment.apps/k3k-controller configured", "deployment.apps/k3k-webhook configured"],
        "{configured:?}"
    );
    ensure!(host.run(&["version"])?.stdout.contains("Controller   v2"));

    // What an older version had, and nobody needs any more.
    host.kubectl(&["create", "clusterrole", "k3k-old", "--verb=get", "--resource=pods"])?;
    host.kubectl(&["label", "clusterrole", "k3k-old", "app.kubernetes.io/managed-by=kubectl-k3k-install"])?;
    ended(
        &host.run(&["install", "--no-wait"])?,
        0,
        &["clusterrole.rbac.authorization.k8s.io/k3k-old pruned"],
    )?;

    ended(&host.run(&["create", "dev", "--no-wait"])?, 0, &[])?;
    ended(&host.run(&["uninstall", "--yes"])?, 1, &["1 clusters exist: k3k-dev/dev", "--delete-clusters"])?;
    ended(&host.run(&["delete", "dev", "--yes", "--wait=false"])?, 0, &[])?;
    ended(&host.run(&["uninstall"])?, 2, &["run: kubectl k3k uninstall --yes"])?;
    // Nobody finishes the deletion of namespaces here.
    let gone = host.run(&["uninstall", "--yes", "--crds", "--wait=false"])?;
    ended(&gone, 0, &[])?;
    for kinds in [
        "clusterroles,clusterrolebindings",
        "deployments,services,roles,secrets",
        "validatingwebhookconfigurations",
    ] {
        let left =
            host.kubectl(&["get", kinds, "-A", "-l", "app.kubernetes.io/part-of=k3k", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s and kubectl-k3k: make test"]
async fn what_install_prints_is_what_kubectl_can_apply() -> Result<()> {
    let host = Host::start().await?;
    let printed = host.run(&["install", "--dry-run=client", "-o", "yaml"])?;
    ended(&printed, 0, &[])?;
    let file = host.kubeconfig.with_file_name("k3k.yaml");
    std::fs::write(&file, &printed.stdout)?;
    let path = file.to_string_lossy().into_owned();
    host.kubectl(&["apply", "--server-side", "--field-manager=kubectl-k3k-install", "-f", &path])?;
    let ran = host.run(&["install", "--no-wait"])?;
    ended(&ran, 0, &[])?;
    ensure!(ran.stdout.lines().all(|line| line.ends_with(" unchanged")), "{}", ran.stdout);
    Ok(())
}
