//! What the controller writes later on: nothing, unless something changed.

use super::*;
use k3k_tests::in_namespace;

fn versions(objects: &BTreeMap<String, DynamicObject>) -> BTreeMap<String, Option<String>> {
    objects.iter().map(|(name, object)| (name.clone(), object.resource_version())).collect()
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_reconcile_that_finds_all_well_writes_nothing() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        create(&client, namespace, "dev", &json!({})).await?;
        provisioned(&client, namespace, "dev").await?;
        let before = versions(&objects(&client, namespace).await?);
        // A field that means nothing in mode shared: the controller looks at everything again, and says so.
        for agents in [1, 2, 3] {
            apply_spec(&client, namespace, "dev", &json!({ "agents": agents })).await?;
            status(&client, namespace, "dev", |_| true).await?;
        }
        assert_eq!(versions(&objects(&client, namespace).await?), before);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn what_somebody_changes_is_put_right() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        create(&client, namespace, "dev", &json!({})).await?;
        provisioned(&client, namespace, "dev").await?;
        let services = api(&client, namespace, "Service");
        let patch = json!({ "spec": { "selector": { "k8s-app": "mine" } } });
        services.patch("k3k-dev-kube-dns", &PatchParams::default(), &Patch::Merge(patch)).await?;
        wait::until("the Service's selector is as it was", async || {
            let selector =
                services.get("k3k-dev-kube-dns").await?.data["spec"]["selector"]["k8s-app"].clone();
            Ok((selector == "kube-dns").then_some(()))
        })
        .await?;

        let servers = api(&client, namespace, "StatefulSet");
        let uid = servers.get("k3k-dev-server").await?.uid();
        servers.delete("k3k-dev-server", &kube::api::DeleteParams::default()).await?;
        wait::until("the StatefulSet is there again", async || {
            Ok(servers.get_opt("k3k-dev-server").await?.filter(|server| server.uid() != uid))
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_change_of_the_spec_arrives() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        create(&client, namespace, "dev", &json!({})).await?;
        provisioned(&client, namespace, "dev").await?;
        let servers = api(&client, namespace, "StatefulSet");
        let template =
            async || anyhow::Ok(servers.get("k3k-dev-server").await?.data["spec"]["template"].clone());
        let before = template().await?;
        apply_spec(
            &client,
            namespace,
            "dev",
            &json!({ "tlsSANs": ["dev.example"], "version": "v1.35.1-k3s1" }),
        )
        .await?;
        let status =
            status(&client, namespace, "dev", |status| status.tls_sans.contains(&"dev.example".to_owned()))
                .await?;
        assert_eq!(status.version, None, "no server has run");
        let after = template().await?;
        assert_eq!(after["spec"]["containers"][0]["image"], "rancher/k3s:v1.35.1-k3s1");
        let hash = |template: &Value| template["metadata"]["annotations"]["k3k.io/config-hash"].clone();
        assert_ne!(hash(&before), hash(&after));

        // What is taken out of the spec goes from the objects too.
        apply_spec(&client, namespace, "dev", &json!({ "tlsSANs": null, "serverLimit": { "cpu": "1" } }))
            .await?;
        wait::until("limits", async || {
            Ok(template().await?["spec"]["containers"][0]["resources"]["limits"].as_object().cloned())
        })
        .await?;
        apply_spec(&client, namespace, "dev", &json!({ "serverLimit": null })).await?;
        wait::until("no limits", async || {
            Ok(template().await?["spec"]["containers"][0]["resources"]["limits"].is_null().then_some(()))
        })
        .await
    })
    .await
}
