//! A namespace that exists as long as a test needs it.

use anyhow::{Context, Result};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use std::panic::{AssertUnwindSafe, resume_unwind};

/// Runs `test` with the name of a new namespace, and deletes the namespace however the test ends; with
/// `K3K_KEEP=1` in the environment a failed test's namespace stays for inspection.
pub async fn in_namespace<T>(client: &Client, test: impl AsyncFnOnce(&str) -> Result<T>) -> Result<T> {
    let api: Api<Namespace> = Api::all(client.clone());
    let wanted = Namespace {
        metadata: ObjectMeta { generate_name: Some("k3k-test-".into()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    let namespace =
        api.create(&PostParams::default(), &wanted).await.context("creating a namespace")?.name_any();
    let outcome = AssertUnwindSafe(test(&namespace)).catch_unwind().await;
    let failed = !matches!(outcome, Ok(Ok(_)));
    if !(failed && std::env::var_os("K3K_KEEP").is_some()) {
        api.delete(&namespace, &DeleteParams::default()).await.context("deleting the test's namespace")?;
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic)).with_context(|| format!("in namespace {namespace}"))
}
