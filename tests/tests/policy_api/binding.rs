//! Objects come, follow, are put right, and go.

use super::*;
use k3k_tests::in_namespace;

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn objects_follow_a_policy_from_binding_to_unbinding() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        make(&client, name, &json!({ "quota": { "hard": { "pods": "5", "requests.cpu": "1500m" } } })).await?;
        assert_eq!(reason(&in_place(&client, name, 0).await?, "NativeObjectsReady"), "Unbound");
        bind(&client, namespace, Some(name)).await?;
        holds(&client, namespace, &basics_and(name, &["ResourceQuota/k3k-*"])).await?;
        let status = in_place(&client, name, 1).await?;
        assert_eq!((status.namespaces[0].name.as_str(), status.namespaces[0].clusters), (namespace, 0));
        assert_eq!(status.observed_generation, Some(1));
        assert_eq!(status.summary.as_deref(), Some("1 namespace, 0 clusters"));

        let quotas = api::<ResourceQuota>(&client, namespace);
        let quota = quotas.get(&format!("k3k-{name}")).await?;
        let policy = policies(&client).get(name).await?;
        assert_eq!(quota.owner_references()[0].uid, policy.uid().unwrap());
        assert_eq!(quota.owner_references()[0].controller, Some(true));

        change(
            &client,
            name,
            &json!({
                "quota": null,
                "limit": { "limits": [{ "type": "Container", "max": { "cpu": "1" } }] },
                "resources": { "perCluster": { "pods": "7" }, "containers": { "defaults": { "requests": { "cpu": "50m" } } } },
                "network": { "services": { "types": ["ClusterIP"] } },
            }),
        )
        .await?;
        let more = ["ResourceQuota/k3k-*-cluster", "ResourceQuota/k3k-*-denied", "LimitRange/k3k-*"];
        holds(&client, namespace, &basics_and(name, &more)).await?;
        let ranges = api::<LimitRange>(&client, namespace).get(&format!("k3k-{name}")).await?;
        let limits = serde_json::to_value(ranges.spec)?;
        assert_eq!(limits["limits"][0]["defaultRequest"], json!({ "cpu": "50m" }));
        assert_eq!(in_place(&client, name, 1).await?.observed_generation, Some(2));

        change(&client, name, &json!({ "disableNetworkPolicy": true, "limit": null, "resources": null, "network": null })).await?;
        holds(&client, namespace, &[format!("ResourceQuota/k3k-{name}-priority")]).await?;
        let is_disabled = |status: &VirtualClusterPolicyStatus| reason(status, "Isolated") == "Disabled";
        self::status(&client, name, is_disabled).await?;

        bind(&client, namespace, None).await?;
        holds(&client, namespace, &[]).await?;
        in_place(&client, name, 0).await?;
        remove(&client, name).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn what_somebody_changes_is_put_right() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        make(&client, name, &json!({ "quota": { "hard": { "pods": "5" } } })).await?;
        bind(&client, namespace, Some(name)).await?;
        in_place(&client, name, 1).await?;
        let (quotas, networks) = (api::<ResourceQuota>(&client, namespace), api::<NetworkPolicy>(&client, namespace));
        let quota = format!("k3k-{name}");

        quotas.delete(&quota, &DeleteParams::default()).await?;
        wait::until("the quota is there again", async || Ok(quotas.get_opt(&quota).await?)).await?;

        let patch = json!({ "spec": { "hard": { "pods": "500" } } });
        quotas.patch(&quota, &PatchParams::default(), &Patch::Merge(patch)).await?;
        wait::until("the quota says what it said", async || {
            let hard = quotas.get(&quota).await?.spec.unwrap().hard.unwrap();
            Ok((hard["pods"].0 == "5").then_some(()))
        })
        .await?;

        // A rule more lets more through, and a selector that selects less isolates less.
        let open = json!({ "spec": { "ingress": [{ "from": [{ "podSelector": {} }] }, {}], "podSelector": { "matchLabels": { "a": "b" } } } });
        networks.patch(&format!("k3k-{name}"), &PatchParams::default(), &Patch::Merge(open)).await?;
        wait::until("the NetworkPolicy is as it was", async || {
            let spec = serde_json::to_value(networks.get(&format!("k3k-{name}")).await?.spec)?;
            let closed = spec["ingress"] == json!([{ "from": [{ "podSelector": {} }] }]) && spec["podSelector"] == json!({});
            Ok(closed.then_some(()))
        })
        .await?;

        // Without the label by which it is watched it is known by its name.
        let bare = json!({ "metadata": { "labels": null } });
        quotas.patch(&quota, &PatchParams::default(), &Patch::Merge(bare)).await?;
        wait::until("the quota has its labels again", async || {
            let labels = quotas.get(&quota).await?.labels().clone();
            Ok(labels.contains_key("app.kubernetes.io/managed-by").then_some(()))
        })
        .await?;

        // Then nothing is written any more, whatever is looked at.
        let versions = async || {
            let (quota, network) = (quotas.list(&ListParams::default()).await?, networks.list(&ListParams::default()).await?);
            let quotas = quota.iter().map(ResourceExt::resource_version);
            anyhow::Ok(quotas.chain(network.iter().map(ResourceExt::resource_version)).collect::<Vec<_>>())
        };
        in_place(&client, name, 1).await?;
        let before = versions().await?;
        change(&client, name, &json!({ "defaultPriorityClass": "some" })).await?;
        in_place(&client, name, 1).await?;
        assert_eq!(versions().await?, before);
        remove(&client, name).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn policies_stand_side_by_side_and_take_over_from_one_another() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |one| {
        in_namespace(&client, async |other| {
            // The second's names begin with the first's.
            let (gold, tin) = (one.to_owned(), format!("{one}-cluster"));
            make(&client, &gold, &json!({ "resources": { "perCluster": { "pods": "1" } } })).await?;
            make(&client, &tin, &json!({ "quota": { "hard": { "pods": "2" } } })).await?;
            bind(&client, one, Some(&gold)).await?;
            bind(&client, other, Some(&tin)).await?;
            let (of_gold, of_tin) = (
                basics_and(&gold, &["ResourceQuota/k3k-*-cluster"]),
                basics_and(&tin, &["ResourceQuota/k3k-*"]),
            );
            holds(&client, one, &of_gold).await?;
            holds(&client, other, &of_tin).await?;
            bind(&client, one, Some(&tin)).await?;
            holds(&client, one, &of_tin).await?;
            assert_eq!(in_place(&client, &tin, 2).await?.namespaces.len(), 2);
            in_place(&client, &gold, 0).await?;

            remove(&client, &tin).await?;
            holds(&client, one, &[]).await?;
            holds(&client, other, &[]).await?;
            // A policy of that name comes back, and is another.
            make(&client, &tin, &json!({})).await?;
            holds(&client, other, &basics(&tin)).await?;
            remove(&client, &gold).await?;
            remove(&client, &tin).await
        })
        .await
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn somebody_elses_object_is_told_and_not_touched() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        let quotas = api::<ResourceQuota>(&client, namespace);
        let foreign = quota(&format!("k3k-{name}"), &json!({ "pods": "99" }));
        quotas.create(&PostParams::default(), &foreign).await?;
        make(&client, name, &json!({ "quota": { "hard": { "pods": "5" } } })).await?;
        in_place(&client, name, 0).await?;
        bind(&client, namespace, Some(name)).await?;
        let is_refused =
            |status: &VirtualClusterPolicyStatus| reason(status, "NativeObjectsReady") == "NameTaken";
        let refused = status(&client, name, is_refused).await?;
        assert_eq!(refused.observed_generation, Some(1), "of the time when it was bound to nothing");
        let message = &find(&refused.conditions, "NativeObjectsReady").unwrap().message;
        assert!(message.contains("does not belong to a policy"), "{message}");
        assert_eq!(quotas.get(&format!("k3k-{name}")).await?.spec.unwrap().hard.unwrap()["pods"].0, "99");
        holds(&client, namespace, &basics_and(name, &["ResourceQuota/k3k-*"])).await?;
        let events: Api<k8s_openapi::api::events::v1::Event> = Api::all(client.clone());
        wait::until("a Warning Event", async || {
            let of_policy = |event: &&k8s_openapi::api::events::v1::Event| {
                event.regarding.as_ref().is_some_and(|about| about.name.as_deref() == Some(name))
                    && event.reason.as_deref() == Some("NameTaken")
            };
            Ok(events.list(&ListParams::default()).await?.iter().find(of_policy).map(drop))
        })
        .await?;
        quotas.delete(&format!("k3k-{name}"), &DeleteParams::default()).await?;
        in_place(&client, name, 1).await?;
        remove(&client, name).await
    })
    .await
}
