//! One host copy: written over nothing but itself, and removed only while it is that very object.

use crate::clients::signed;
use crate::watch::Name;
use k3k_translate::{Origin, Owner};
use kube::api::{Api, DeleteParams, DynamicObject, ObjectMeta, Patch, Preconditions};
use serde_json::{Value, json};

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

/// What has the name of a copy that no cache shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// Nothing has.
    Nothing,
    /// The copy, which the watch shows soon.
    Ours,
    /// An object that was not made for this one.
    Others,
}

/// Looks for the copy of `name`, which the cache does not show, and gives it back the labels by which it is found.
pub async fn look_for(owner: &Owner, api: &Api<DynamicObject>, name: &Name) -> Result<Unseen, kube::Error> {
    let Some(there) = api.get_metadata_opt(&owner.host_name(&name.namespace, &name.name)).await? else {
        return Ok(Unseen::Nothing);
    };
    let metadata = serde_json::to_value(&there.metadata).unwrap_or_default();
    if Origin::of_host(owner, &metadata).map(Name::from).as_ref() != Some(name) {
        return Ok(Unseen::Others);
    }
    find_again(owner, api, &there.metadata).await?;
    Ok(Unseen::Ours)
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
    } else if look_for(owner, api, name).await? == Unseen::Others {
        return Err(Error::Taken { host_name });
    }
    let params = signed::apply();
    Ok(api.patch(&host_name, &params, &Patch::Apply(&desired)).await?)
}

/// Gives the copy that `metadata` describes the labels back by which it is found, if somebody took them away. The watch then
/// shows it. Says whether that was done.
pub async fn find_again(
    owner: &Owner,
    api: &Api<DynamicObject>,
    metadata: &ObjectMeta,
) -> Result<bool, kube::Error> {
    let value = serde_json::to_value(metadata).unwrap_or_default();
    let Some(origin) = Origin::of_host(owner, &value).filter(|origin| origin.is_stray(owner, &value)) else {
        return Ok(false);
    };
    let name = metadata.name.as_deref().unwrap_or_default();
    tracing::warn!(name, origin = %Name::from(origin.clone()), "a host copy lost its labels; it gets them back");
    // Not as of the version that was read: the host writes a pod's status at any moment, and no watch shows a stray, so that nobody would
    // try again. Whose copy it is stays as it is for the life of the object.
    let patch = json!({"metadata": {"uid": metadata.uid, "labels": owner.scope(&origin.namespace)}});
    let params = signed::patch();
    match api.patch(name, &params, &Patch::Merge(&patch)).await {
        // Gone, or another by now.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
        result => result.map(|_| true),
    }
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
