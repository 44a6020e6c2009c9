//! What the API server refuses, with a message that names the field.

use crate::{apply, cluster, objects, policy, server};
use anyhow::{Result, ensure};
use k3k_tests::in_namespace;
use kube::Client;
use kube::core::Status;
use rstest::rstest;
use serde_json::{Value, json};

/// The API server's answer to an object that it must refuse.
async fn refusal(client: &Client, namespace: &str, object: &Value) -> Result<Box<Status>> {
    match apply(client, namespace, object).await {
        Ok(_) => anyhow::bail!("accepted: {object}"),
        Err(kube::Error::Api(status)) => Ok(status),
        Err(error) => Err(error.into()),
    }
}

#[rstest]
#[case::no_server(json!({ "servers": 0 }), "spec.servers", "cluster must have at least one server")]
#[case::negative_agents(json!({ "agents": -1 }), "spec.agents", "invalid value for agents")]
#[case::two_ways_out(json!({ "expose": { "nodePort": {}, "loadBalancer": {} } }), "spec.expose",
    "ingress, loadbalancer and nodePort are mutually exclusive; only one can be set")]
#[case::three_ways_out(json!({ "expose": { "nodePort": {}, "loadBalancer": {}, "ingress": {} } }), "spec.expose",
    "ingress, loadbalancer and nodePort are mutually exclusive; only one can be set")]
#[case::mode(json!({ "mode": "private" }), "spec.mode", "supported values: \"shared\", \"virtual\", \"hcp\"")]
#[case::mode_case(json!({ "mode": "Shared" }), "spec.mode", "supported values")]
#[case::mount_role(json!({ "secretMounts": [{ "role": "everyone" }] }), "spec.secretMounts[0].role",
    "supported values: \"server\", \"agent\", \"all\"")]
#[case::mount_name(json!({ "secretMounts": [{ "name": "Upper" }] }), "spec.secretMounts[0].name", "should match")]
#[case::mount_name_empty(json!({ "secretMounts": [{ "name": "" }] }), "spec.secretMounts[0].name", "at least 1")]
#[case::mount_name_long(json!({ "secretMounts": [{ "name": "a".repeat(64) }] }), "spec.secretMounts[0].name", "63")]
#[case::size(json!({ "persistence": { "storageRequestSize": "2 Gigs" } }), "spec.persistence.storageRequestSize",
    "should match")]
#[case::limit(json!({ "serverLimit": { "cpu": "many" } }), "spec.serverLimit.cpu", "should match")]
#[case::servers_text(json!({ "servers": "one" }), "spec.servers", "expected numeric")]
#[case::null(json!({ "tlsSANs": null }), "spec.tlsSANs", "must be of type array")]
#[case::no_ca_sources(json!({ "customCAs": { "enabled": true } }), "spec.customCAs.sources", "Required")]
#[case::ca_without_secret(json!({ "customCAs": { "sources": { "serverCA": {} } } }),
    "spec.customCAs.sources.serverCA.secretName", "Required")]
#[case::env_without_name(json!({ "serverEnvs": [{ "value": "x" }] }), "spec.serverEnvs[0].name", "Required")]
#[case::unknown_field(json!({ "server": 3 }), "spec.server", "field not declared in schema")]
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn bad_clusters_are_refused(#[case] spec: Value, #[case] field: &str, #[case] why: &str) -> Result<()> {
    let client = server().await?.client().await?;
    in_namespace(&client, async |namespace| {
        let status = refusal(&client, namespace, &cluster("bad", &spec)).await?;
        let message = &status.message;
        ensure!(message.contains(field) && message.contains(why), "expected {field}: {why}, got {message}");
        ensure!(
            objects(&client, "Cluster", namespace).get_opt("bad").await?.is_none(),
            "it is stored all the same"
        );
        Ok(())
    })
    .await
}

#[rstest]
#[case::mode(json!({ "allowedMode": "any" }), "spec.allowedMode", "supported values: \"shared\", \"virtual\", \"hcp\"")]
#[case::level(json!({ "podSecurityAdmissionLevel": "strict" }), "spec.podSecurityAdmissionLevel",
    "supported values: \"privileged\", \"baseline\", \"restricted\"")]
#[case::quota(json!({ "quota": { "hard": { "pods": "a few" } } }), "spec.quota.hard.pods", "should match")]
#[case::limit(json!({ "limit": { "limits": [{ "max": { "cpu": "1" } }] } }), "spec.limit.limits[0].type", "Required")]
#[case::unknown_field(json!({ "allowedModeTypes": ["shared"] }), "spec.allowedModeTypes", "field not declared in schema")]
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn bad_policies_are_refused(#[case] spec: Value, #[case] field: &str, #[case] why: &str) -> Result<()> {
    let client = server().await?.client().await?;
    let message = refusal(&client, "", &policy("bad", &spec)).await?.message;
    ensure!(message.contains(field) && message.contains(why), "expected {field}: {why}, got {message}");
    Ok(())
}

#[rstest]
#[case::mode("Cluster", json!({ "mode": "shared" }), json!({ "mode": "hcp" }), "spec.mode", "mode is immutable")]
#[case::default_mode("Cluster", json!({}), json!({ "mode": "virtual" }), "spec.mode", "mode is immutable")]
#[case::cluster_cidr("Cluster", json!({ "clusterCIDR": "10.1.0.0/16" }), json!({ "clusterCIDR": "10.2.0.0/16" }),
    "spec.clusterCIDR", "clusterCIDR is immutable")]
#[case::service_cidr("Cluster", json!({ "serviceCIDR": "10.1.0.0/16" }), json!({ "serviceCIDR": "10.2.0.0/16" }),
    "spec.serviceCIDR", "serviceCIDR is immutable")]
#[case::cluster_dns("Cluster", json!({ "clusterDNS": "10.1.0.10" }), json!({ "clusterDNS": "10.1.0.11" }),
    "spec.clusterDNS", "clusterDNS is immutable")]
#[case::size("Cluster", json!({ "persistence": { "storageRequestSize": "2G" } }),
    json!({ "persistence": { "storageRequestSize": "3G" } }),
    "spec.persistence.storageRequestSize", "storageRequestSize is immutable")]
#[case::allowed_mode("VirtualClusterPolicy", json!({}), json!({ "allowedMode": "hcp" }), "spec.allowedMode",
    "mode is immutable")]
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn some_fields_never_change(
    #[case] kind: &str,
    #[case] before: Value,
    #[case] after: Value,
    #[case] field: &str,
    #[case] why: &str,
) -> Result<()> {
    let client = server().await?.client().await?;
    in_namespace(&client, async |namespace| {
        let build = if kind == "Cluster" { cluster } else { policy };
        let stored = apply(&client, namespace, &build(namespace, &before)).await?;
        let message = refusal(&client, namespace, &build(namespace, &after)).await?.message;
        ensure!(message.contains(field) && message.contains(why), "expected {field}: {why}, got {message}");
        let kept = objects(&client, kind, namespace).get(namespace).await?;
        assert_eq!(Some(&kept.data["spec"]), stored.get("spec"));
        Ok(())
    })
    .await
}

#[rstest]
#[case::longest("a".repeat(41), true)]
#[case::too_long("a".repeat(42), false)]
#[case::dotted("a.b".into(), false)]
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn cluster_names_leave_room_for_what_is_made_of_them(
    #[case] name: String,
    #[case] fits: bool,
) -> Result<()> {
    assert_eq!(name.len() <= k3k_api::names::MAX_CLUSTER_NAME && !name.contains('.'), fits);
    let client = server().await?.client().await?;
    in_namespace(&client, async |namespace| {
        let object = cluster(&name, &json!({}));
        if fits {
            apply(&client, namespace, &object).await?;
        } else {
            let message = refusal(&client, namespace, &object).await?.message;
            ensure!(message.contains("metadata.name: must be at most 41 characters"), "{message}");
        }
        Ok(())
    })
    .await
}
