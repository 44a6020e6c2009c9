//! The chart in a real API server: every object is accepted, strictly and more than once, and keeps what others
//! write into it.

use anyhow::{Context, Result, ensure};
use k3k_api::managers;
use k3k_tests::{ApiServer, chart, lab};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

const NAMESPACE: &str = "k3k-system";

async fn apply(client: &Client, object: &Value, dry_run: bool) -> Result<DynamicObject> {
    let word = |field: &str| object[field].as_str().unwrap_or_default();
    let (group, version) = word("apiVersion").split_once('/').unwrap_or(("", word("apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, word("kind")));
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut params = PatchParams::apply(managers::INSTALL).force().validation_strict();
    params.dry_run = dry_run;
    let name = object["metadata"]["name"].as_str().context("no name")?;
    api.patch(name, &params, &Patch::Apply(object)).await.with_context(|| format!("{} {name}", word("kind")))
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn the_chart_is_applied_twice_and_leaves_certificates_alone() -> Result<()> {
    let server = ApiServer::start().await?;
    let client = server.client().await?;
    lab::succeed(server.kubectl()?.args(["create", "namespace", NAMESPACE]))?;
    let objects = chart::objects(NAMESPACE)?;
    for object in &objects {
        apply(&client, object, true).await?;
    }
    let mut versions = Vec::new();
    for object in &objects {
        versions.push(apply(&client, object, false).await?.resource_version());
    }

    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let certificate = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k3k-webhook-tls"}, "data": {"tls.crt": "eA=="},
    });
    let params = PatchParams::apply(managers::WEBHOOK);
    secrets.patch("k3k-webhook-tls", &params, &Patch::Apply(&certificate)).await?;

    for (object, version) in objects.iter().zip(versions) {
        let again = apply(&client, object, false).await?;
        let changed = again.resource_version() != version;
        ensure!(!changed || object["kind"] == "Secret", "applying it again changed {object}");
    }
    let kept = secrets.get("k3k-webhook-tls").await?.data.context("the certificate is lost")?;
    ensure!(kept.contains_key("tls.crt"), "the certificate is lost");
    Ok(())
}

/// As Helm 3 and `kubectl apply` do it.
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn kubectl_accepts_the_chart() -> Result<()> {
    let server = ApiServer::start().await?;
    lab::succeed(server.kubectl()?.args(["create", "namespace", NAMESPACE]))?;
    let list = json!({"apiVersion": "v1", "kind": "List", "items": chart::objects(NAMESPACE)?});
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    serde_json::to_writer(&file, &list)?;
    for _ in 0..2 {
        lab::succeed(server.kubectl()?.arg("apply").arg("-f").arg(file.path()))?;
    }
    Ok(())
}
