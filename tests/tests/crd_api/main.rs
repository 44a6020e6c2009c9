//! The custom resources in a real API server: what it accepts, fills in, refuses and shows.

#![allow(clippy::unwrap_used)] // in functions that tests call

mod defaults;
mod manifests;
mod refusals;
mod views;

use anyhow::Result;
use k3k_tests::{ApiServer, lab, wait, workspace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::conditions::is_crd_established;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The shared API server, with the CRDs applied by `kubectl apply` as a user would.
async fn server() -> Result<&'static ApiServer> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let server = ApiServer::shared().await?;
    let install = async || {
        let crds = workspace::path("manifests/crds");
        lab::succeed(server.kubectl()?.arg("apply").arg("-f").arg(crds))?;
        let client = server.client().await?;
        for crd in k3k_api::crds() {
            let api: Api<CustomResourceDefinition> = Api::all(client.clone());
            wait::wait_for(api, &crd.name_any(), is_crd_established()).await?;
        }
        anyhow::Ok(())
    };
    INSTALLED.get_or_try_init(install).await?;
    Ok(server)
}

/// Objects of either kind, as JSON, with nothing between the test and the API server.
fn objects(client: &Client, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("k3k.io", "v1beta1", kind),
        if kind == "Cluster" { "clusters" } else { "virtualclusterpolicies" },
    );
    if kind == "Cluster" {
        Api::namespaced_with(client.clone(), namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    }
}

fn cluster(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "metadata": { "name": name }, "spec": spec })
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "metadata": { "name": name }, "spec": spec,
    })
}

/// Server-side apply with strict field validation.
async fn apply(client: &Client, namespace: &str, object: &Value) -> kube::Result<Value> {
    let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
    let params = PatchParams::apply("test").force().validation_strict();
    let applied = objects(client, kind, namespace).patch(name, &params, &Patch::Apply(object)).await?;
    Ok(serde_json::to_value(applied).unwrap())
}
