//! How clusters go.

use super::*;
use k3k_api::labels;
use k3k_api::v1beta1::Phase;
use k3k_tests::in_namespace;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::DeleteParams;
use kube::runtime::wait::conditions::is_deleted;

async fn delete(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let api = clusters(client, namespace);
    let uid = api.get(name).await?.uid().unwrap_or_default();
    api.delete(name, &DeleteParams::default()).await?;
    wait::wait_for(api, name, is_deleted(&uid)).await.map(drop)
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_cluster_that_never_ran_is_deleted() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        for name in ["one", "two"] {
            create(&client, namespace, name, &json!({})).await?;
            provisioned(&client, namespace, name).await?;
        }
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let claimed = async || {
            anyhow::Ok(namespaces.get(namespace).await?.labels().contains_key(labels::CLUSTER_NAMESPACE))
        };
        delete(&client, namespace, "one").await?;
        let left = objects(&client, namespace).await?;
        assert!(
            !left.contains_key("Deployment/k3k-one-kubelet")
                && !left.contains_key("StatefulSet/k3k-one-server")
        );
        assert!(left.contains_key("Deployment/k3k-two-kubelet"));
        assert!(claimed().await?, "another cluster lives there");
        delete(&client, namespace, "two").await?;
        assert!(!claimed().await?);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_cluster_that_was_refused_is_deleted() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        create(&client, namespace, "dev", &json!({ "mode": "hcp", "agents": 1 })).await?;
        status(&client, namespace, "dev", |status| status.phase == Phase::Pending).await?;
        delete(&client, namespace, "dev").await
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn the_virtual_kubelet_stops_first() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        create(&client, namespace, "dev", &json!({})).await?;
        provisioned(&client, namespace, "dev").await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let kubelet: Pod = serde_json::from_value(json!({
            "metadata": { "name": "kubelet", "labels": { labels::CLUSTER: "dev", labels::COMPONENT: labels::component::KUBELET } },
            "spec": { "containers": [{ "name": "c", "image": "i" }], "automountServiceAccountToken": false },
        }))?;
        pods.create(&PostParams::default(), &kubelet).await?;
        let api = clusters(&client, namespace);
        let uid = api.get("dev").await?.uid().unwrap_or_default();
        api.delete("dev", &DeleteParams::default()).await?;
        wait::until("the Deployment is gone", async || {
            Ok(super::api(&client, namespace, "Deployment").get_opt("k3k-dev-kubelet").await?.is_none().then_some(()))
        })
        .await?;
        let waiting = api.get("dev").await?;
        assert_eq!(waiting.status.unwrap_or_default().phase, Phase::Terminating);
        let immediately = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete("kubelet", &immediately).await?;
        wait::wait_for(api, "dev", is_deleted(&uid)).await.map(drop)
    })
    .await
}
