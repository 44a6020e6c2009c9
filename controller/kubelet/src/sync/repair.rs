//! A slow look at both sides that needs no watch to have told anything.
//!
//! The caches show what watches tell, and a watch that broke is taken up with a new list. Two things escape that. The watches
//! of the host follow our labels, so a copy whose labels somebody took away is out of their sight; if what it stands for goes
//! too, nothing asks for it ever again. And a step that ended in the belief that a change would bring it back is not repeated
//! when that change had already been seen. So from time to time every object of a kind in our namespace is looked at, whatever
//! its labels, and every pair that is known on either side is asked for; pairs that agree cost no call.

use super::copy::find_again;
use super::pairs::Pairs;
use crate::converge::Requests;
use crate::watch::Name;
use backon::{BackoffBuilder, ConstantBuilder};
use k3k_translate::Owner;
use kube::api::{Api, DynamicObject, ListParams};
use std::time::Duration;

/// The first scan comes soon: what happened while we were away is unknown.
const FIRST: Duration = Duration::from_secs(5);
const PERIOD: Duration = Duration::from_secs(240);
/// Objects in one answer; metadata only.
const PAGE: u32 = 500;

/// Up to twice `pause`, so that the scans of many kinds and kubelets spread out.
fn spread(pause: Duration) -> Duration {
    let jittered = ConstantBuilder::default().with_delay(pause).with_jitter().build().next();
    jittered.unwrap_or(pause)
}

/// Does `scan` from time to time, for ever.
pub async fn now_and_then(mut scan: impl AsyncFnMut()) {
    let mut pause = FIRST;
    loop {
        tokio::time::sleep(spread(pause)).await;
        scan().await;
        pause = PERIOD;
    }
}

/// Scans for ever the pairs whose copies are in `api`.
pub async fn pairs<P: Pairs>(pairs: &P, owner: &Owner, api: Api<DynamicObject>, requests: &Requests<Name>) {
    now_and_then(async || {
        strays(owner, &api).await;
        requests.send_all(pairs.known());
    })
    .await;
}

/// Gives their labels back to all copies in `api` that lost them; then the watches tell the rest.
pub async fn strays(owner: &Owner, api: &Api<DynamicObject>) {
    if let Err(error) = try_strays(owner, api).await {
        tracing::warn!(resource = api.resource_url(), %error, "the host's copies could not all be looked at; it is done again later");
    }
}

async fn try_strays(owner: &Owner, api: &Api<DynamicObject>) -> Result<(), kube::Error> {
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list_metadata(&params).await?;
        for object in &page.items {
            if let Err(error) = find_again(owner, api, &object.metadata).await {
                let name = object.metadata.name.as_deref();
                tracing::warn!(name, %error, "a host copy did not get its labels back; it is tried again later");
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Seen, owner, world};
    use serde_json::{Value, json};

    fn page(items: &[Value], next: &str) -> Value {
        json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
            "metadata": {"continue": next, "resourceVersion": "9"},
            "items": items.iter().map(|metadata| json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata,
            })).collect::<Vec<_>>(),
        })
    }

    #[tokio::test]
    async fn a_copy_that_lost_its_labels_gets_them_back_and_others_are_left_alone() {
        let (world, mut host, _nested) = world(Seen::default());
        let of = |name: &str| k3k_translate::Origin {
            namespace: "default".into(),
            name: name.into(),
            uid: "u".into(),
        };
        let whole = owner().metadata(&of("whole"), None);
        let mut stray = owner().metadata(&of("stray"), None);
        stray["labels"] = json!({"app": "web"});
        stray["uid"] = "h-uid".into();
        stray["resourceVersion"] = "7".into();
        let mut foreign = stray.clone();
        foreign["name"] = "somebodys".into();
        let name = stray["name"].as_str().unwrap().to_owned();

        let api = world.host_api("Service");
        let scan = tokio::spawn(async move { strays(&owner(), &api).await });
        let call = host.expect("GET", "/api/v1/namespaces/k3k-dev/services?").await;
        assert!(call.uri.contains("limit=500") && !call.uri.contains("labelSelector"), "{}", call.uri);
        assert!(
            call.headers["accept"].to_str().unwrap().contains("PartialObjectMetadataList"),
            "metadata only"
        );
        call.answer(200, &page(&[whole, foreign], "more"));
        let call = host.expect("GET", "/api/v1/namespaces/k3k-dev/services?").await;
        assert!(call.uri.contains("continue=more"), "{}", call.uri);
        call.answer(200, &page(&[stray], ""));
        let call = host.expect("PATCH", &format!("/api/v1/namespaces/k3k-dev/services/{name}")).await;
        assert_eq!(
            call.body["metadata"],
            json!({"uid": "h-uid", "labels": {"k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "default"}})
        );
        call.accept();
        scan.await.unwrap();
    }
}
