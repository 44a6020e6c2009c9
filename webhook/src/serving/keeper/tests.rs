use super::*;
use k3k_runtime::scenario::{self, Scenario};
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, WebhookClientConfig};

use kube::api::ObjectMeta;
use serde_json::json;
use tokio::sync::watch::{Sender, channel};

const WEBHOOKS: &[&str] = ValidatingWebhookConfiguration::WEBHOOKS;

struct Fixture {
    keeper: Keeper,
    scenario: Scenario,
    secret: Sender<Seen<Secret>>,
    registration: Sender<Seen<ValidatingWebhookConfiguration>>,
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("k3k-system".to_owned()),
        resource_version: Some("7".to_owned()),
        ..ObjectMeta::default()
    }
}

fn secret(stored: &Stored) -> Seen<Secret> {
    Seen::Present(Secret { metadata: named("tls"), data: Some(stored.to_data()), ..Secret::default() })
}

fn registered(bundle: &str) -> Seen<ValidatingWebhookConfiguration> {
    let webhook = |name: &&str| ValidatingWebhook {
        name: (*name).to_owned(),
        client_config: WebhookClientConfig {
            ca_bundle: Some(k8s_openapi::ByteString(bundle.as_bytes().to_vec())),
            ..WebhookClientConfig::default()
        },
        ..ValidatingWebhook::default()
    };
    Seen::Present(ValidatingWebhookConfiguration {
        metadata: named("hook"),
        webhooks: Some(WEBHOOKS.iter().map(webhook).collect()),
    })
}

fn fixture(secret: Seen<Secret>, registration: Seen<ValidatingWebhookConfiguration>) -> Fixture {
    let (client, scenario) = scenario::client();
    let ((secret, follow_secret), (registration, follow_registration)) =
        (channel(secret), channel(registration));
    let keeper = Keeper {
        client,
        lease: LeaseParams {
            namespace: "k3k-system".to_owned(),
            name: "lease".to_owned(),
            identity: "me".to_owned(),
            duration: Duration::from_secs(15),
            owner: None,
        },
        namespace: "k3k-system".to_owned(),
        names: Names::new("k3k-webhook", "k3k-system", &[]),
        secret: follow_secret,
        validating: follow_registration,
        // Both are kept alike, and one after the other.
        mutating: channel(Seen::Unknown).1,
    };
    Fixture { keeper, scenario, secret, registration }
}

fn issued() -> Stored {
    let names = Names::new("k3k-webhook", "k3k-system", &[]);
    plan(&Stored::default(), &names, Timestamp::now()).unwrap().unwrap()
}

/// Nothing is known: nothing may be written, or two replicas would overwrite each other's certificates.
#[tokio::test]
async fn what_is_not_known_is_not_written() {
    let mut fixture = fixture(Seen::Unknown, Seen::Unknown);
    fixture.keeper.step().await.unwrap();
    fixture.secret.send_replace(Seen::Absent);
    assert!(matches!(fixture.keeper.step().await, Err(Error::NoSecret)));
    fixture.secret.send_replace(secret(&issued()));
    fixture.keeper.step().await.unwrap();
    fixture.registration.send_replace(Seen::Absent);
    assert!(matches!(fixture.keeper.step().await, Err(Error::NoRegistration(_))));
    drop(fixture.keeper);
    assert!(fixture.scenario.next().await.is_none(), "no request was made");
}

/// The Secret first, guarded by its version; the registration when the Secret is seen as it should be.
#[tokio::test]
async fn the_secret_comes_before_the_registration() {
    let Fixture { mut keeper, mut scenario, secret: seen, registration } =
        fixture(secret(&Stored::default()), registered(""));
    let server = tokio::spawn(async move {
        let call = scenario.expect("PATCH", "/api/v1/namespaces/k3k-system/secrets/tls?").await;
        assert!(
            call.uri.contains("fieldManager=k3k-webhook") && call.uri.contains("force=true"),
            "{}",
            call.uri
        );
        assert_eq!(call.body["metadata"]["resourceVersion"], "7");
        let written: Secret = serde_json::from_value(call.body.clone()).unwrap();
        call.accept();
        let stored = Stored::from_data(written.data.as_ref());
        seen.send_replace(secret(&stored));

        let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/hook?";
        let call = scenario.expect("PATCH", path).await;
        let bundle = k8s_openapi::ByteString(stored.bundle().into_bytes());
        assert_eq!(
            call.body["webhooks"],
            json!(
                WEBHOOKS
                    .iter()
                    .map(|name| json!({"name": name, "clientConfig": {"caBundle": bundle}}))
                    .collect::<Vec<_>>()
            )
        );
        call.accept();
        registration.send_replace(registered(&stored.bundle()));
        assert!(scenario.next().await.is_none(), "then there is nothing to do");
    });
    for _ in 0..3 {
        keeper.step().await.unwrap();
    }
    drop(keeper);
    server.await.unwrap();
}

#[tokio::test]
async fn another_writer_wins_and_a_refusal_is_told() {
    let Fixture { mut keeper, mut scenario, .. } = fixture(secret(&Stored::default()), registered(""));
    let server = tokio::spawn(async move {
        scenario
            .expect("PATCH", "/api/v1/namespaces/k3k-system/secrets/tls?")
            .await
            .refuse(409, "Conflict", "too late");
        scenario.expect("PATCH", "/api/v1/namespaces/k3k-system/secrets/tls?").await.refuse(
            403,
            "Forbidden",
            "not you",
        );
    });
    keeper.step().await.unwrap();
    let error = keeper.step().await.unwrap_err().to_string();
    assert!(error.starts_with("writing Secret tls: ") && error.contains("not you"), "{error}");
    server.await.unwrap();
}
