//! What the API server fills in.

use crate::{apply, cluster, policy, server};
use anyhow::{Context, Result, ensure};
use k3k_api::v1beta1::{Cluster, Mode, Phase, Storage};
use k3k_tests::{in_namespace, lab, workspace};
use kube::Api;
use serde_json::json;

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn applying_the_crds_again_changes_nothing() -> Result<()> {
    let server = server().await?;
    let output =
        lab::succeed(server.kubectl()?.arg("apply").arg("-f").arg(workspace::path("manifests/crds")))?;
    let lines: Vec<&str> = output.lines().collect();
    ensure!(lines.len() == 2 && lines.iter().all(|line| line.ends_with(" unchanged")), "{output}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn an_empty_cluster_gets_the_defaults() -> Result<()> {
    let client = server().await?.client().await?;
    in_namespace(&client, async |namespace| {
        let enabled = json!({ "enabled": true });
        let disabled = json!({ "enabled": false });
        let spec = json!({
            "mode": "shared", "servers": 1, "agents": 0, "mirrorHostNodes": false,
            "sync": {
                "services": enabled, "configMaps": enabled, "secrets": enabled, "persistentVolumeClaims": enabled,
                "ingresses": { "enabled": false, "disableTLSSecretTranslation": false },
                "podDisruptionBudgets": disabled, "networkPolicies": disabled,
                "priorityClasses": { "enabled": false, "maxValue": 0 },
                "storageClasses": disabled, "ingressClasses": disabled, "runtimeClasses": disabled,
                "hostPriorityClasses": disabled,
            },
        });
        let mut object = cluster("empty", &json!({}));
        object.as_object_mut().unwrap().remove("spec");
        let stored = apply(&client, namespace, &object).await?;
        assert_eq!(stored["spec"], spec);
        assert_eq!(stored["status"], json!({ "phase": "Unknown" }));

        let stored = apply(&client, namespace, &cluster("storage", &json!({ "persistence": {} }))).await?;
        assert_eq!(stored["spec"]["persistence"], json!({ "type": "dynamic", "storageRequestSize": "2G" }));

        let sync = json!({ "sync": { "secrets": { "selector": { "a": "b" } }, "ingresses": {} } });
        let stored = apply(&client, namespace, &cluster("sync", &sync)).await?;
        assert_eq!(stored["spec"]["sync"]["secrets"], json!({ "enabled": true, "selector": { "a": "b" } }));
        assert_eq!(stored["spec"]["sync"]["ingresses"]["enabled"], false);

        let api: Api<Cluster> = Api::namespaced(client.clone(), namespace);
        let typed = api.get("empty").await?;
        assert_eq!(typed.spec.mode(), Mode::Shared);
        assert_eq!(typed.spec.persistence(), api.get("storage").await?.spec.persistence());
        ensure!(matches!(typed.spec.persistence(), Storage::Dynamic { class: None, size } if size.0 == "2G"));
        assert_eq!(typed.status.unwrap().phase, Phase::Unknown);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn an_empty_policy_gets_the_defaults() -> Result<()> {
    let client = server().await?.client().await?;
    let stored = apply(&client, "", &policy("empty", &json!({}))).await?;
    assert_eq!(stored["spec"]["allowedMode"], "shared");
    assert_eq!(stored["spec"]["disableNetworkPolicy"], false);
    assert_eq!(stored["spec"]["sync"]["configMaps"], json!({ "enabled": true }));
    ensure!(stored["spec"].get("podSecurityAdmissionLevel").is_none());
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn null_means_the_default() -> Result<()> {
    let client = server().await?.client().await?;
    in_namespace(&client, async |namespace| {
        let spec = json!({ "mode": null, "servers": null, "sync": null });
        let stored = apply(&client, namespace, &cluster("nulls", &spec)).await?;
        assert_eq!(stored["spec"]["mode"], "shared");
        assert_eq!(stored["spec"]["servers"], 1);
        let typed: Api<Cluster> = Api::namespaced(client.clone(), namespace);
        typed.get("nulls").await.context("reading it back")?;
        Ok(())
    })
    .await
}
