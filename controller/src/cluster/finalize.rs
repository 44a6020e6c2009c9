//! Deleting a cluster. What the cluster owns goes by garbage collection, but not before the virtual kubelet has
//! stopped: it would recreate tenants' pods. Nothing here needs the nested API, a valid spec or a cluster that ever
//! worked.

use super::build::{Kind, Site};
use super::error::Error;
use super::{Context, Guarded, apply, finalizer, health, namespace, status};
use jiff::Timestamp;
use k3k_api::labels::component;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource as _;
use kube::api::{DeleteParams, Preconditions};
use kube::core::Status;
use kube::runtime::controller::Action;
use std::sync::Arc;
use std::time::Duration;

/// How long after its deadline a stopping pod is waited for. Its node may be dead; then nobody reports its end.
const GRACE: Duration = Duration::from_secs(30);

/// Goes one step further with a deletion. Events of pods bring the next step.
pub async fn finalize(context: &Context, object: &Guarded) -> Result<Action, Error> {
    let site = Site::of(object);
    context.health.forget(&site.uid);
    context.memory.forget(&site);
    let Some(position) = finalizer::position(object) else {
        return Ok(Action::await_change());
    };
    tell(context, &site, object).await;
    let names = site.names();
    let (kubelet, agent, server) = (names.kubelet(), names.agent(), names.server());
    tokio::try_join!(
        delete(context, &site, Kind::Deployment, &kubelet),
        delete(context, &site, Kind::StatefulSet, &agent),
        delete(context, &site, Kind::StatefulSet, &server),
    )?;
    let kubelets = context.caches.pods(&site, component::KUBELET);
    if let Some(wait) = longest_wait(&kubelets, Timestamp::now()) {
        tracing::debug!(
            cluster = site.name,
            namespace = site.namespace,
            "waiting for the virtual kubelet to stop"
        );
        return Ok(Action::requeue(wait));
    }
    health::remove_copies(context.client.clone(), &site.uid).await.map_err(|source| Error::Delete {
        what: "the copies of the cluster's PriorityClasses".to_owned(),
        source,
    })?;
    namespace::release(context, &site).await?;
    finalizer::remove(context, &site, position).await?;
    Ok(Action::await_change())
}

/// Says that the cluster goes away. It goes away also if that cannot be said.
async fn tell(context: &Context, site: &Site, object: &Guarded) {
    let before = object.0.as_ref().ok().and_then(|cluster| cluster.status.clone()).unwrap_or_default();
    let message = "Cluster is being terminated";
    let after = status::terminating(&before, object.meta().generation, message, Timestamp::now());
    if let Err(error) = status::publish(context, site, &before, &after).await {
        tracing::warn!(cluster = site.name, namespace = site.namespace, %error, "cannot report the deletion");
    }
}

/// Deletes one of our objects, if it is there and ours.
pub async fn delete(context: &Context, site: &Site, kind: Kind, name: &str) -> Result<(), Error> {
    let what = || format!("{kind} {name:?}");
    let api = apply::api(&context.client, site, kind);
    let object = api.get_opt(name).await.map_err(|source| Error::Read { what: what(), source })?;
    let Some(object) = object else { return Ok(()) };
    if object.metadata.deletion_timestamp.is_some() || apply::ensure_ours(site, kind, &object).is_err() {
        return Ok(());
    }
    let preconditions = Preconditions { uid: object.metadata.uid, resource_version: None };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    match api.delete(name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if is_gone(&status) => Ok(()),
        Err(source) => Err(Error::Delete { what: what(), source }),
    }
}

fn is_gone(status: &Status) -> bool {
    status.is_not_found() || status.is_conflict()
}

/// How long the pods may still take. None if there are none, or if their time is long over.
pub(super) fn longest_wait(pods: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let left = pods.iter().filter_map(|pod| match &pod.metadata.deletion_timestamp {
        // The deletion timestamp is the moment at which the grace period ends.
        Some(deadline) => {
            let left =
                deadline.0.duration_since(now) + jiff::SignedDuration::try_from(GRACE).unwrap_or_default();
            Duration::try_from(left).ok().filter(|left| !left.is_zero())
        }
        // Its Deployment has just been deleted.
        None => Some(GRACE),
    });
    left.max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(deletion: Option<&str>) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({ "metadata": { "name": "p", "deletionTimestamp": deletion } }))
                .unwrap(),
        )
    }

    #[test]
    fn stopping_pods_are_waited_for_but_not_for_ever() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        assert_eq!(longest_wait(&[], now), None);
        assert_eq!(longest_wait(&[pod(None)], now), Some(GRACE));
        assert_eq!(longest_wait(&[pod(Some("2026-01-01T00:00:15Z"))], now), Some(Duration::from_secs(35)));
        assert_eq!(longest_wait(&[pod(Some("2026-01-01T00:00:05Z"))], now), Some(Duration::from_secs(25)));
        assert_eq!(longest_wait(&[pod(Some("2025-01-01T00:00:00Z"))], now), None);
    }
}
