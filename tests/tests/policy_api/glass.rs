//! Breaking the glass, with an API server that opens and closes as it is told. Nobody answers for the webhook here.

use crate::client;
use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k3k_tests::{chart, wait};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

const NAME: &str = "k3k-webhook";
const ANNOTATION: &str = "k3k.io/break-glass";

fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "admissionregistration.k8s.io".into(),
        version: "v1".into(),
        api_version: "admissionregistration.k8s.io/v1".into(),
        kind: kind.into(),
        plural: format!("{}s", kind.to_lowercase()),
    };
    Api::all_with(client.clone(), &resource)
}

const KINDS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// The chart's registrations, about namespaces of this test alone: the others work on.
async fn register(client: &Client) -> Result<()> {
    for object in chart::objects("k3k-system")? {
        let Some(kind) = KINDS.into_iter().find(|kind| object["kind"] == *kind) else { continue };
        let mut object = object;
        for webhook in object["webhooks"].as_array_mut().context("webhooks")? {
            let selector = if webhook["name"] == "namespaces.guard.k3k.io" {
                "objectSelector"
            } else {
                "namespaceSelector"
            };
            webhook[selector] = json!({"matchLabels": {"glass": "true"}});
        }
        let parameters = PatchParams::apply("kubectl-k3k-install").force();
        api(client, kind).patch(NAME, &parameters, &Patch::Apply(object)).await?;
    }
    Ok(())
}

async fn webhooks(client: &Client) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for kind in KINDS {
        let found = api(client, kind).get(NAME).await?;
        all.extend(found.data["webhooks"].as_array().context("webhooks")?.clone());
    }
    Ok(all)
}

async fn annotate(client: &Client, annotation: Option<Value>) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {ANNOTATION: annotation.map(|said| said.to_string())}}});
    let validating = api(client, KINDS[1]);
    validating.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

fn said(lasts: SignedDuration, namespaces: &[&str]) -> Value {
    let now = Timestamp::now();
    json!({"since": now.to_string(), "until": (now + lasts).to_string(), "by": "ann", "reason": "a test", "namespaces": namespaces})
}

/// Whether a ConfigMap gets in. Where it does not, nobody could be asked.
async fn gets_in(client: &Client, namespace: &str) -> Result<bool> {
    let configmaps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let object: ConfigMap = serde_json::from_value(json!({"metadata": {"generateName": "x-"}}))?;
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    match configmaps.create(&parameters, &object).await {
        Ok(_) => Ok(true),
        Err(error) => {
            ensure!(error.to_string().contains("failed calling webhook"), "{error}");
            Ok(false)
        }
    }
}

async fn until_in(client: &Client, namespace: &str, wanted: bool) -> Result<()> {
    let what = format!("what is made in {namespace} gets in: {wanted}");
    wait::until(&what, async || Ok((gets_in(client, namespace).await? == wanted).then_some(()))).await
}

async fn until_whole(client: &Client, before: &[Value]) -> Result<()> {
    wait::until("the registrations are as before", async || {
        let annotated = api(client, KINDS[1]).get(NAME).await?.annotations().contains_key(ANNOTATION);
        Ok((webhooks(client).await? == before && !annotated).then_some(()))
    })
    .await
}

async fn until_told(client: &Client, reason: &str) -> Result<()> {
    wait::until(&format!("an Event says {reason}"), async || {
        let events: Api<Event> = Api::namespaced(client.clone(), "default");
        let about = ListParams::default().fields("involvedObject.kind=ValidatingWebhookConfiguration");
        let found = events.list(&about).await?;
        Ok(found.items.iter().any(|event| event.reason.as_deref() == Some(reason)).then_some(()))
    })
    .await
}

// One after the other: there is one glass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Kubernetes API server: make test"]
async fn the_glass_is_broken_and_mends_itself() -> Result<()> {
    let client = client().await?;
    for name in ["glass-a", "glass-b"] {
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": {"glass": "true"}}}))?;
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    }
    register(&client).await?;
    let before = webhooks(&client).await?;
    ensure!(before.iter().all(|webhook| webhook["failurePolicy"] == "Fail"), "{before:?}");
    until_in(&client, "glass-a", false).await?;

    // Everywhere, until the time is up.
    annotate(&client, Some(said(SignedDuration::from_secs(20), &[]))).await?;
    until_in(&client, "glass-a", true).await?;
    until_in(&client, "glass-b", true).await?;
    until_told(&client, "GlassBroken").await?;
    for (now, before) in webhooks(&client).await?.iter().zip(&before) {
        let mut now = now.clone();
        let is_guard = now["name"] == "namespaces.guard.k3k.io";
        ensure!(now["failurePolicy"] == if is_guard { "Fail" } else { "Ignore" }, "{now}");
        now["failurePolicy"] = "Fail".into();
        ensure!(now == *before, "nothing else may change: {now} {before}");
    }
    until_whole(&client, &before).await?;
    until_in(&client, "glass-a", false).await?;
    until_told(&client, "GlassMended").await?;

    // In one namespace, until it is ended by hand.
    annotate(&client, Some(said(SignedDuration::from_mins(30), &["glass-a"]))).await?;
    until_in(&client, "glass-a", true).await?;
    ensure!(!gets_in(&client, "glass-b").await?, "only the other namespace was named");
    annotate(&client, None).await?;
    until_whole(&client, &before).await?;
    until_in(&client, "glass-a", false).await?;

    // For too long, and by nobody's leave.
    annotate(&client, Some(said(SignedDuration::from_hours(5), &[]))).await?;
    until_told(&client, "BreakGlassRefused").await?;
    until_whole(&client, &before).await?;
    let by_hand = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": KINDS[1], "metadata": {"name": NAME},
        "webhooks": [{"name": "validate.policy.k3k.io", "failurePolicy": "Ignore"}]});
    let somebody = PatchParams::apply("kubectl-edit").force();
    api(&client, KINDS[1]).patch(NAME, &somebody, &Patch::Apply(by_hand)).await?;
    until_told(&client, "RegistrationRestored").await?;
    until_whole(&client, &before).await?;

    // Installing again takes nothing away and opens nothing.
    register(&client).await?;
    until_whole(&client, &before).await
}
