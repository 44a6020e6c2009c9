//! The two API servers, and what they hold at one time.

use anyhow::{Context, Result};
use k3k_tests::lab;
use k3k_tests::nested::NestedCluster;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde_json::Value;
use std::collections::BTreeMap;

/// Kinds that are compared, or whose copies are.
pub(crate) const KINDS: [&str; 7] =
    ["Pod", "Service", "EndpointSlice", "PersistentVolumeClaim", "PersistentVolume", "ConfigMap", "Secret"];

pub(crate) fn resource(kind: &str) -> ApiResource {
    let group = match kind {
        "Deployment" | "StatefulSet" => "apps",
        "EndpointSlice" => "discovery.k8s.io",
        _ => "",
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind))
}

/// A nested cluster and its host.
pub(crate) struct Sides {
    pub(crate) cluster: String,
    pub(crate) namespace: String,
    pub(crate) host: Client,
    pub(crate) nested: Client,
}

impl Sides {
    pub(crate) async fn of(cluster: &NestedCluster) -> Result<Self> {
        Ok(Self {
            cluster: cluster.name.clone(),
            namespace: cluster.namespace(),
            host: lab::client(&lab::host_kubeconfig()).await?,
            nested: lab::client(cluster.kubeconfig()).await?,
        })
    }

    pub(crate) fn nested_api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.nested.clone(), namespace, &resource(kind))
    }

    pub(crate) fn host_api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.host.clone(), &self.namespace, &resource(kind))
    }

    /// What both hold now.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot {
            cluster: self.cluster.clone(),
            namespace: self.namespace.clone(),
            nested: BTreeMap::new(),
            host: BTreeMap::new(),
        };
        for kind in KINDS.into_iter().chain(["Namespace", "Node"]) {
            let all = Api::all_with(self.nested.clone(), &resource(kind));
            snapshot.nested.insert(kind, list(&all).await.with_context(|| format!("nested {kind}"))?);
        }
        for kind in KINDS {
            let api = match kind {
                "PersistentVolume" => Api::all_with(self.host.clone(), &resource(kind)),
                _ => self.host_api(kind),
            };
            let mut objects = list(&api).await.with_context(|| format!("host {kind}"))?;
            if kind == "PersistentVolume" {
                objects.retain(|volume| volume["spec"]["claimRef"]["namespace"] == self.namespace.as_str());
            }
            snapshot.host.insert(kind, objects);
        }
        Ok(snapshot)
    }
}

async fn list(api: &Api<DynamicObject>) -> Result<Vec<Value>> {
    let objects = api.list(&ListParams::default()).await?;
    Ok(objects.items.iter().map(|object| serde_json::to_value(object).unwrap_or_default()).collect())
}

/// What both sides hold, by kind.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) cluster: String,
    pub(crate) namespace: String,
    pub(crate) nested: BTreeMap<&'static str, Vec<Value>>,
    pub(crate) host: BTreeMap<&'static str, Vec<Value>>,
}
