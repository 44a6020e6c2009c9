//! The label by which the webhook knows the namespaces that hold clusters.

use super::Context;
use super::build::Site;
use super::error::Error;
use k3k_api::labels;
use k3k_api::managers;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PartialObjectMeta, PartialObjectMetaExt as _, Patch, PatchParams};
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;

/// Makes sure that the namespace carries the label, and gives all its labels.
pub async fn claim(context: &Context, site: &Site) -> Result<BTreeMap<String, String>, Error> {
    if let Some(labels) = context.caches.namespace_labels(&site.namespace)
        && labels.get(labels::CLUSTER_NAMESPACE).is_some_and(|value| value == "true")
    {
        return Ok(labels);
    }
    let labels = BTreeMap::from([(labels::CLUSTER_NAMESPACE.to_owned(), "true".to_owned())]);
    let namespace = apply(context, site, Some(labels)).await?;
    Ok(namespace.labels().clone())
}

/// Takes the label off again if no other cluster lives there.
pub async fn release(context: &Context, site: &Site) -> Result<(), Error> {
    let others = context.caches.clusters_in(&site.namespace);
    if others.iter().any(|other| other.name != site.name) {
        return Ok(());
    }
    apply(context, site, None).await.map(drop).or_else(|error| match error {
        // The namespace is gone, and the right to make one is not ours.
        Error::Write { source: kube::Error::Api(status), .. } if status.code == 404 || status.code == 403 => {
            Ok(())
        }
        other => Err(other),
    })
}

async fn apply(
    context: &Context,
    site: &Site,
    labels: Option<BTreeMap<String, String>>,
) -> Result<PartialObjectMeta<Namespace>, Error> {
    let namespace = ObjectMeta { name: Some(site.namespace.clone()), labels, ..ObjectMeta::default() };
    let namespace = namespace.into_request_partial::<Namespace>();
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let parameters = PatchParams::apply(managers::CONTROLLER).force();
    let applied = namespaces.patch_metadata(&site.namespace, &parameters, &Patch::Apply(&namespace)).await;
    applied.map_err(|source| Error::Write {
        what: format!("the label of Namespace {:?}", site.namespace),
        source,
    })
}
