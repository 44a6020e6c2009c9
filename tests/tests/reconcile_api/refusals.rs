//! What the controller does not do, and how it says so.

use super::*;
use k3k_api::conditions::reason;
use k3k_api::v1beta1::Phase;
use k3k_tests::in_namespace;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::DeleteParams;

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_bad_spec_makes_nothing_and_names_the_field() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        create(&client, namespace, "dev", &json!({ "serverArgs": ["--token=hunter2"] })).await?;
        let refused = status(&client, namespace, "dev", |status| status.phase == Phase::Pending).await?;
        assert_eq!(super::reason(&refused), reason::VALIDATION_FAILED);
        assert!(
            message(&refused).starts_with("spec.serverArgs[0]: \"token\" cannot be set"),
            "{}",
            message(&refused)
        );
        assert!(!objects(&client, namespace).await?.keys().any(|name| name.contains("k3k-dev")));
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        wait::until("a Warning Event", async || {
            let events = events.list(&ListParams::default()).await?;
            let warning = |event: &&Event| {
                event.type_.as_deref() == Some("Warning")
                    && event.reason.as_deref() == Some(reason::VALIDATION_FAILED)
            };
            Ok(events.iter().find(warning).map(drop))
        })
        .await?;
        // It is accepted as soon as it is right.
        apply_spec(&client, namespace, "dev", &json!({ "serverArgs": ["--debug"] })).await?;
        provisioned(&client, namespace, "dev").await.map(drop)
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn what_is_not_supported_is_said() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        create(&client, namespace, "dev", &json!({ "mode": "hcp", "servers": 3 })).await?;
        let refused = status(&client, namespace, "dev", |status| status.phase == Phase::Pending).await?;
        assert_eq!(super::reason(&refused), reason::NOT_SUPPORTED);
        assert!(message(&refused).starts_with("spec.servers: "), "{}", message(&refused));
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn somebody_elses_object_is_left_alone() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let foreign: Secret = serde_json::from_value(
            json!({ "metadata": { "name": "k3k-dev-kubeconfig" }, "stringData": { "mine": "yes" } }),
        )?;
        let before = secrets.create(&PostParams::default(), &foreign).await?;
        create(&client, namespace, "dev", &json!({})).await?;
        let refused = status(&client, namespace, "dev", |status| status.phase == Phase::Failed).await?;
        assert_eq!(super::reason(&refused), reason::NAME_TAKEN);
        assert!(message(&refused).contains("Secret \"k3k-dev-kubeconfig\" exists"), "{}", message(&refused));
        let after = secrets.get("k3k-dev-kubeconfig").await?;
        assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
        // Once it is out of the way, the cluster goes on.
        secrets.delete("k3k-dev-kubeconfig", &DeleteParams::default()).await?;
        status(&client, namespace, "dev", |status| {
            status.phase == Phase::Provisioning && status.endpoint.is_some()
        })
        .await
        .map(drop)
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_policy_that_is_missing_is_waited_for() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let label = json!({ "metadata": { "labels": { "policy.k3k.io/policy-name": namespace } } });
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(label)).await?;
        create(&client, namespace, "dev", &json!({})).await?;
        let refused = status(&client, namespace, "dev", |status| status.phase == Phase::Pending).await?;
        assert_eq!(super::reason(&refused), reason::POLICY_MISSING);
        let policy: k3k_api::v1beta1::VirtualClusterPolicy = serde_json::from_value(json!({
            "apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "metadata": { "name": namespace },
            "spec": { "defaultNodeSelector": { "pool": "tenants" } },
        }))?;
        let policies: Api<k3k_api::v1beta1::VirtualClusterPolicy> = Api::all(client.clone());
        policies.create(&PostParams::default(), &policy).await?;
        let status = provisioned(&client, namespace, "dev").await?;
        assert_eq!(status.policy_name.as_deref(), Some(namespace));
        let server = api(&client, namespace, "StatefulSet").get("k3k-dev-server").await?;
        assert_eq!(server.data["spec"]["template"]["spec"]["nodeSelector"], json!({ "pool": "tenants" }));
        policies.delete(namespace, &DeleteParams::default()).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_server_that_the_host_refuses_is_told() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        create(&client, namespace, "dev", &json!({})).await?;
        provisioned(&client, namespace, "dev").await?;
        let server = api(&client, namespace, "StatefulSet").get("k3k-dev-server").await?;
        // What the StatefulSet controller says when a quota or a webhook refuses its pod.
        let event: k8s_openapi::api::core::v1::Event = serde_json::from_value(json!({
            "metadata": { "name": "refused", "namespace": namespace }, "type": "Warning", "reason": "FailedCreate",
            "message": "create Pod k3k-dev-server-0 failed error: exceeded quota: tiny",
            "lastTimestamp": "2026-01-01T00:00:00Z", "reportingComponent": "statefulset-controller",
            "involvedObject": { "apiVersion": "apps/v1", "kind": "StatefulSet", "namespace": namespace,
                "name": "k3k-dev-server", "uid": server.uid() },
        }))?;
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(client.clone(), namespace);
        events.create(&PostParams::default(), &event).await?;
        let is_refused = |status: &ClusterStatus| super::reason(status) == reason::SERVER_REFUSED;
        let refused = status(&client, namespace, "dev", is_refused).await?;
        assert!(message(&refused).contains("exceeded quota: tiny"), "{}", message(&refused));
        Ok(())
    })
    .await
}
