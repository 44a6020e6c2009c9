//! The finalizer, by which a deletion waits for us.

use super::Context;
use super::build::Site;
use super::error::Error;
use k3k_api::labels;
use k3k_api::managers;
use k3k_api::v1beta1::{Cluster, GROUP, VERSION};
use kube::api::{PartialObjectMeta, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

/// Puts the finalizer on a Cluster, and the label that upstream's tools look for.
pub async fn add(context: &Context, site: &Site, cluster: &Cluster) -> Result<(), Error> {
    let labelled =
        cluster.labels().get(labels::PROVIDER).is_some_and(|value| value == labels::PROVIDER_VALUE);
    if labelled && position(cluster).is_some() {
        return Ok(());
    }
    let patch = json!({ "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Cluster", "metadata": {
        // With the UID, a cluster that is gone is not brought back.
        "name": site.name, "namespace": site.namespace, "uid": site.uid,
        "finalizers": [labels::CLUSTER_FINALIZER], "labels": { labels::PROVIDER: labels::PROVIDER_VALUE },
    }});
    let parameters = PatchParams::apply(managers::CONTROLLER).force();
    let added = clusters(context, site).patch(&site.name, &parameters, &Patch::Apply(patch)).await;
    added.map(drop).map_err(|source| failure(site, source))
}

/// Where the finalizer is in the object's list.
pub fn position(object: &impl ResourceExt) -> Option<usize> {
    object.finalizers().iter().position(|finalizer| finalizer == labels::CLUSTER_FINALIZER)
}

/// Takes the finalizer off again.
pub async fn remove(context: &Context, site: &Site, position: usize) -> Result<(), Error> {
    let path = format!("/metadata/finalizers/{position}");
    // The test keeps us from removing somebody else's finalizer if the list has changed.
    let operations = json!([
        { "op": "test", "path": path, "value": labels::CLUSTER_FINALIZER },
        { "op": "remove", "path": path },
    ]);
    let operations =
        serde_json::from_value(operations).map_err(|error| failure(site, kube::Error::SerdeError(error)))?;
    let removal: Patch<()> = Patch::Json(operations);
    match clusters(context, site).patch(&site.name, &PatchParams::default(), &removal).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(failure(site, source)),
    }
}

/// Clusters of which only the metadata is read: what does not fit the schema is handled as well.
fn clusters(context: &Context, site: &Site) -> Api<PartialObjectMeta<Cluster>> {
    Api::namespaced(context.client.clone(), &site.namespace)
}

fn failure(site: &Site, source: kube::Error) -> Error {
    Error::Write { what: format!("the finalizer of Cluster {:?}", site.name), source }
}
