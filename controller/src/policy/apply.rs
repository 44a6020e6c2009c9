//! Writing to the host: only what differs, never what is somebody else's.

use super::budget::{self, Amounts};
use super::build::pod_security;
use super::build::{Kind, Manifest, Owner, quota};
use super::caches::{controller_uid, our_labels};
use super::error::Error;
use super::plan::Tenant;
use super::settled::is_settled;
use super::{Context, observe};
use futures::{StreamExt as _, stream};
use k3k_api::managers;
use k3k_runtime::apply;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    DeleteParams, DynamicObject, ObjectMeta, PartialObjectMeta, PartialObjectMetaExt as _, Patch,
    PatchParams, Preconditions,
};
use kube::{Api, Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};

/// Requests on their way at the same time for one namespace.
const CONCURRENCY: usize = 4;

/// An API for objects of `kind` in a namespace.
pub fn api(client: &Client, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &kind.resource())
}

/// Brings `manifests` to the host. What fails holds nothing up.
pub async fn all(context: &Context, owner: &Owner, manifests: Vec<Manifest>) -> Result<(), Error> {
    let applied = stream::iter(manifests.into_iter().map(|manifest| one(context, owner, manifest)));
    let applied: Vec<Result<(), Error>> = applied.buffered(CONCURRENCY).collect().await;
    applied.into_iter().collect()
}

async fn one(context: &Context, owner: &Owner, manifest: Manifest) -> Result<(), Error> {
    let what = || manifest.what();
    let api = api(&context.client, &manifest.namespace, manifest.kind);
    let present = match context.caches.owned(manifest.kind, &manifest.namespace, &manifest.name) {
        Some(cached) => Some((*cached).clone()),
        // It may be there and be somebody else's.
        None => api.get_opt(&manifest.name).await.map_err(|source| Error::Read { what: what(), source })?,
    };
    if let Some(present) = &present {
        ensure_ours(owner, present, what)?;
        if is_settled(present, &manifest) {
            return Ok(());
        }
    }
    let object = read(&manifest)?;
    tracing::debug!(policy = owner.name, object = what(), "applying");
    let applied = apply::apply(&api, managers::POLICY, &object).await;
    applied.map(drop).map_err(|source| Error::Write { what: what(), source })
}

fn read(manifest: &Manifest) -> Result<DynamicObject, Error> {
    serde_json::from_value(manifest.sealed())
        .map_err(|error| Error::Build { what: manifest.what(), message: error.to_string() })
}

/// Refuses an object that this very policy does not control.
pub fn ensure_ours(owner: &Owner, object: &DynamicObject, what: impl Fn() -> String) -> Result<(), Error> {
    match controller_uid(object) {
        Some(uid) if uid == owner.uid => Ok(()),
        Some(_) => Err(Error::Leftover { what: what() }),
        None => {
            let owners = object.owner_references();
            let other = owners.iter().find(|owner| owner.controller == Some(true));
            let owner = other.map_or_else(
                || "does not belong to a policy".to_owned(),
                |other| format!("belongs to {} {:?}", other.kind, other.name),
            );
            Err(Error::Foreign { what: what(), owner })
        }
    }
}

/// Deletes what belongs to the policy in a namespace and is not in `keep`.
pub async fn prune(
    context: &Context,
    owner: &Owner,
    namespace: &str,
    keep: &BTreeSet<(Kind, String)>,
) -> Result<(), Error> {
    for (kind, object) in context.caches.owned_by(owner, namespace) {
        if !keep.contains(&(kind, object.name_any())) {
            delete(&context.client, kind, &object).await?;
        }
    }
    Ok(())
}

/// Deletes this very object, unless it goes already.
pub async fn delete(client: &Client, kind: Kind, object: &DynamicObject) -> Result<(), Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: object.uid(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    match api(client, &namespace, kind).delete(&name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(source) => {
            Err(Error::Delete { what: format!("{kind} {name:?} in namespace {namespace:?}"), source })
        }
    }
}

/// Sets the labels that are ours to set, and takes back those that are not any more.
pub async fn labels(
    client: &Client,
    namespace: &PartialObjectMeta<Namespace>,
    wanted: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let ours = our_labels(namespace);
    let has =
        |(key, value): (&String, &String)| ours.contains(key) && namespace.labels().get(key) == Some(value);
    if wanted.len() == ours.len() && wanted.iter().all(has) {
        return Ok(());
    }
    let name = namespace.name_any();
    let labels = Some(wanted.clone()).filter(|labels| !labels.is_empty());
    // With the UID, a namespace that is gone is not made anew.
    let wanted =
        ObjectMeta { name: Some(name.clone()), uid: namespace.uid(), labels, ..ObjectMeta::default() };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let patch = wanted.into_request_partial::<Namespace>();
    // Not by force: what somebody else sets at this moment stays.
    let parameters = PatchParams::apply(managers::POLICY);
    match namespaces.patch_metadata(&name, &parameters, &Patch::Apply(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(Error::Write { what: format!("the labels of namespace {name:?}"), source }),
    }
}

/// The labels of a namespace that are about Pod Security.
pub fn present_labels(namespace: &PartialObjectMeta<Namespace>) -> BTreeMap<String, String> {
    let labels = namespace.labels().iter().filter(|(key, _)| key.starts_with(pod_security::PREFIX));
    labels.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Gives the policy's namespaces their shares of the tenant's budget. Each of the tenant's policies does so for its own.
pub async fn shares(context: &Context, owner: &Owner, tenant: &Tenant) -> Result<(), Error> {
    let shares = observe::shares(context, tenant);
    let own = owner.object(quota::TENANT);
    let wanted = |quotas: &BTreeMap<_, _>| {
        let dealt = budget::deal(&tenant.budget, &observe::namespaces(&shares), quotas);
        let of_us = dealt.into_iter().filter(|(namespace, _)| shares.get(namespace) == Some(&own));
        of_us.collect::<BTreeMap<String, Amounts>>()
    };
    let manifest = |namespace: &str, hard: &Amounts| quota::share(owner, namespace, &tenant.name, hard);
    let remembered = observe::remembered(context, &shares);
    let is_in_place = |(namespace, hard): (&String, &Amounts)| {
        let cached = context.caches.owned(Kind::ResourceQuota, namespace, &own);
        budget::asks_for(remembered.get(namespace), hard)
            && cached.is_some_and(|cached| is_settled(&cached, &manifest(namespace, hard)))
    };
    if wanted(&remembered).iter().all(is_in_place) {
        return Ok(());
    }
    // What is remembered may be older than what was given last, and what is given twice is too much.
    let _guard = context.budgets.lock().await;
    let present = observe::present(context, &shares).await?;
    for (namespace, hard) in wanted(&present) {
        let manifest = manifest(&namespace, &hard);
        let mut object = read(&manifest)?;
        if let Some(quota) = present.get(&namespace) {
            let seen: DynamicObject = serde_json::to_value(quota)
                .and_then(serde_json::from_value)
                .map_err(|error| Error::Build { what: manifest.what(), message: error.to_string() })?;
            ensure_ours(owner, &seen, || manifest.what())?;
            if is_settled(&seen, &manifest) {
                continue;
            }
            // Only if it is still as it was when the shares were reckoned.
            object.metadata.resource_version = quota.resource_version();
        }
        let api = api(&context.client, &namespace, Kind::ResourceQuota);
        let applied = apply::apply(&api, managers::POLICY, &object).await;
        applied.map(drop).map_err(|source| Error::Write { what: manifest.what(), source })?;
    }
    Ok(())
}
