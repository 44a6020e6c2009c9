//! The controller against a real API server, with the rights that the chart gives it. There is no node and no other
//! controller: nothing starts pods, collects garbage or gives a Service endpoints.

#![allow(clippy::unwrap_used)] // in functions that tests call
#![allow(clippy::large_futures)] // nobody minds in tests

mod deletion;
mod ending;
mod health;
mod provisioning;
mod refusals;
mod repair;

use anyhow::{Context, Result};
use clap::Parser;
use k3k_api::conditions::{READY, find};
use k3k_api::managers;
use k3k_api::v1beta1::{Cluster, ClusterStatus};
use k3k_controller::args::Args;
use k3k_controller::metrics::Metrics;
use k3k_tests::{ApiServer, chart, lab, wait, workspace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::wait::conditions::is_crd_established;
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "k3k-system";
const ACCOUNT: &str = "system:serviceaccount:k3k-system:k3k-controller";

/// The API server that all tests share, with the CRDs, the chart's RBAC and one running controller.
async fn client() -> Result<Client> {
    static HOST: OnceCell<ApiServer> = OnceCell::const_new();
    let start = async || {
        let server = ApiServer::start().await?;
        lab::succeed(server.kubectl()?.args(["create", "namespace", NAMESPACE]))?;
        lab::succeed(server.kubectl()?.arg("apply").arg("-f").arg(workspace::path("manifests/crds")))?;
        let client = server.client().await?;
        for crd in k3k_api::crds() {
            let api: Api<CustomResourceDefinition> = Api::all(client.clone());
            wait::wait_for(api, &crd.name_any(), is_crd_established()).await?;
        }
        let rbac: Vec<Value> = chart::objects(NAMESPACE)?
            .into_iter()
            .filter(|object| {
                object["apiVersion"].as_str().is_some_and(|version| version.starts_with("rbac.authorization"))
            })
            .collect();
        let file = tempfile::Builder::new().suffix(".json").tempfile()?;
        serde_json::to_writer(&file, &json!({ "apiVersion": "v1", "kind": "List", "items": rbac }))?;
        lab::succeed(server.kubectl()?.arg("apply").arg("-f").arg(file.path()))?;
        run_controller(Kubeconfig::read_from(server.kubeconfig(ACCOUNT, Some("system:serviceaccounts"))?)?)?;
        anyhow::Ok(server)
    };
    HOST.get_or_try_init(start).await?.client().await
}

/// The controller, on a thread of its own until the process ends: tests come and go with their runtimes.
fn run_controller(kubeconfig: Kubeconfig) -> Result<()> {
    let args = Args::try_parse_from(["k3k-controller", "--namespace", NAMESPACE])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let config =
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            let client = Client::try_from(config).unwrap();
            let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
            let shutdown = CancellationToken::new();
            let (name, policies) = ("test".to_owned(), shutdown.clone());
            tokio::join!(
                k3k_controller::reconcile_clusters(
                    &args,
                    client.clone(),
                    metrics.clone(),
                    name.clone(),
                    shutdown
                ),
                k3k_controller::reconcile_policies(&args, client.clone(), metrics.clone(), name, policies),
            );
        });
    });
    Ok(())
}

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
