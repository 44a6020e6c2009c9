//! The controller against a real API server, with the rights that the chart gives it. There is no node and no other
//! controller: nothing starts pods, collects garbage or gives a Service endpoints.

#![allow(clippy::unwrap_used)] // in functions that tests call
#![allow(clippy::large_futures)] // nobody minds in tests

#[path = "../shared/controller.rs"]
mod controller;
mod deletion;
mod ending;
mod health;
mod provisioning;
mod refusals;
mod repair;

use anyhow::{Context, Result};
use controller::client;
use k3k_api::conditions::{READY, find};
use k3k_api::managers;
use k3k_api::v1beta1::{Cluster, ClusterStatus};
use k3k_tests::wait;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NAMESPACE: &str = "k3k-system";

/// Kinds of the objects that a cluster is made of.
const KINDS: [(&str, &str, &str); 8] = [
    ("", "v1", "ConfigMap"),
    ("", "v1", "Secret"),
    ("", "v1", "Service"),
    ("", "v1", "ServiceAccount"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    ("networking.k8s.io", "v1", "Ingress"),
    ("apps", "v1", "StatefulSet"),
    ("apps", "v1", "Deployment"),
];

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version, kind) = KINDS.into_iter().find(|(_, _, known)| *known == kind).unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// All objects of these kinds in the namespace, by `Kind/name`.
async fn objects(client: &Client, namespace: &str) -> Result<BTreeMap<String, DynamicObject>> {
    let mut objects = BTreeMap::new();
    for (_, _, kind) in KINDS {
        for object in api(client, namespace, kind).list(&ListParams::default()).await? {
            objects.insert(format!("{kind}/{}", object.name_any()), object);
        }
    }
    Ok(objects)
}

fn clusters(client: &Client, namespace: &str) -> Api<Cluster> {
    Api::namespaced(client.clone(), namespace)
}

async fn create(client: &Client, namespace: &str, name: &str, spec: &Value) -> Result<Cluster> {
    let cluster = Cluster {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        spec: serde_json::from_value(spec.clone())?,
        status: None,
    };
    clusters(client, namespace).create(&PostParams::default(), &cluster).await.context("creating a Cluster")
}

async fn apply_spec(client: &Client, namespace: &str, name: &str, spec: &Value) -> Result<Cluster> {
    let patch = json!({ "spec": spec });
    Ok(clusters(client, namespace).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

/// Waits until the controller has reported on the present generation and `accept` likes the status.
async fn status(
    client: &Client,
    namespace: &str,
    name: &str,
    accept: impl Fn(&ClusterStatus) -> bool,
) -> Result<ClusterStatus> {
    let api = clusters(client, namespace);
    wait::until(&format!("the expected status of Cluster {name}"), async || {
        let cluster = api.get(name).await?;
        let status = cluster.status.unwrap_or_default();
        let current = status.observed_generation == cluster.metadata.generation;
        Ok((current && accept(&status)).then_some(status))
    })
    .await
}

/// The reason of the Ready condition.
fn reason(status: &ClusterStatus) -> &str {
    find(&status.conditions, READY).map(|ready| ready.reason.as_str()).unwrap_or_default()
}

/// The message of the Ready condition.
fn message(status: &ClusterStatus) -> &str {
    find(&status.conditions, READY).map(|ready| ready.message.as_str()).unwrap_or_default()
}

/// Waits until all objects of an ephemeral cluster are there.
async fn provisioned(client: &Client, namespace: &str, name: &str) -> Result<ClusterStatus> {
    status(client, namespace, name, |status| status.endpoint.is_some()).await
}

/// Who wrote an object by server-side apply.
fn applied_by_us(object: &DynamicObject) -> bool {
    object.managed_fields().iter().any(|entry| {
        entry.manager.as_deref() == Some(managers::CONTROLLER) && entry.operation.as_deref() == Some("Apply")
    })
}
