//! The three ways in which k3k writes objects. Server-side apply keeps what others wrote in fields that we do
//! not mention, and needs no read before the write.

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Error, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

/// Server-side apply as `manager`, taking over fields that another manager owns: use it on objects that are ours
/// outright. `object` carries its name, `apiVersion` and `kind`, and no `managedFields`.
pub async fn apply<K>(api: &Api<K>, manager: &str, object: &K) -> Result<K, Error>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    api.patch(&object.name_any(), &PatchParams::apply(manager).force(), &Patch::Apply(object)).await
}

/// Server-side apply on the `status` subresource as `manager`, taking over conflicting fields. `status` is the
/// whole patch, with `apiVersion`, `kind` and a `status` field.
pub async fn apply_status<K>(api: &Api<K>, manager: &str, name: &str, status: Value) -> Result<K, Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    api.patch_status(name, &PatchParams::apply(manager).force(), &Patch::Apply(status)).await
}

/// Creates `object`, or gives the one of that name that is there already, unchanged.
pub async fn create_if_missing<K>(api: &Api<K>, object: &K) -> Result<K, Error>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    match api.create(&PostParams::default(), object).await {
        Err(Error::Api(status)) if status.is_already_exists() => api.get(&object.name_any()).await,
        other => other,
    }
}
