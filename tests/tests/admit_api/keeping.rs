//! How the webhook keeps its certificate and its registration.

use crate::{ACCOUNT, Host, NAME, NAMESPACE, SECRET, free_port, registrations, secrets};
use anyhow::{Context, Result, ensure};
use k3k_tests::wait;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

fn bundle(found: Option<&ValidatingWebhookConfiguration>) -> Option<Vec<u8>> {
    let webhook = found?.webhooks.as_ref()?.first()?;
    webhook.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.clone())
}

fn key(found: Option<&Secret>, key: &str) -> Option<Vec<u8>> {
    found?.data.as_ref()?.get(key).map(|value| value.0.clone())
}

/// Two replicas from an empty Secret to serving, drift, loss, renewal and the end of the first replica.
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn the_certificate_is_kept() -> Result<()> {
    let host = Host::start().await?;
    let client = host.server.client().await?;
    let mut first = host.replica("first", host.port)?;
    first.wait_until_ready().await?;
    let mut second = host.replica("second", free_port()?)?;
    second.wait_until_ready().await?;
    host.wait_until_asked().await?;

    let leases = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let holder = leases.get(NAME).await?.spec.and_then(|spec| spec.holder_identity);
    ensure!(holder.as_deref() == Some("first"), "{holder:?}");

    // The registration is ours by caBundle alone, and the installer may apply its own fields again.
    let registered = registrations(&client).get(NAME).await?;
    let authority = bundle(Some(&registered)).context("no caBundle")?;
    let fields = registered
        .managed_fields()
        .iter()
        .find(|entry| entry.manager.as_deref() == Some(k3k_api::managers::WEBHOOK));
    ensure!(
        fields.is_some_and(|entry| entry.operation.as_deref() == Some("Apply")),
        "{:?}",
        registered.managed_fields()
    );
    host.install()?;
    ensure!(
        bundle(Some(&registrations(&client).get(NAME).await?)) == Some(authority.clone()),
        "the installer took it"
    );

    // Drift is corrected.
    let drift = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]);
    let drift: kube::api::Patch<()> = Patch::Json(serde_json::from_value(drift)?);
    registrations(&client).patch(NAME, &PatchParams::default(), &drift).await?;
    let restored = |found: Option<&ValidatingWebhookConfiguration>| bundle(found) == Some(authority.clone());
    wait::wait_for(registrations(&client), NAME, restored).await?;
    host.wait_until_asked().await?;

    // A serving certificate that is lost is made anew, by the same authority.
    let before = secrets(&client).get(SECRET).await?;
    let loss = json!({"data": {"tls.crt": null, "tls.key": null}});
    secrets(&client).patch(SECRET, &PatchParams::default(), &Patch::Merge(loss)).await?;
    let renewed = |found: Option<&Secret>| {
        key(found, "tls.crt").is_some_and(|leaf| Some(leaf) != key(Some(&before), "tls.crt"))
    };
    let after = wait::wait_for(secrets(&client), SECRET, renewed).await?;
    ensure!(key(after.as_ref(), "ca.crt") == key(Some(&before), "ca.crt"), "the authority changed");

    // When everything is lost, there is a new authority, and the API server learns of it.
    let loss = json!({"data": null});
    secrets(&client).patch(SECRET, &PatchParams::default(), &Patch::Merge(loss)).await?;
    let moved_on = |found: Option<&ValidatingWebhookConfiguration>| {
        bundle(found).is_some_and(|bundle| !bundle.is_empty() && bundle != authority)
    };
    let moved_on = wait::wait_for(registrations(&client), NAME, moved_on).await?;
    host.wait_until_asked().await?;
    first.wait_until_ready().await?;
    second.wait_until_ready().await?;

    // Once.
    let registered = registrations(&client).get(NAME).await?;
    ensure!(bundle(Some(&registered)) == bundle(moved_on.as_ref()), "the bundle changed once more");

    // The lease goes to the other replica, which keeps the certificate from then on.
    first.stop()?;
    let handed_over = |found: Option<&Lease>| {
        let holder = found.and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
        holder == Some("second")
    };
    wait::wait_for(leases, NAME, handed_over).await?;
    let loss = json!({"data": {"tls.crt": "bm9uc2Vuc2U="}});
    secrets(&client).patch(SECRET, &PatchParams::default(), &Patch::Merge(loss)).await?;
    let repaired = |found: Option<&Secret>| key(found, "tls.crt").is_some_and(|leaf| leaf != b"nonsense");
    wait::wait_for(secrets(&client), SECRET, repaired).await?;
    second.wait_until_ready().await?;
    let metrics = second.get("/metrics").await?;
    ensure!(metrics.contains("k3k_webhook_certificate_expiry_timestamp"), "{metrics}");
    second.stop()
}

/// The rights that the chart gives are enough for all of the above, and for little else.
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn the_service_account_can_do_little() -> Result<()> {
    let host = Host::shared().await?;
    let account = host.server.client_as(ACCOUNT, None).await?;
    let all = ListParams::default();
    let forbidden = |what: &str, outcome: kube::Result<()>| match outcome {
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(()),
        other => Err(anyhow::anyhow!("{what}: {other:?}")),
    };
    let secrets = Api::<Secret>::namespaced(account.clone(), NAMESPACE);
    forbidden("list its namespace's secrets", secrets.list(&all).await.map(drop))?;
    forbidden("read another secret", secrets.get("other").await.map(drop))?;
    forbidden("list secrets", Api::<Secret>::all(account.clone()).list(&all).await.map(drop))?;
    forbidden("list configmaps", Api::<ConfigMap>::all(account.clone()).list(&all).await.map(drop))?;
    let registrations = Api::<ValidatingWebhookConfiguration>::all(account.clone());
    forbidden("list registrations", registrations.list(&all).await.map(drop))?;
    let other = json!({"webhooks": []});
    let outcome = registrations.patch("other", &PatchParams::default(), &Patch::Merge(other)).await;
    forbidden("write another registration", outcome.map(drop))
}
