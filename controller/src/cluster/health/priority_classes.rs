//! Copying a nested cluster's own PriorityClasses to the host. They are of the whole host, where the virtual kubelet has no say.

use super::classes::{Classes, PAUSE, agree};
use crate::cluster::build::Site;
use crate::cluster::priority_class::{copies_of, selector, wanted};
use futures::TryStreamExt as _;
use k3k_api::managers;
use k3k_api::v1beta1::{SyncConfig, SyncedKind};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use std::pin::pin;

/// Keeps the copies as the nested cluster has its classes, until the watch of those breaks.
pub(super) async fn copy(nested: Client, host: Client, site: &Site, classes: Classes, sync: &SyncConfig) {
    let api: Api<PriorityClass> = Api::all(host);
    let mut known = classes.priority;
    // What the host had before is news to us.
    known.mark_changed();
    let (own, writer) = reflector::store::<PriorityClass>();
    let mut events =
        pin!(watcher(Api::<PriorityClass>::all(nested), watcher::Config::default()).reflect(writer));
    let is_copied = sync.copies(SyncedKind::PriorityClass);
    // Without a wish to copy nothing of the nested cluster matters.
    let mut listed = !is_copied;
    loop {
        tokio::select! {
            event = events.try_next(), if is_copied => match event {
                Ok(Some(Event::InitDone | Event::Apply(_) | Event::Delete(_))) => listed = true,
                Ok(Some(Event::Init | Event::InitApply(_))) => continue,
                Ok(None) | Err(_) => return,
            },
            changed = known.changed() => if changed.is_err() { return },
        }
        let present = known.borrow_and_update().clone();
        let Some(present) = present.filter(|_| listed) else { continue };
        let (present, wanted) = (copies_of(&site.uid, &present), wanted(site, sync, &own.state()));
        if let Err(error) = agree(&api, managers::CONTROLLER, &present, &wanted).await {
            tracing::debug!(cluster = site.name, namespace = site.namespace, %error, "the copies of PriorityClasses are out of date");
            tokio::time::sleep(PAUSE).await;
            return;
        }
    }
}

/// Removes all copies of a cluster that goes away: an object of the whole host cannot be owned by one of a namespace.
pub async fn remove_copies(host: Client, uid: &str) -> Result<(), kube::Error> {
    let api: Api<PriorityClass> = Api::all(host);
    for class in api.list_metadata(&ListParams::default().labels(&selector(uid))).await? {
        match api.delete(&class.name_any(), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            result => drop(result?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::classes::Known;
    use super::*;
    use k3k_runtime::scenario;
    use serde_json::json;
    use std::sync::Arc;

    const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

    fn site() -> Site {
        Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "c-uid".into() }
    }

    #[tokio::test]
    async fn copies_follow_the_nested_classes() {
        let sync =
            serde_json::from_value(json!({"priorityClasses": {"enabled": true, "maxValue": 10}})).unwrap();
        let class: PriorityClass =
            serde_json::from_value(json!({"metadata": {"name": "high", "uid": "u"}, "value": 50})).unwrap();
        let mut stale = wanted(&site(), &sync, &[Arc::new(class.clone())]).remove(0);
        stale.metadata.name = Some("stale".into());
        let known = Known::default();
        known.learn_priorities(vec![Arc::new(stale)]);
        let ((nested, mut nested_calls), (host, mut host_calls)) = (scenario::client(), scenario::client());
        let classes = known.subscribe();
        let step = tokio::spawn(async move { copy(nested, host, &site(), classes, &sync).await });
        let list = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClassList", "metadata": {"resourceVersion": "1"}, "items": [class]});
        nested_calls.expect("GET", CLASSES).await.answer(200, &list);
        host_calls.expect("DELETE", &format!("{CLASSES}/stale")).await.accept();
        let call = host_calls.expect("POST", CLASSES).await;
        assert!(call.uri.contains("fieldManager=k3k-controller"), "{}", call.uri);
        assert_eq!((&call.body["value"], &call.body["preemptionPolicy"]), (&json!(10), &json!("Never")));
        call.accept();
        step.abort();
    }

    #[tokio::test]
    async fn copies_that_are_not_asked_for_any_more_go() {
        let sync = serde_json::from_value(json!({"priorityClasses": {"enabled": true}})).unwrap();
        let class: PriorityClass =
            serde_json::from_value(json!({"metadata": {"name": "high", "uid": "u"}, "value": 5})).unwrap();
        let known = Known::default();
        known
            .learn_priorities(wanted(&site(), &sync, &[Arc::new(class)]).into_iter().map(Arc::new).collect());
        let ((nested, _nested_calls), (host, mut host_calls)) = (scenario::client(), scenario::client());
        let classes = known.subscribe();
        let step =
            tokio::spawn(async move { copy(nested, host, &site(), classes, &SyncConfig::default()).await });
        host_calls.expect("DELETE", CLASSES).await.accept();
        step.abort();
    }

    #[tokio::test]
    async fn a_cluster_that_goes_takes_its_copies_along() {
        let (host, mut calls) = scenario::client();
        let step = tokio::spawn(async move { remove_copies(host, "c-uid").await });
        let call = calls.expect("GET", CLASSES).await;
        assert!(call.uri.contains("labelSelector=k3k.io%2FclusterUID%3Dc-uid"), "{}", call.uri);
        let items = json!([{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "a"}}]);
        call.answer(200, &json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items}));
        calls.expect("DELETE", &format!("{CLASSES}/a")).await.refuse(404, "NotFound", "gone meanwhile");
        step.await.unwrap().unwrap();
    }
}
