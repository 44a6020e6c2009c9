//! Clusters: made, refused, shown, deleted.

use super::{Host, ended};
use anyhow::{Context, Result, ensure};
use k3k_api::managers;
use k3k_api::names::ClusterNames;
use k3k_api::v1beta1::Cluster;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::fs;

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s and kubectl-k3k: make test"]
async fn bad_clusters_are_refused_and_leave_nothing() -> Result<()> {
    let host = Host::with_resources().await?;
    let file = host.kubeconfig.with_file_name("cluster.yaml");
    let path = file.to_string_lossy().into_owned();
    for (spec, words) in [
        ("{unknown: 1}", "cause: .spec.unknown: field not declared in schema"),
        ("{expose: {nodePort: {}, loadBalancer: {}}}", "mutually exclusive"),
        ("{mode: other}", "unknown variant `other`"),
        ("{servers: 0}", "cluster must have at least one server"),
    ] {
        fs::write(
            &file,
            format!("apiVersion: k3k.io/v1beta1\nkind: Cluster\nmetadata: {{name: bad}}\nspec: {spec}\n"),
        )?;
        for how in [&["-n", "default"][..], &["-n", "default", "--dry-run=server"], &["--dry-run=server"]] {
            let ran = host.run(&[&["create", "-f", &path, "--no-wait"], how].concat())?;
            ensure!(matches!(ran.code, Some(1 | 2)), "{spec}: {ran:?}");
            ensure!(ran.stderr.contains(words) || ran.code == Some(2), "{spec}: {}", ran.stderr);
            ensure!(ran.stdout.is_empty(), "{spec}: {}", ran.stdout);
        }
    }
    for kind in ["clusters.k3k.io", "namespaces"] {
        let left = host.kubectl(&["get", kind, "-A", "-o", "name"])?;
        ensure!(!left.contains("bad"), "{left}");
    }
    // A namespace that was made for a cluster that is refused afterwards is taken back.
    ended(&host.run(&["create", "-f", &path, "--no-wait"])?, 1, &["the host refused"])?;
    let spaces = Api::<Namespace>::all(host.server.client().await?);
    let left = spaces.get_opt("k3k-bad").await?;
    ensure!(
        left.is_none_or(|left| left.metadata.deletion_timestamp.is_some()),
        "a refused cluster left its namespace"
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s and kubectl-k3k: make test"]
async fn a_cluster_is_applied_once_and_never_overwritten() -> Result<()> {
    let host = Host::with_resources().await?;
    ended(&host.run(&["create", "dev", "--dry-run=server"])?, 0, &["namespace/k3k-dev would be created"])?;
    ensure!(host.kubectl(&["get", "namespaces", "-o", "name"])?.matches("k3k-dev").count() == 0);

    let ran = host.run(&["create", "dev", "--servers=3", "--no-wait", "--server-env=A=b=c"])?;
    ended(&ran, 0, &["kubectl k3k describe k3k-dev/dev"])?;
    ensure!(ran.stdout == "cluster.k3k.io/dev created\n", "{}", ran.stdout);
    let client = host.server.client().await?;
    let made = Api::<Cluster>::namespaced(client.clone(), "k3k-dev").get("dev").await?;
    ensure!(made.spec.servers == Some(3));
    let writers: Vec<_> =
        made.metadata.managed_fields.iter().flatten().filter_map(|field| field.manager.clone()).collect();
    ensure!(writers == [managers::PLUGIN], "{writers:?}");

    ended(&host.run(&["create", "dev", "--servers=1"])?, 1, &["already exists in namespace \"k3k-dev\""])?;
    // Who may write but not read gets the same answer from the API server.
    host.kubectl(&[
        "create",
        "role",
        "writer",
        "-n",
        "k3k-dev",
        "--verb=create,patch",
        "--resource=clusters.k3k.io",
    ])?;
    host.kubectl(&["create", "rolebinding", "writer", "-n", "k3k-dev", "--role=writer", "--user=jane"])?;
    let ran = host.run(&["create", "dev", "--servers=1", "--as=jane", "--no-wait", "--no-kubeconfig"])?;
    ended(&ran, 1, &["already exists in namespace \"k3k-dev\""])?;
    let after = Api::<Cluster>::namespaced(client, "k3k-dev").get("dev").await?;
    ensure!(after.metadata.resource_version == made.metadata.resource_version, "something changed");
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s and kubectl-k3k: make test"]
async fn what_is_forbidden_is_named() -> Result<()> {
    let host = Host::with_resources().await?;
    let ran = host.run(&["create", "default/dev", "--as=jane", "--no-wait"])?;
    ended(
        &ran,
        1,
        &[
            "not allowed: ",
            "clusters.k3k.io \"dev\" in namespace \"default\"",
            "User \"jane\"",
            "kubectl auth can-i",
        ],
    )?;
    let ran = host.run(&["get", "--as=jane"])?;
    ended(
        &ran,
        1,
        &[
            "you may not list clusters in all namespaces",
            "not allowed: list clusters.k3k.io in namespace \"default\"",
        ],
    )?;
    ended(&host.run(&["get", "-A", "--as=jane"])?, 1, &["not allowed: list clusters.k3k.io"])?;
    ended(&host.run(&["create", "dev", "--as=jane"])?, 1, &["not allowed"])?;
    ended(&host.run(&["install", "--as=jane", "--no-wait"])?, 1, &["not allowed"])?;
    ended(&host.run(&["get", "--token=nonsense", "--client-certificate=/dev/null"])?, 1, &[])?;
    ensure!(host.kubectl(&["get", "clusters.k3k.io", "-A", "-o", "name"])?.is_empty());
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s and kubectl-k3k: make test"]
async fn create_waits_for_ready_and_delete_until_all_is_gone() -> Result<()> {
    let host = Host::with_resources().await?;
    let client = host.server.client().await?;
    let controller = tokio::spawn(become_ready(client.clone()));
    let kubeconfig = host.kubeconfig.clone();
    let ran = tokio::task::spawn_blocking(move || {
        k3k_tests::plugin::run(k3k_tests::plugin::command(&kubeconfig)?.args(["create", "dev", "--connect"]))
    })
    .await??;
    controller.await??;
    ended(
        &ran,
        0,
        &[
            "dev: servers: the server starts",
            "dev: ready after",
            "context \"k3k-dev\" added",
            "(was \"test\")",
        ],
    )?;

    // While connected, the host is meant.
    let ran = host.run(&["get", "-o", "wide"])?;
    ended(&ran, 0, &["Using context \"test\""])?;
    ensure!(ran.stdout.contains("NAMESPACE   NAME   MODE     VERSION"), "{}", ran.stdout);
    ensure!(ran.stdout.contains("k3k-dev     dev    shared   v1.36.3-k3s1"), "{}", ran.stdout);
    let object: Value = serde_json::from_str(&host.run(&["get", "dev", "-o", "json"])?.stdout)?;
    ensure!(
        object["status"]["phase"] == "Ready" && object["metadata"].get("managedFields").is_none(),
        "{object}"
    );
    ensure!(host.run(&["describe", "dev"])?.stdout.contains("Status"));
    ensure!(host.run(&["kubeconfig", "get", "dev"])?.stdout.contains("https://10.96.0.7"));

    // Nothing collects garbage here: the test does.
    let configs = Api::<ConfigMap>::namespaced(client.clone(), "k3k-dev");
    let leftover = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "copy", "labels": {"k3k.io/clusterName": "dev"}}});
    configs.patch("copy", &PatchParams::apply("test"), &Patch::Apply(&leftover)).await?;
    ended(&host.run(&["delete", "dev"])?, 2, &["run: kubectl k3k delete dev --yes"])?;
    ended(&host.run(&["delete", "dev", "--yes", "--dry-run=server"])?, 0, &[])?;
    let ran = host.run(&["delete", "dev", "--yes", "--timeout=3s"])?;
    ended(&ran, 3, &["dev is not gone after 3s", "waiting for copy"])?;
    configs.delete("copy", &kube::api::DeleteParams::default()).await?;
    let secrets = Api::<Secret>::namespaced(client.clone(), "k3k-dev");
    secrets.delete(&ClusterNames("dev").kubeconfig(), &kube::api::DeleteParams::default()).await?;
    ended(&host.run(&["delete", "dev", "--yes"])?, 1, &["not found"])?;
    ended(&host.run(&["delete", "dev", "--yes", "--ignore-not-found"])?, 0, &[])?;
    ended(&host.run(&["kubeconfig", "remove", "dev"])?, 0, &["back on \"test\""])?;
    Ok(())
}

/// Does what the controller does in the end: the Secret, then the status.
async fn become_ready(client: Client) -> Result<()> {
    let clusters = Api::<Cluster>::namespaced(client.clone(), "k3k-dev");
    Box::pin(await_condition(clusters.clone(), "dev", |cluster: Option<&Cluster>| cluster.is_some())).await?;
    let status = |phase: &str, ready: &str, reason: &str, message: &str| {
        json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "status": {
            "phase": phase, "version": "v1.36.3-k3s1", "conditions": [{"type": "Ready", "status": ready,
            "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    };
    let parameters = PatchParams::apply(managers::CONTROLLER).force();
    let starting = status("Provisioning", "False", "ServerStarting", "the server starts");
    clusters.patch_status("dev", &parameters, &Patch::Apply(&starting)).await?;
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "k3k-dev",
        "clusters": [{"name": "k3k-dev", "cluster": {"server": "https://10.96.0.7"}}],
        "users": [{"name": "k3k-dev", "user": {"token": "t"}}],
        "contexts": [{"name": "k3k-dev", "context": {"cluster": "k3k-dev", "user": "k3k-dev"}}]});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": ClusterNames("dev").kubeconfig()}, "stringData": {"kubeconfig.yaml": config.to_string()}});
    let name = ClusterNames("dev").kubeconfig();
    let secrets = Api::<Secret>::namespaced(client.clone(), "k3k-dev");
    secrets.patch(&name, &PatchParams::apply(managers::CONTROLLER), &Patch::Apply(&secret)).await?;
    await_condition(secrets, &name, |secret: Option<&Secret>| secret.is_some()).await?;
    let ready = status("Ready", "True", "Provisioned", "");
    clusters.patch_status("dev", &parameters, &Patch::Apply(&ready)).await.context("writing the status")?;
    Ok(())
}
