//! Clusters that a policy refuses.

use super::*;
use k3k_api::conditions::READY;
use k3k_api::v1beta1::{Cluster, ClusterStatus, Phase};
use k3k_tests::in_namespace;
use k8s_openapi::api::apps::v1::StatefulSet;

async fn create(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let cluster: Cluster = serde_json::from_value(json!({
        "apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "metadata": { "name": name }, "spec": {},
    }))?;
    api::<Cluster>(client, namespace).create(&PostParams::default(), &cluster).await?;
    Ok(())
}

async fn cluster(
    client: &Client,
    namespace: &str,
    name: &str,
    accept: impl Fn(&ClusterStatus) -> bool,
) -> Result<ClusterStatus> {
    let clusters = api::<Cluster>(client, namespace);
    wait::until(&format!("the expected status of Cluster {name}"), async || {
        let status = clusters.get(name).await?.status.unwrap_or_default();
        Ok(accept(&status).then_some(status))
    })
    .await
}

fn message(status: &ClusterStatus) -> &str {
    find(&status.conditions, READY).map(|ready| ready.message.as_str()).unwrap_or_default()
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_cluster_of_another_mode_is_refused() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        make(&client, name, &json!({ "allowedMode": "virtual" })).await?;
        bind(&client, namespace, Some(name)).await?;
        create(&client, namespace, "dev").await?;
        let refused = cluster(&client, namespace, "dev", |status| status.phase == Phase::Pending).await?;
        assert!(
            message(&refused).contains("mode \"shared\" is not allowed by the policy"),
            "{}",
            message(&refused)
        );
        assert_eq!(refused.policy_name.as_deref(), Some(name));
        assert!(names::<StatefulSet>(&client, namespace).await?.is_empty());
        let told =
            status(&client, name, |status| status.namespaces.iter().any(|bound| bound.clusters == 1)).await?;
        assert_eq!(told.summary.as_deref(), Some("1 namespace, 1 cluster"));
        api::<Cluster>(&client, namespace).delete("dev", &DeleteParams::default()).await?;
        status(&client, name, |status| status.namespaces.iter().all(|bound| bound.clusters == 0)).await?;
        remove(&client, name).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_second_cluster_waits_until_the_namespace_has_room() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        let spec = json!({
            "tenancy": { "clustersPerNamespace": "Single" },
            "nodes": { "requiredSelector": { "pool": "a" }, "tolerations": { "required": [{ "key": "pool" }] } },
        });
        make(&client, name, &spec).await?;
        bind(&client, namespace, Some(name)).await?;
        create(&client, namespace, "a-first").await?;
        let first = cluster(&client, namespace, "a-first", |status| status.endpoint.is_some()).await?;
        let applied = first.policy.unwrap();
        assert_eq!((applied.name.as_str(), &applied.node_selector["pool"]), (name, &"a".to_owned()));
        let server = api::<StatefulSet>(&client, namespace).get("k3k-a-first-server").await?;
        let pod = serde_json::to_value(server.spec)?["template"]["spec"].clone();
        assert_eq!(pod["nodeSelector"], json!({ "pool": "a" }));
        assert_eq!(pod["tolerations"], json!([{ "key": "pool", "operator": "Exists" }]));

        create(&client, namespace, "b-second").await?;
        let refused = cluster(&client, namespace, "b-second", |status| status.phase == Phase::Pending).await?;
        assert!(message(&refused).contains("one cluster in a namespace, and \"a-first\" is there"), "{}", message(&refused));
        api::<Cluster>(&client, namespace).delete("a-first", &DeleteParams::default()).await?;
        cluster(&client, namespace, "b-second", |status| status.endpoint.is_some()).await?;
        api::<Cluster>(&client, namespace).delete("b-second", &DeleteParams::default()).await?;
        remove(&client, name).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_cluster_begins_when_its_policy_is_in_force() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        let quotas = api::<k8s_openapi::api::core::v1::ResourceQuota>(&client, namespace);
        let foreign = quota(&format!("k3k-{name}"), &json!({ "pods": "99" }));
        quotas.create(&PostParams::default(), &foreign).await?;
        make(&client, name, &json!({ "quota": { "hard": { "pods": "5" } } })).await?;
        bind(&client, namespace, Some(name)).await?;
        create(&client, namespace, "dev").await?;
        let waiting = cluster(&client, namespace, "dev", |status| status.phase == Phase::Pending).await?;
        assert!(message(&waiting).contains("is not in place in the namespace yet"), "{}", message(&waiting));
        assert!(names::<StatefulSet>(&client, namespace).await?.is_empty());
        quotas.delete(&format!("k3k-{name}"), &DeleteParams::default()).await?;
        cluster(&client, namespace, "dev", |status| status.endpoint.is_some()).await?;
        api::<Cluster>(&client, namespace).delete("dev", &DeleteParams::default()).await?;
        remove(&client, name).await
    })
    .await
}
