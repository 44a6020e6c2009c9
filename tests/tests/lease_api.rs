//! Leader election on a real API server: one at a time, and no waiting after a holder has stepped down.

use anyhow::{Context, Result};
use futures::FutureExt;
use k3k_runtime::lease::{Lease, LeaseParams};
use k3k_tests::{ApiServer, in_namespace, wait};
use k8s_openapi::api::coordination::v1::Lease as Object;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const NAME: &str = "leader";

fn candidate(client: &Client, namespace: &str, identity: &str, duration: Duration) -> Lease {
    let params = LeaseParams {
        namespace: namespace.to_owned(),
        name: NAME.to_owned(),
        identity: identity.to_owned(),
        duration,
        owner: None,
    };
    Lease::spawn(client.clone(), params, CancellationToken::new())
}

/// Until `lease` is held, for as long as a test may wait.
async fn acquired(lease: &mut Lease) -> Result<()> {
    Ok(tokio::time::timeout(wait::LIMIT, lease.acquired()).await.context("nobody leads")??)
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn one_leads_and_the_next_follows() -> Result<()> {
    let client = ApiServer::shared().await?.client().await?;
    in_namespace(&client, async |namespace| {
        let api: Api<Object> = Api::namespaced(client.clone(), namespace);
        // Long enough that nothing in here can be an expiry.
        let long = Duration::from_secs(15 * 60);
        let mut first = candidate(&client, namespace, "first", long);
        acquired(&mut first).await?;
        let spec = api.get(NAME).await?.spec.context("a spec")?;
        assert_eq!(spec.holder_identity.as_deref(), Some("first"));
        assert_eq!((spec.lease_duration_seconds, spec.lease_transitions), (Some(900), Some(0)));

        let short = Duration::from_secs(15);
        let mut second = candidate(&client, namespace, "second", short);
        let third = candidate(&client, namespace, "third", short);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(second.acquired().now_or_never().is_none(), "the first still leads");
        drop(third);
        first.release().await;
        acquired(&mut second).await?;
        let spec = api.get(NAME).await?.spec.context("a spec")?;
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("second"), Some(1)));

        // Somebody else takes it by force: the holder learns of it, and does not take it back.
        let taken = json!({"spec": {"holderIdentity": "usurper", "leaseDurationSeconds": 900}});
        api.patch(NAME, &PatchParams::default(), &Patch::Merge(taken)).await?;
        tokio::time::timeout(wait::LIMIT, second.lost()).await.context("the loss went unnoticed")?;
        let spec = api.get(NAME).await?.spec.context("a spec")?;
        assert_eq!(spec.holder_identity.as_deref(), Some("usurper"));
        Ok(())
    })
    .await
}
