//! One host copy: written over nothing but itself, and removed only while it is that very object.

use crate::watch::Name;
use k3k_api::managers;
use k3k_translate::{Origin, Owner};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::Value;

/// Why a copy was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A long name is cut and keeps 20 bits of hash, so another object may have it already.
    #[error("the host already has an object {host_name} that was not made for this one; choose another name")]
    Taken {
        /// The name.
        host_name: String,
    },
    /// The host did not take it.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Writes `desired`, the copy of `name`, over `host`, which is what the cache shows.
pub async fn write(
    owner: &Owner,
    api: &Api<DynamicObject>,
    name: &Name,
    desired: &Value,
    host: Option<&Value>,
) -> Result<DynamicObject, Error> {
    let host_name = owner.host_name(&name.namespace, &name.name);
    let mut desired = desired.clone();
    if let Some(host) = host {
        desired["metadata"]["uid"] = host["metadata"]["uid"].clone();
    } else if let Some(there) = api.get_metadata_opt(&host_name).await? {
        // Ours, and not in the cache yet; or another's without our labels, which no watch of ours shows.
        let metadata = serde_json::to_value(&there.metadata).unwrap_or_default();
        if Origin::of_host(owner, &metadata).map(Name::from).as_ref() != Some(name) {
            return Err(Error::Taken { host_name });
        }
    }
    let params = PatchParams::apply(managers::KUBELET).force();
    Ok(api.patch(&host_name, &params, &Patch::Apply(&desired)).await?)
}

/// Removes `host`, if it is still there. The watch tells when it is gone.
pub async fn remove(api: &Api<DynamicObject>, host: &Value) -> Result<(), kube::Error> {
    if is_ending(host) {
        return Ok(());
    }
    let uid = host["metadata"]["uid"].as_str().map(str::to_owned);
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: None }),
        ..DeleteParams::default()
    };
    match api.delete(host["metadata"]["name"].as_str().unwrap_or_default(), &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        result => result.map(drop),
    }
}

/// Whether the object waits for its finalizers.
pub fn is_ending(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}
