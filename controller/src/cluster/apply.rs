//! Writing objects to the host: only what differs, never what is somebody else's.

use super::build::{Kind, Manifest, Site};
use super::error::Error;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k3k_api::labels;
use k3k_api::managers;
use k3k_runtime::apply;
use kube::api::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use std::collections::HashMap;

/// Requests on their way at the same time for one cluster.
const CONCURRENCY: usize = 6;

/// The host's present objects of a cluster, by kind and name.
#[derive(Debug, Default)]
pub struct Live(pub HashMap<(Kind, String), DynamicObject>);

impl Live {
    /// The object, if it is there.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&DynamicObject> {
        self.0.get(&(kind, name.to_owned()))
    }
}

/// An API for objects of `kind` in the cluster's namespace.
pub fn api(client: &Client, site: &Site, kind: Kind) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), &site.namespace, &kind.resource())
}

/// Brings `manifests` to the host, in no particular order, and gives what is then there.
pub async fn all(client: &Client, site: &Site, live: &Live, manifests: Vec<Manifest>) -> Result<Live, Error> {
    let applied = stream::iter(manifests.into_iter().map(|manifest| one(client, site, live, manifest)));
    let applied: Vec<_> = applied.buffer_unordered(CONCURRENCY).try_collect().await?;
    Ok(Live(applied.into_iter().collect()))
}

async fn one(
    client: &Client,
    site: &Site,
    live: &Live,
    manifest: Manifest,
) -> Result<((Kind, String), DynamicObject), Error> {
    let present = live.get(manifest.kind, &manifest.name);
    if let Some(present) = present {
        ensure_ours(site, manifest.kind, present)?;
    }
    let object = match present {
        Some(present) if is_settled(present, &manifest) => present.clone(),
        _ => {
            let what = || format!("{} {:?}", manifest.kind, manifest.name);
            let object: DynamicObject = serde_json::from_value(manifest.sealed())
                .map_err(|error| Error::Build { what: what(), message: error.to_string() })?;
            tracing::debug!(cluster = site.name, namespace = site.namespace, object = what(), "applying");
            apply::apply(&api(client, site, manifest.kind), managers::CONTROLLER, &object)
                .await
                .map_err(|source| Error::Write { what: what(), source })?
        }
    };
    Ok(((manifest.kind, manifest.name), object))
}

/// Creates a Secret that is made once and never replaced. Gives the one that is there.
pub async fn once(client: &Client, site: &Site, manifest: &Manifest) -> Result<DynamicObject, Error> {
    let what = || format!("{} {:?}", manifest.kind, manifest.name);
    let object: DynamicObject = serde_json::from_value(manifest.object.clone())
        .map_err(|error| Error::Build { what: what(), message: error.to_string() })?;
    apply::create_if_missing(&api(client, site, manifest.kind), &object)
        .await
        .map_err(|source| Error::Write { what: what(), source })
}

/// Refuses an object that this very Cluster does not control.
pub fn ensure_ours(site: &Site, kind: Kind, object: &DynamicObject) -> Result<(), Error> {
    let owners = object.owner_references();
    if owners.iter().any(|owner| owner.uid == site.uid && owner.controller == Some(true)) {
        return Ok(());
    }
    let name = object.name_any();
    Err(match owners.iter().find(|owner| owner.controller == Some(true)) {
        Some(owner) if owner.kind == "Cluster" && owner.name == site.name => Error::Leftover { kind, name },
        Some(owner) => {
            Error::Foreign { kind, name, owner: format!("belongs to {} {:?}", owner.kind, owner.name) }
        }
        None => Error::Foreign { kind, name, owner: "does not belong to this cluster".to_owned() },
    })
}

/// Whether applying `manifest` would change nothing: it is what was applied last, and nobody has undone it since.
fn is_settled(present: &DynamicObject, manifest: &Manifest) -> bool {
    // The items of a list do not say what they are.
    let mut wanted = manifest.object.clone();
    if let Some(fields) = wanted.as_object_mut() {
        fields.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind"));
    }
    present.annotations().get(labels::APPLIED_HASH) == Some(&manifest.hash())
        && serde_json::to_value(present).is_ok_and(|present| contains(&present, &wanted))
}

/// Whether `present` has everything that `wanted` has. Lists of objects may hold more, in any order: that is how
/// server-side apply merges them.
fn contains(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            present.get(key).map_or_else(|| is_empty(value), |present| contains(present, value))
        }),
        (Value::Array(present), Value::Array(wanted)) if wanted.iter().any(Value::is_object) => {
            wanted.iter().all(|value| present.iter().any(|present| contains(present, value)))
        }
        _ => present == wanted,
    }
}

/// Values that the API server leaves out when it stores.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({ "a": 1, "b": 2 }), json!({ "a": 1 }), true)]
    #[case(json!({ "a": 1 }), json!({ "a": 2 }), false)]
    #[case(json!({}), json!({ "a": {} }), true)]
    #[case(json!({}), json!({ "a": false }), false)]
    #[case(json!({ "l": ["x", "y"] }), json!({ "l": ["x"] }), false)]
    #[case(json!({ "l": [{ "n": 2 }, { "n": 1, "d": 0 }] }), json!({ "l": [{ "n": 1 }] }), true)]
    #[case(json!({ "l": [{ "n": 2 }] }), json!({ "l": [{ "n": 1 }] }), false)]
    fn containment(#[case] present: Value, #[case] wanted: Value, #[case] want: bool) {
        assert_eq!(contains(&present, &wanted), want);
    }

    fn owned_by(owner: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "k3k-dev-x", "ownerReferences": owner },
        }))
        .unwrap()
    }

    #[rstest]
    #[case(json!([]), "Foreign")]
    #[case(json!([{ "apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "name": "dev", "uid": "old", "controller": true }]), "Leftover")]
    #[case(json!([{ "apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "name": "other", "uid": "x", "controller": true }]), "Foreign")]
    #[case(json!([{ "apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "name": "dev", "uid": "u" }]), "Foreign")]
    #[case(json!([{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "dev", "uid": "x", "controller": true }]), "Foreign")]
    fn others_objects_are_refused(#[case] owners: Value, #[case] category: &str) {
        let site = Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() };
        let error = ensure_ours(&site, Kind::Secret, &owned_by(&owners)).unwrap_err();
        assert_eq!(error.category(), category);
    }

    #[test]
    fn our_objects_are_ours() {
        let site = Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() };
        ensure_ours(&site, Kind::Secret, &owned_by(&json!([site.owner_reference()]))).unwrap();
    }

    #[test]
    fn drift_and_change_are_seen() {
        let site = Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() };
        let manifest = super::super::build::service::dns(&site);
        let mut present = manifest.sealed();
        present["metadata"]["resourceVersion"] = "7".into();
        present["spec"]["clusterIP"] = "10.43.0.9".into();
        let object = |value: &Value| serde_json::from_value::<DynamicObject>(value.clone()).unwrap();
        assert!(is_settled(&object(&present), &manifest));
        let mut listed = object(&present);
        listed.types = None;
        assert!(is_settled(&listed, &manifest));
        let mut drifted = present.clone();
        drifted["spec"]["selector"]["k8s-app"] = "mine".into();
        assert!(!is_settled(&object(&drifted), &manifest));
        let mut older = present.clone();
        older["metadata"]["annotations"][labels::APPLIED_HASH] = "older".into();
        assert!(!is_settled(&object(&older), &manifest));
    }
}
