//! How the process ends.

use super::*;
use clap::Parser;
use k3k_controller::args::Args;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A whole controller, as its process runs it, with its Lease in `namespace`.
fn start(
    client: &Client,
    namespace: &str,
    identity: &str,
) -> Result<(JoinHandle<Result<()>>, CancellationToken)> {
    let args = [
        "k3k-controller",
        "--namespace",
        namespace,
        "--identity",
        identity,
        "--admin-address",
        "127.0.0.1:0",
    ];
    let args = Args::try_parse_from(args)?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(k3k_controller::serve(args, client.clone(), shutdown.clone()));
    Ok((running, shutdown))
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn told_to_end_it_ends_and_gives_up_the_lease() -> Result<()> {
    let client = client().await?;
    let (running, shutdown) = start(&client, NAMESPACE, "ending")?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let holder = async || {
        let lease = leases.get_opt("k3k-controller").await?;
        anyhow::Ok(lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default())
    };
    wait::until("the Lease is held", async || Ok((holder().await? == "ending").then_some(()))).await?;
    // A reconcile that went through is due again in some minutes: nobody waits for that.
    k3k_tests::in_namespace(&client, async |namespace| {
        create(&client, namespace, "dev", &json!({})).await?;
        provisioned(&client, namespace, "dev").await.map(drop)
    })
    .await?;
    shutdown.cancel();
    tokio::time::timeout(wait::LIMIT, running).await.context("it did not end")???;
    assert_eq!(holder().await?, "");
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn who_loses_the_lease_competes_again() -> Result<()> {
    let client = client().await?;
    k3k_tests::in_namespace(&client, async |namespace| {
        let (running, shutdown) = start(&client, namespace, "first")?;
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let held = async || {
            let spec = leases.get_opt("k3k-controller").await?.and_then(|lease| lease.spec);
            let held = spec.filter(|spec| spec.holder_identity.as_deref() == Some("first"));
            anyhow::Ok(held.map(|spec| spec.lease_transitions.unwrap_or_default()))
        };
        let before = wait::until("the Lease is held", held).await?;
        let taken = json!({"spec": {"holderIdentity": "other", "leaseDurationSeconds": 1}});
        leases.patch("k3k-controller", &PatchParams::default(), &Patch::Merge(&taken)).await?;
        let again = async || Ok(held().await?.filter(|transitions| *transitions > before));
        wait::until("the Lease is held again", again).await?;
        anyhow::ensure!(!running.is_finished(), "the process goes on");
        shutdown.cancel();
        tokio::time::timeout(wait::LIMIT, running).await.context("it did not end")??
    })
    .await
}
