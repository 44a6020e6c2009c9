//! ConfigMaps and Secrets that pods use.

use crate::clients::signed;
use crate::converge::{Next, Requests};
use crate::uses::Key;
use crate::watch::Name;
use crate::world::{World, lock};
use futures::StreamExt;
use k3k_api::v1beta1::SyncedKind;
use k3k_translate::Origin;
use k3k_translate::data::{DataKind, copy, excess};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::Resource;
use kube::api::{Api, DeleteParams, DynamicObject, ObjectMeta, Patch};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Why a copy is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The nested object cannot be read.
    #[error("cannot read the {kind} {name} of the nested cluster: {source}", kind = .key.0.kind(), name = .key.1)]
    Read {
        /// Which.
        key: Key,
        /// The cause.
        source: kube::Error,
    },
    /// The host copy cannot be written.
    #[error("cannot write the host copy of the {kind} {name}: {source}", kind = .key.0.kind(), name = .key.1)]
    Write {
        /// Which.
        key: Key,
        /// The cause.
        source: kube::Error,
    },
    /// The host has something else under the name of the copy.
    #[error(
        "the host already has a {kind} {host_name} that was not made for {name}; rename the {kind}",
        kind = .key.0.kind(), name = .key.1
    )]
    Taken {
        /// Which.
        key: Key,
        /// The name in the host.
        host_name: String,
    },
    /// The cluster's `spec.sync`, or its policy's, leaves the object out.
    #[error(
        "the {kind} {name} is not copied to the host, where the pod would need it: sync.{field} of the Cluster or its policy leaves it out",
        kind = .key.0.kind(), name = .key.1, field = field(.key.0)
    )]
    LeftOut {
        /// Which.
        key: Key,
    },
    /// The nested object cannot be copied.
    #[error("cannot copy the {kind} {name}: {refusal}", kind = .key.0.kind(), name = .key.1)]
    Refused {
        /// Which.
        key: Key,
        /// The reason.
        refusal: k3k_translate::Refusal,
    },
}

/// The field of `spec.sync` that says which are copied.
fn field(kind: DataKind) -> &'static str {
    match kind {
        DataKind::ConfigMap => "configMaps",
        DataKind::Secret => "secrets",
    }
}

/// Every namespace has it, and every pod with a token needs it. It says nothing that the cluster's kubeconfig does not.
const ROOT_CERTIFICATES: &str = "kube-root-ca.crt";

/// Whether `spec.sync` lets the object be copied.
fn is_selected(world: &World, (kind, name): &Key, nested: &DynamicObject) -> bool {
    let labels = nested.metadata.labels.as_ref();
    let selects = |kind| world.sync.selects(kind, labels.unwrap_or(&BTreeMap::new()));
    match kind {
        DataKind::ConfigMap => name.name == ROOT_CERTIFICATES || selects(SyncedKind::ConfigMap),
        DataKind::Secret => selects(SyncedKind::Secret),
    }
}

/// What we know of an object that may stand in the host under a copy's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// We have looked at it, or written it.
    Ours,
    /// It may be another's.
    Unknown,
    /// The same; and who will use the copy is not made yet.
    Awaited,
}

/// Writes the host copy of `key` with its present users as owners. A missing object is not an error: the host's kubelet
/// makes the pod wait for it, and its appearance brings us back here.
pub async fn write(world: &World, key: &Key, existing: Existing) -> Result<(), Error> {
    let (kind, name) = key;
    let mut last = world.writers.turn(key).await;
    let read = world.nested_api(kind.kind(), &name.namespace).get_opt(&name.name).await;
    let nested = read.map_err(|source| Error::Read { key: key.clone(), source })?;
    let host = world.host_api(kind.kind());
    let host_name = world.context.owner.host_name(&name.namespace, &name.name);
    let Some(nested) = nested else {
        lock(&world.uses).lost(key);
        *last = None;
        let discarded = discard_copy(&host, &host_name).await;
        return discarded.map_err(|source| Error::Write { key: key.clone(), source });
    };
    if !is_selected(world, key, &nested) {
        return Err(Error::LeftOut { key: key.clone() });
    }
    let version = nested.metadata.resource_version.clone().unwrap_or_default();
    let owners = lock(&world.uses).owners(key);
    // Its last user has gone since, and the copy goes with it: nobody would remove one without an owner.
    if owners.is_empty() && existing != Existing::Awaited {
        return Ok(());
    }
    if lock(&world.uses).is_current(key, &version) {
        return Ok(());
    }
    let wanted = Some((version.clone(), owners.clone()));
    // Once it has users, what others do to it shows in `uses`, and it must be written again.
    if owners.is_empty() && *last == wanted {
        return Ok(());
    }
    if existing != Existing::Ours && !lock(&world.uses).is_written(key) {
        refuse_foreign(world, key, &host, &host_name).await?;
    }
    let copy = copy(&world.context.owner, *kind, &crate::watch::json(&nested), &owners)
        .map_err(|refusal| Error::Refused { key: key.clone(), refusal })?;
    let mut written = put(&host, &host_name, &copy).await;
    if let Err(kube::Error::Api(status)) = &written
        && status.code == 422
        && status.message.contains("immutable")
    {
        // A Secret's type, or what an immutable object said before its namesake: it takes another object to say it.
        let discarded = discard_copy(&host, &host_name).await;
        discarded.map_err(|source| Error::Write { key: key.clone(), source })?;
        written = put(&host, &host_name, &copy).await;
    }
    let written = written.map_err(|source| Error::Write { key: key.clone(), source })?;
    let copy = written.metadata.resource_version.unwrap_or_default();
    lock(&world.uses).written(key, &version, &owners, &copy);
    *last = wanted;
    Ok(())
}

/// Applies a copy, and takes away what others put in.
pub(crate) async fn put(
    host: &Api<DynamicObject>,
    host_name: &str,
    copy: &Value,
) -> Result<DynamicObject, kube::Error> {
    let made = host.patch(host_name, &signed::apply(), &Patch::Apply(copy)).await?;
    let Some(patch) = excess(&crate::watch::json(&made), copy) else { return Ok(made) };
    let params = signed::patch();
    host.patch(host_name, &params, &Patch::Merge(&patch)).await
}

async fn discard_copy(host: &Api<DynamicObject>, host_name: &str) -> Result<(), kube::Error> {
    match host.delete(host_name, &DeleteParams::default()).await {
        Err(error) if !error_is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Removes the copy of `key` again, if no pod came to use it. What cannot be removed now goes with the cluster.
pub async fn discard(world: &World, key: &Key) {
    if lock(&world.uses).contains(key) {
        return;
    }
    let host_name = world.context.owner.host_name(&key.1.namespace, &key.1.name);
    if let Err(error) = discard_copy(&world.host_api(key.0.kind()), &host_name).await {
        tracing::warn!(kind = key.0.kind(), name = %key.1, %error, "an unused copy stays in the host for now");
    }
}

/// A long name is cut and keeps 20 bits of hash, so another object may have it already. It is not overwritten.
async fn refuse_foreign(
    world: &World,
    key: &Key,
    host: &Api<DynamicObject>,
    host_name: &str,
) -> Result<(), Error> {
    let existing =
        host.get_metadata_opt(host_name).await.map_err(|source| Error::Write { key: key.clone(), source })?;
    let made_for = |metadata: &ObjectMeta| {
        Origin::of_host(&world.context.owner, &serde_json::to_value(metadata).unwrap_or_default())
    };
    match existing.map(|existing| made_for(&existing.metadata).map(Name::from)) {
        Some(name) if name.as_ref() != Some(&key.1) => {
            Err(Error::Taken { key: key.clone(), host_name: host_name.to_owned() })
        }
        _ => Ok(()),
    }
}

fn error_is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// One step for `key`: bring the copy up to date, if anyone uses it.
pub async fn step(world: Arc<World>, key: Key) -> Next {
    if !lock(&world.uses).contains(&key) {
        return Next::Done;
    }
    match write(&world, &key, Existing::Unknown).await {
        Ok(()) => Next::Done,
        Err(error) => {
            tracing::warn!(%error, "a copy is out of date");
            Next::Retry
        }
    }
}

/// Watches the metadata of all ConfigMaps and Secrets of the nested cluster – their contents are read only for those in use –
/// and asks for those that changed.
pub async fn watch_nested(world: Arc<World>, requests: Requests<Key>) {
    futures::join!(
        watch_kind::<ConfigMap>(&world, DataKind::ConfigMap, &requests),
        watch_kind::<Secret>(&world, DataKind::Secret, &requests)
    );
}

async fn watch_kind<K>(world: &World, kind: DataKind, requests: &Requests<Key>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::all(world.nested.clone());
    let mut events = std::pin::pin!(watch(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        let object = match event {
            Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) => object,
            Ok(Event::Init | Event::InitDone) => continue,
            Err(error) => {
                tracing::warn!(kind = kind.kind(), %error, "a watch broke; it is taken up again");
                continue;
            }
        };
        let (Some(namespace), Some(name)) = (object.metadata.namespace, object.metadata.name) else {
            continue;
        };
        let key = (kind, Name { namespace, name });
        let uses = lock(&world.uses);
        let version = object.metadata.resource_version.unwrap_or_default();
        if uses.contains(&key) && !uses.is_current(&key, &version) {
            requests.send(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Seen, world};
    use serde_json::json;

    #[tokio::test]
    async fn what_is_left_out_stays_inside() {
        let sync = json!({"configMaps": {"enabled": false}, "secrets": {"selector": {"copied": "yes"}}});
        let sync: k3k_api::v1beta1::SyncConfig = serde_json::from_value(sync).unwrap();
        for (kind, name, label, is_copied) in [
            (DataKind::ConfigMap, "conf", "yes", false),
            (DataKind::ConfigMap, ROOT_CERTIFICATES, "no", true),
            (DataKind::Secret, "key", "no", false),
            (DataKind::Secret, "key", "yes", true),
        ] {
            let (world, mut host, mut nested) = world(Seen { sync: sync.clone(), ..Seen::default() });
            let key = (kind, Name { namespace: "shop".into(), name: name.into() });
            let writing = tokio::spawn(async move { write(&world, &key, Existing::Awaited).await });
            let call = nested.expect("GET", "/api/v1/namespaces/shop/").await;
            call.answer(200, &json!({
                "apiVersion": "v1", "kind": kind.kind(),
                "metadata": {"name": name, "namespace": "shop", "uid": "n", "resourceVersion": "5", "labels": {"copied": label}},
            }));
            if is_copied {
                host.expect("GET", "/api/v1/namespaces/k3k-dev/").await.refuse(404, "NotFound", "none");
                host.expect("PATCH", "/api/v1/namespaces/k3k-dev/").await.accept();
                writing.await.unwrap().unwrap();
            } else {
                let error = writing.await.unwrap().unwrap_err().to_string();
                assert!(error.contains(&format!("{} shop/{name}", kind.kind())), "{error}");
                assert!(host.next().await.is_none(), "nothing is copied");
            }
        }
    }

    #[tokio::test]
    async fn what_lost_its_last_user_meanwhile_is_not_written() {
        let (world, mut host, mut nested) = world(Seen::default());
        let key = (DataKind::ConfigMap, Name { namespace: "shop".into(), name: "conf".into() });
        let writing = tokio::spawn(async move { write(&world, &key, Existing::Unknown).await });
        nested.expect("GET", "/api/v1/namespaces/shop/configmaps/conf").await.answer(
            200,
            &json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "conf", "namespace": "shop", "uid": "n", "resourceVersion": "5"},
            }),
        );
        writing.await.unwrap().unwrap();
        assert!(host.next().await.is_none(), "nobody would remove it");
    }

    #[tokio::test]
    async fn two_at_once_write_once() {
        let (world, mut host, mut nested) = world(Seen::default());
        let world = Arc::new(world);
        let key = (DataKind::ConfigMap, Name { namespace: "shop".into(), name: "conf".into() });
        let both = [0, 1].map(|_| {
            let (world, key) = (world.clone(), key.clone());
            tokio::spawn(async move { write(&world, &key, Existing::Awaited).await })
        });
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "conf", "namespace": "shop", "uid": "n", "resourceVersion": "5"}, "data": {"a": "b"},
        });
        nested.expect("GET", "/api/v1/namespaces/shop/configmaps/conf").await.answer(200, &object);
        host.expect("GET", "/api/v1/namespaces/k3k-dev/configmaps/").await.refuse(404, "NotFound", "none");
        host.expect("PATCH", "/api/v1/namespaces/k3k-dev/configmaps/").await.accept();
        nested.expect("GET", "/api/v1/namespaces/shop/configmaps/conf").await.answer(200, &object);
        for written in both {
            written.await.unwrap().unwrap();
        }
        drop(world);
        assert!(host.next().await.is_none(), "the second found its work done");
    }
}
