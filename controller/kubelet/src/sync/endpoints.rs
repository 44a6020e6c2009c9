//! Endpoints that tenants name themselves, for Services without a selector: written as `EndpointSlice`s, or as Endpoints that
//! the nested cluster makes slices of. What is allowed is said in [`k3k_translate::endpoints`].

use crate::converge::{Next, Requests, queue};
use crate::sync::pairs::{self, Lists, Pairs};
use crate::sync::services::{is_selected, nested_service, notice};
use crate::sync::told::joined;
use crate::sync::{copy, repair};
use crate::watch::{Name, follow, json, nested_name, origin};
use crate::world::{World, lock};
use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use k3k_api::v1beta1::SyncConfig;
use k3k_api::{labels, managers};
use k3k_translate::endpoints::{self, BY_SELECTOR, MANAGED_BY, PodAddresses, SERVICE_NAME};
use k3k_translate::service::{Desired, translate};
use k3k_translate::{Origin, Refusal};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::events::EventType;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

const AT_ONCE: usize = 4;

/// What others see first.
pub struct Notices {
    /// A nested Service changed; `None`: all may have.
    pub services: UnboundedReceiver<Option<Name>>,
    /// Host pods may have changed. True once all are known.
    pub pods: Receiver<bool>,
}

struct Endpoints {
    world: Arc<World>,
    sync: SyncConfig,
    nested: Store<DynamicObject>,
    host: Store<DynamicObject>,
    /// Nested slices, host slices, nested Services, host pods.
    listed: Lists,
    /// What tenants were told is refused, by slice.
    told: Mutex<HashMap<Name, Vec<Refusal>>>,
}

fn slice() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("discovery.k8s.io", "v1", "EndpointSlice"))
}

/// Keeps the host's slices in agreement with the nested ones until `shutdown`.
pub async fn run(world: Arc<World>, sync: SyncConfig, notices: Notices, shutdown: CancellationToken) {
    let owner = &world.context.owner;
    // The host's own controller makes slices with the labels of our Services.
    let ours = format!("{}={},{MANAGED_BY}={}", labels::CLUSTER_NAME, owner.cluster, managers::KUBELET);
    let theirs = format!("{MANAGED_BY}!={BY_SELECTOR}");
    let in_host = Api::namespaced_with(world.host.clone(), &owner.namespace, &slice());
    let all_in_host = in_host.clone();
    let (host, host_changes) = follow(in_host, &slice(), watcher::Config::default().labels(&ours));
    let everywhere = Api::all_with(world.nested.clone(), &slice());
    let (nested, nested_changes) = follow(everywhere, &slice(), watcher::Config::default().labels(&theirs));
    let slices =
        Arc::new(Endpoints { world, sync, nested, host, listed: Lists::new(4), told: Mutex::default() });
    let (requests, queue) = queue();
    let made_for = |slice: &DynamicObject| slices.world.made_for(slice);
    tokio::select! {
        () = pairs::work(slices.clone(), queue, AT_ONCE, shutdown) => {}
        () = pairs::follow(&*slices, 0, nested_changes, &requests, nested_name) => {}
        () = pairs::follow(&*slices, 1, host_changes, &requests, made_for) => {}
        () = slices.follow_services(notices.services, &requests) => {}
        () = slices.follow_pods(notices.pods, &requests) => {}
        () = repair::pairs(&*slices, &slices.world.context.owner, all_in_host, &requests) => {}
    }
}

/// The Service that a nested slice belongs to.
fn service_of(slice: &DynamicObject) -> Option<Name> {
    let labels = slice.metadata.labels.as_ref()?;
    Some(Name { namespace: slice.metadata.namespace.clone()?, name: labels.get(SERVICE_NAME)?.clone() })
}

impl Pairs for Endpoints {
    fn lists(&self) -> &Lists {
        &self.listed
    }

    fn known(&self) -> Vec<Name> {
        let (nested, host) = (self.nested.state(), self.host.state());
        let nested = nested.iter().filter_map(|slice| nested_name(slice));
        nested.chain(host.iter().filter_map(|slice| self.world.made_for(slice))).collect()
    }

    async fn act(&self, name: &Name) -> Next {
        match self.converge(name).await {
            Ok(()) => Next::Done,
            Err(copy::Error::Api(kube::Error::Api(status))) if status.is_conflict() => Next::Retry,
            Err(error @ copy::Error::Api(_)) => {
                tracing::warn!(slice = %name, %error, "endpoints are out of date");
                Next::Retry
            }
            Err(error) => {
                self.tell(name, &[Refusal::new(name.to_string(), error.to_string())]).await;
                Next::Refused
            }
        }
    }
}

impl Endpoints {
    async fn follow_services(&self, services: UnboundedReceiver<Option<Name>>, requests: &Requests<Name>) {
        let changes = services.for_each(|changed| {
            match changed {
                Some(service) => {
                    let slices = self.nested.state();
                    let of_it = slices.iter().filter(|slice| service_of(slice).as_ref() == Some(&service));
                    requests.send_all(of_it.filter_map(|slice| nested_name(slice)));
                }
                None => self.relisted(2, requests),
            }
            futures::future::ready(())
        });
        changes.await;
    }

    /// An address may be another's as soon as its pod is gone.
    async fn follow_pods(&self, mut pods: Receiver<bool>, requests: &Requests<Name>) {
        pods.mark_changed();
        while pods.changed().await.is_ok() {
            if *pods.borrow_and_update() {
                self.relisted(3, requests);
            }
        }
        // The sender is gone only when the process is ending.
        futures::future::pending::<()>().await;
    }

    async fn converge(&self, name: &Name) -> Result<(), copy::Error> {
        let owner = &self.world.context.owner;
        let key = ObjectRef::new_with(&name.name, slice()).within(&name.namespace);
        let nested = self.nested.get(&key);
        let host_name = owner.host_name(&name.namespace, &name.name);
        let host = self.host.get(&ObjectRef::new_with(&host_name, slice()).within(&owner.namespace));
        let made_for = host.as_deref().and_then(|host| origin(owner, host));
        let host = host.map(|host| json(&host));
        if host.is_some() && made_for.clone().map(Name::from).as_ref() != Some(name) {
            // Of another slice, or of nobody: never ours to touch.
            return match nested {
                Some(_) => Err(copy::Error::Taken { host_name }),
                None => Ok(()),
            };
        }
        let (desired, refused) = match &nested {
            Some(nested) => self.desired(nested),
            None => (None, Vec::new()),
        };
        self.tell(name, &refused).await;
        let api = Api::namespaced_with(self.world.host.clone(), &owner.namespace, &slice());
        let current = nested.as_deref().map(json).as_ref().and_then(Origin::of_nested);
        match (host, desired) {
            (Some(host), _) if copy::is_ending(&host) => Ok(()),
            (Some(host), Some(desired))
                if made_for == current && host["addressType"] == desired["addressType"] =>
            {
                if endpoints::is_current(&host, &desired) {
                    return Ok(());
                }
                copy::write(owner, &api, name, &desired, Some(&host)).await.map(drop)
            }
            (Some(host), _) => Ok(copy::remove(&api, &host).await?),
            (None, Some(desired)) => copy::write(owner, &api, name, &desired, None).await.map(drop),
            (None, None) => Ok(()),
        }
    }

    /// The host's slice, if the Service has a copy in the host that no selector serves, and what is refused of it.
    fn desired(&self, nested: &DynamicObject) -> (Option<Value>, Vec<Refusal>) {
        let owner = &self.world.context.owner;
        let service = service_of(nested).and_then(|name| nested_service(&self.world, &name));
        let service = service.filter(|service| is_selected(&self.sync, service));
        let Some(Ok(Desired::Service(service))) = service.map(|service| translate(owner, &service)) else {
            return (None, Vec::new());
        };
        if !service["spec"]["selector"].is_null() {
            return (None, Vec::new());
        }
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        endpoints::translate(owner, &json(nested), name, &self.pod_addresses())
    }

    /// From the host: what tenants write into the status of their pods proves nothing.
    fn pod_addresses(&self) -> PodAddresses {
        let mut all = HashMap::new();
        for (pod, _) in self.world.host_pods_of_ours() {
            let node = pod["spec"]["nodeName"].as_str().map(str::to_owned);
            all.extend(endpoints::addresses(&pod).into_iter().map(|address| (address, node.clone())));
        }
        all
    }

    /// Tells the tenant, once, by an Event on the Service.
    async fn tell(&self, name: &Name, refused: &[Refusal]) {
        {
            let mut told = lock(&self.told);
            if told.get(name).map(Vec::as_slice).unwrap_or_default() == refused {
                return;
            }
            if refused.is_empty() {
                told.remove(name);
                return;
            }
            told.insert(name.clone(), refused.to_vec());
        }
        let nested = self.nested.get(&ObjectRef::new_with(&name.name, slice()).within(&name.namespace));
        let service = nested.as_deref().and_then(service_of);
        let Some(service) = service.and_then(|name| nested_service(&self.world, &name)) else { return };
        let note = format!("endpoints not taken to the host: {}", joined(refused));
        notice(&self.world, &service, "EndpointRefused", EventType::Warning, &note).await;
    }
}

#[cfg(test)]
mod tests;
