//! What people and programs see: columns, short names, status.

use crate::{apply, cluster, objects, policy, server};
use anyhow::{Result, ensure};
use k3k_api::conditions::{self, Status};
use k3k_api::managers;
use k3k_api::v1beta1::{Cluster, ClusterStatus, Phase};
use k3k_tests::{in_namespace, lab, wait};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// The table that `kubectl get` prints.
async fn table(client: &Client, path: &str) -> Result<Value> {
    let request = http::Request::get(path)
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())?;
    Ok(client.request::<Value>(request).await?)
}

/// Names of the columns: those of `kubectl get`, or with `-o wide` (`priority` 1) too.
fn columns(table: &Value, priority: i64) -> Vec<&str> {
    let all = table["columnDefinitions"].as_array().unwrap();
    let shown = all.iter().filter(|column| column["priority"].as_i64().unwrap() <= priority);
    shown.map(|column| column["name"].as_str().unwrap()).collect()
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn clusters_are_listed_with_upstreams_columns_first() -> Result<()> {
    let client = server().await?.client().await?;
    in_namespace(&client, async |namespace| {
        apply(&client, namespace, &cluster("shown", &json!({}))).await?;
        let status = json!({
            "apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "metadata": { "name": "shown" },
            "status": { "phase": "Ready", "policyName": "p", "version": "v1.33.1+k3s1", "endpoint": "https://a:443" },
        });
        let api: Api<Cluster> = Api::namespaced(client.clone(), namespace);
        api.patch_status("shown", &PatchParams::apply(managers::CONTROLLER), &Patch::Apply(&status)).await?;

        let table = table(&client, &format!("/apis/k3k.io/v1beta1/namespaces/{namespace}/clusters")).await?;
        assert_eq!(columns(&table, 0), ["Name", "Mode", "Status", "Policy", "Age"]);
        assert_eq!(columns(&table, 1), ["Name", "Mode", "Status", "Policy", "Version", "Endpoint", "Age"]);
        let cells = table["rows"][0]["cells"].as_array().unwrap();
        assert_eq!(cells[..6], ["shown", "shared", "Ready", "p", "v1.33.1+k3s1", "https://a:443"].map(Value::from));
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn policies_are_listed_by_their_short_name() -> Result<()> {
    let server = server().await?;
    let client = server.client().await?;
    apply(&client, "", &policy("listed", &json!({ "allowedMode": "virtual" }))).await?;
    let output = lab::succeed(server.kubectl()?.args(["get", "vcp", "listed"]))?;
    let words: Vec<Vec<&str>> = output.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "MODE", "AGE"]);
    assert_eq!(words[1][..2], ["listed", "virtual"]);
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn fields_are_explained() -> Result<()> {
    let server = server().await?;
    // The schema is published a moment after the resource is served.
    let explained = wait::until("the schema is published", async || {
        Ok(lab::succeed(server.kubectl()?.args(["explain", "clusters.k3k.io.spec.mode"])).ok())
    });
    let output = explained.await?;
    ensure!(output.contains("as pods of the host") && output.contains("hcp\n"), "{output}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn an_applied_type_owns_only_what_it_says() -> Result<()> {
    let client = server().await?.client().await?;
    in_namespace(&client, async |namespace| {
        let mut wanted = Cluster::default();
        wanted.metadata.name = Some("minimal".into());
        wanted.spec.servers = Some(1);
        let api: Api<Cluster> = Api::namespaced(client.clone(), namespace);
        let stored =
            api.patch("minimal", &PatchParams::apply(managers::PLUGIN), &Patch::Apply(&wanted)).await?;
        let owned = &stored.metadata.managed_fields.unwrap()[0];
        assert_eq!(owned.manager.as_deref(), Some(managers::PLUGIN));
        assert_eq!(owned.fields_v1.as_ref().unwrap().0, json!({ "f:spec": { "f:servers": {} } }));
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn conditions_of_different_writers_live_side_by_side() -> Result<()> {
    let client = server().await?.client().await?;
    in_namespace(&client, async |namespace| {
        apply(&client, namespace, &cluster("status", &json!({}))).await?;
        let api: Api<Cluster> = Api::namespaced(client.clone(), namespace);
        let epoch: Time = serde_json::from_value(json!("2026-01-01T00:00:00Z"))?;
        for (manager, kind) in [(managers::CONTROLLER, conditions::READY), (managers::WEBHOOK, "Other")] {
            let condition = conditions::condition(
                kind,
                Status::False,
                conditions::reason::PROVISIONING,
                "m",
                Some(1),
                epoch.clone(),
            );
            let mut object = Cluster::default();
            object.metadata.name = Some("status".into());
            object.status = Some(ClusterStatus {
                conditions: vec![condition],
                phase: Phase::Provisioning,
                ..ClusterStatus::default()
            });
            api.patch_status("status", &PatchParams::apply(manager), &Patch::Apply(&object)).await?;
        }
        let status = api.get("status").await?.status.unwrap();
        let kinds: Vec<&str> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(kinds, [conditions::READY, "Other"]);
        assert_eq!(status.phase, Phase::Provisioning);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn the_spec_is_written_without_the_status() -> Result<()> {
    let client = server().await?.client().await?;
    in_namespace(&client, async |namespace| {
        let mut object = cluster("split", &json!({}));
        object["status"] = json!({ "phase": "Ready" });
        apply(&client, namespace, &object).await?;
        let stored = objects(&client, "Cluster", namespace).get("split").await?;
        assert_eq!(stored.data["status"]["phase"], "Unknown");
        Ok(())
    })
    .await
}
