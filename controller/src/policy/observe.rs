//! Reading what a reconcile needs to know, from caches; and, before a budget is dealt out, from the host itself.

use super::Context;
use super::build::network::Surroundings;
use super::build::{Owner, quota};
use super::error::Error;
use super::plan::Tenant;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::{Api, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};

/// Requests on their way at the same time.
const CONCURRENCY: usize = 6;

/// What is known of the host.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its network.
    pub around: Surroundings,
    /// Its StorageClasses.
    pub storage_classes: Vec<String>,
}

/// Reads everything.
pub async fn observe(context: &Context) -> Result<Observed, Error> {
    let mut around = context.caches.surroundings();
    around.controller.clone_from(&context.namespace);
    let ranges = context.host.service_cidrs().await?;
    around.service_ranges = ranges.iter().filter_map(|range| range.parse().ok()).collect();
    Ok(Observed { around, storage_classes: context.caches.storage_classes() })
}

/// The namespaces of a tenant, each with the name of its share.
pub fn shares(context: &Context, tenant: &Tenant) -> BTreeMap<String, String> {
    let named = |policy: &String| {
        let name = Owner { name: policy.clone(), uid: String::new() }.object(quota::TENANT);
        let bound = context.caches.bound(policy);
        bound.iter().map(|namespace| (namespace.name_any(), name.clone())).collect::<Vec<_>>()
    };
    tenant.policies.iter().flat_map(named).collect()
}

/// The shares that are remembered, by namespace. What is remembered may be older than what we did last.
pub fn remembered(context: &Context, shares: &BTreeMap<String, String>) -> BTreeMap<String, ResourceQuota> {
    let read = |(namespace, name): (&String, &String)| {
        let quota = context.caches.owned(super::build::Kind::ResourceQuota, namespace, name)?;
        Some((namespace.clone(), (*quota).clone().try_parse().ok()?))
    };
    shares.iter().filter_map(read).collect()
}

/// The shares as the host has them now, by namespace.
pub async fn present(
    context: &Context,
    shares: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, ResourceQuota>, Error> {
    let read = shares.clone().into_iter().map(|(namespace, name)| async move {
        let quotas: Api<ResourceQuota> = Api::namespaced(context.client.clone(), &namespace);
        let found = quotas.get_opt(&name).await.map_err(|source| Error::Read {
            what: format!("ResourceQuota {name:?} in namespace {namespace:?}"),
            source,
        })?;
        Ok::<_, Error>(found.map(|quota| (namespace, quota)))
    });
    let found: Vec<_> = stream::iter(read).buffer_unordered(CONCURRENCY).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// The namespaces among which a budget is shared.
pub fn namespaces(shares: &BTreeMap<String, String>) -> BTreeSet<String> {
    shares.keys().cloned().collect()
}
