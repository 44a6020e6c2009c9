//! What the controller makes of policies, in a real API server and with the rights that the chart gives it. There is no other
//! controller: nothing collects garbage, and nobody but the tests says what quotas enforce.

#![allow(clippy::unwrap_used)] // in functions that tests call
#![allow(clippy::large_futures)] // nobody minds in tests

mod binding;
mod budget;
mod clusters;
#[path = "../shared/controller.rs"]
mod controller;
mod glass;
mod hosts;
mod labels;

use anyhow::{Context, Result};
use controller::client;
use k3k_api::conditions::find;
use k3k_api::v1beta1::{VirtualClusterPolicy, VirtualClusterPolicyStatus};
use k3k_tests::wait;
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Debug;

const NAMESPACE: &str = "k3k-system";

fn policies(client: &Client) -> Api<VirtualClusterPolicy> {
    Api::all(client.clone())
}

/// Makes a policy.
async fn make(client: &Client, name: &str, spec: &Value) -> Result<VirtualClusterPolicy> {
    let policy: VirtualClusterPolicy = serde_json::from_value(json!({
        "apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "metadata": { "name": name }, "spec": spec,
    }))?;
    policies(client).create(&PostParams::default(), &policy).await.context("creating a policy")
}

async fn change(client: &Client, name: &str, spec: &Value) -> Result<VirtualClusterPolicy> {
    let patch = json!({ "spec": spec });
    Ok(policies(client).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

async fn remove(client: &Client, name: &str) -> Result<()> {
    policies(client).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Sets or, with null, removes labels of a namespace, as an administrator does.
async fn label(client: &Client, namespace: &str, labels: &Value) -> Result<Namespace> {
    let patch = json!({ "metadata": { "labels": labels } });
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let parameters = PatchParams { field_manager: Some("kubectl-label".into()), ..PatchParams::default() };
    Ok(namespaces.patch(namespace, &parameters, &Patch::Merge(patch)).await?)
}

async fn bind(client: &Client, namespace: &str, policy: Option<&str>) -> Result<()> {
    label(client, namespace, &json!({ "policy.k3k.io/policy-name": policy })).await.map(drop)
}

/// Waits until the controller has reported on the present generation, and `accept` likes it.
async fn status(
    client: &Client,
    name: &str,
    accept: impl Fn(&VirtualClusterPolicyStatus) -> bool,
) -> Result<VirtualClusterPolicyStatus> {
    wait::until(&format!("the expected status of policy {name}"), async || {
        let policy = policies(client).get(name).await?;
        let status = policy.status.unwrap_or_default();
        let told = find(&status.conditions, "Accepted").and_then(|condition| condition.observed_generation);
        Ok((told == policy.metadata.generation && accept(&status)).then_some(status))
    })
    .await
}

/// Waits until everything is in place in so many namespaces.
async fn in_place(client: &Client, name: &str, namespaces: usize) -> Result<VirtualClusterPolicyStatus> {
    let is_in_place = |status: &VirtualClusterPolicyStatus| {
        status.namespaces.len() == namespaces
            && find(&status.conditions, "NativeObjectsReady").is_some_and(|ready| ready.status == "True")
    };
    status(client, name, is_in_place).await
}

fn reason(status: &VirtualClusterPolicyStatus, kind: &str) -> String {
    find(&status.conditions, kind).map(|condition| condition.reason.clone()).unwrap_or_default()
}

fn api<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), namespace)
}

async fn names<K>(client: &Client, namespace: &str) -> Result<BTreeSet<String>>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let list = api::<K>(client, namespace).list(&ListParams::default()).await?;
    Ok(list.items.iter().map(|object| format!("{}/{}", K::kind(&()), object.name_any())).collect())
}

/// All objects of a namespace that may be of policies, as `Kind/name`.
async fn objects(client: &Client, namespace: &str) -> Result<BTreeSet<String>> {
    let mut all = names::<ResourceQuota>(client, namespace).await?;
    all.extend(names::<LimitRange>(client, namespace).await?);
    all.extend(names::<NetworkPolicy>(client, namespace).await?);
    Ok(all)
}

/// Waits until the namespace holds exactly these.
async fn holds(client: &Client, namespace: &str, wanted: &[String]) -> Result<()> {
    let wanted: BTreeSet<String> = wanted.iter().cloned().collect();
    wait::until(&format!("{wanted:?} in namespace {namespace}"), async || {
        Ok((objects(client, namespace).await? == wanted).then_some(()))
    })
    .await
}

/// What every policy makes.
fn basics(policy: &str) -> Vec<String> {
    vec![
        format!("NetworkPolicy/k3k-{policy}"),
        format!("NetworkPolicy/k3k-{policy}-kubelets"),
        format!("NetworkPolicy/k3k-{policy}-servers"),
        format!("NetworkPolicy/k3k-{policy}-tenants"),
        format!("ResourceQuota/k3k-{policy}-priority"),
    ]
}

fn basics_and(policy: &str, more: &[&str]) -> Vec<String> {
    let mut all = basics(policy);
    all.extend(more.iter().map(|name| (*name).replace('*', policy)));
    all
}

fn quota(name: &str, hard: &Value) -> ResourceQuota {
    ResourceQuota {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        spec: serde_json::from_value(json!({ "hard": hard })).unwrap(),
        status: None,
    }
}
