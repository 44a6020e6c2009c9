//! A tenant's budget over two policies. The test plays the host's quota controller.

use super::*;
use k3k_tests::in_namespace;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// What the quota asks for, and what is in force.
async fn pods(client: &Client, namespace: &str, policy: &str) -> Result<Option<(i64, i64)>> {
    let quota = api::<ResourceQuota>(client, namespace).get_opt(&format!("k3k-{policy}-tenant")).await?;
    let read = |hard: Option<BTreeMap<String, Quantity>>| {
        hard.and_then(|hard| hard["pods"].0.parse().ok()).unwrap_or(0)
    };
    Ok(quota.map(|quota| {
        (read(quota.spec.and_then(|spec| spec.hard)), read(quota.status.and_then(|status| status.hard)))
    }))
}

/// As the host does: what was asked for is in force, and so much is used.
async fn enforce(client: &Client, namespace: &str, policy: &str, used: &str) -> Result<()> {
    let quotas = api::<ResourceQuota>(client, namespace);
    let name = format!("k3k-{policy}-tenant");
    let hard = quotas.get(&name).await?.spec.and_then(|spec| spec.hard);
    let patch = json!({ "status": { "hard": hard, "used": { "pods": used } } });
    quotas.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_budget_moves_between_namespaces_and_is_never_exceeded() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |one| {
        in_namespace(&client, async |other| {
            let tenancy = json!({ "tenant": one });
            let spec = json!({ "tenancy": tenancy, "resources": { "perTenant": { "pods": "11" } } });
            make(&client, one, &spec).await?;
            make(&client, other, &json!({ "tenancy": tenancy })).await?;
            bind(&client, one, Some(one)).await?;
            let asks = async |namespace: &str, wanted: i64| {
                wait::until(&format!("a share of {wanted} in {namespace}"), async || {
                    let all = [pods(&client, one, one).await?, pods(&client, other, other).await?];
                    let most: i64 = all.iter().flatten().map(|(asked, in_force)| asked.max(in_force)).sum();
                    anyhow::ensure!(most <= 11, "{all:?}");
                    let share = pods(&client, namespace, namespace).await?;
                    Ok(share.filter(|(asked, _)| *asked == wanted).map(drop))
                })
                .await
            };
            asks(one, 11).await?;
            enforce(&client, one, one, "1").await?;
            // The second namespace waits until the first has given.
            bind(&client, other, Some(other)).await?;
            asks(one, 6).await?;
            asks(other, 0).await?;
            enforce(&client, other, other, "0").await?;
            enforce(&client, one, one, "1").await?;
            asks(other, 5).await?;
            enforce(&client, other, other, "4").await?;
            // It needs more room, and gets it when that is confirmed.
            asks(one, 4).await?;
            enforce(&client, one, one, "1").await?;
            asks(other, 7).await?;
            enforce(&client, other, other, "4").await?;

            // A share that somebody raises is put right.
            let patch = json!({ "spec": { "hard": { "pods": "100" } } });
            let quotas = api::<ResourceQuota>(&client, other);
            quotas
                .patch(&format!("k3k-{other}-tenant"), &PatchParams::default(), &Patch::Merge(patch))
                .await?;
            wait::until("a share within the budget", async || {
                Ok(pods(&client, other, other).await?.filter(|(asked, _)| *asked <= 11))
            })
            .await?;

            // Who leaves gives back.
            bind(&client, other, None).await?;
            wait::until("no share", async || Ok(pods(&client, other, other).await?.is_none().then_some(())))
                .await?;
            asks(one, 11).await?;
            remove(&client, one).await?;
            remove(&client, other).await
        })
        .await
    })
    .await
}
