//! Services, so that the addresses nested DNS answers lead to the pods in the host, and what the host gives out for them –
//! node ports, load balancers – is shown in the nested cluster.

mod converge;
mod exchange;

use crate::converge::{Next, Requests, queue};
use crate::sync::endpoints::{self, Notices};
use crate::sync::pairs::{self, Lists, Pairs};
use crate::sync::repair;
use crate::sync::told::{self, Told, joined};
use crate::watch::{Change, Name, follow, nested_name};
use crate::world::{World, core};
use converge::Error;
use futures::Stream;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use k3k_api::labels;
use k3k_api::v1beta1::{SyncConfig, SyncedKind};
use kube::api::DynamicObject;
use kube::runtime::events::EventType;
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

const AT_ONCE: usize = 8;
/// The lists.
const NESTED: usize = 0;
const HOST: usize = 1;

struct Services {
    world: Arc<World>,
    sync: SyncConfig,
    host: Store<DynamicObject>,
    /// Nested Services, host Services.
    listed: Lists,
    /// Tells who follows endpoints which Service changed; `None` for all.
    endpoints: UnboundedSender<Option<Name>>,
    told: Told,
}

/// Keeps the host Services and the endpoints of this cluster in agreement with the nested ones until `shutdown`.
/// `nested_changes` fill the world's cache of nested Services; `pods` says that the host pods may have changed, and is true
/// once all are known.
pub async fn run(
    world: Arc<World>,
    sync: SyncConfig,
    nested_changes: impl Stream<Item = Change> + Send + 'static,
    pods: Receiver<bool>,
    shutdown: CancellationToken,
) {
    let resource = core("Service");
    let ours = format!("{}={}", labels::CLUSTER_NAME, world.context.owner.cluster);
    let (host, host_changes) =
        follow(world.host_api("Service"), &resource, watcher::Config::default().labels(&ours));
    let (sender, services) = unbounded();
    let follow_endpoints =
        endpoints::run(world.clone(), sync.clone(), Notices { services, pods }, shutdown.clone());
    let services = Arc::new(Services {
        world,
        sync,
        host,
        listed: Lists::new(2),
        endpoints: sender,
        told: Told::default(),
    });
    let (requests, queue) = queue();
    let of_nested = |service: &DynamicObject| {
        let name = nested_name(service)?;
        services.pass_on(Some(name.clone()));
        Some(name)
    };
    let made_for = |service: &DynamicObject| services.world.made_for(service);
    tokio::select! {
        () = pairs::work(services.clone(), queue, AT_ONCE, shutdown) => {}
        () = pairs::follow(&*services, NESTED, nested_changes, &requests, of_nested) => {}
        () = pairs::follow(&*services, HOST, host_changes, &requests, made_for) => {}
        () = follow_endpoints => {}
        () = repair::pairs(&*services, &services.world.context.owner, services.host_services(), &requests) => {}
    }
}

/// Whether a nested Service is one that `sync` copies.
pub(super) fn is_selected(sync: &SyncConfig, nested: &Value) -> bool {
    let labels =
        nested.pointer("/metadata/labels").and_then(|labels| serde_json::from_value(labels.clone()).ok());
    sync.selects(SyncedKind::Service, &labels.unwrap_or_default())
}

/// A nested Service, from the cache.
pub(super) fn nested_service(world: &World, name: &Name) -> Option<Value> {
    world.nested_services.get(name)
}

/// Tells the tenant something about a Service by an Event on it.
pub(super) async fn notice(world: &World, service: &Value, reason: &str, kind: EventType, note: &str) {
    told::notice(world, &core("Service"), service, reason, kind, note).await;
}

impl Pairs for Services {
    fn lists(&self) -> &Lists {
        &self.listed
    }

    fn known(&self) -> Vec<Name> {
        let (nested, host) = (self.world.nested_services.names(), self.host.state());
        nested.into_iter().chain(host.iter().filter_map(|service| self.world.made_for(service))).collect()
    }

    async fn act(&self, name: &Name) -> Next {
        match self.converge(name).await {
            Ok(next) => next,
            Err(error) => self.tell(name, &error).await,
        }
    }

    fn relisted(&self, list: usize, requests: &Requests<Name>) {
        self.listed.complete(list);
        if list == NESTED {
            self.pass_on(None);
        }
        requests.send_all(self.known());
    }
}

impl Services {
    fn pass_on(&self, changed: Option<Name>) {
        // The receiver is gone only when the process is ending.
        drop(self.endpoints.unbounded_send(changed));
    }

    /// Tells the tenant what keeps a Service from being as asked, where the tenant or the host's policy must change. Gives what
    /// follows.
    async fn tell(&self, name: &Name, error: &Error) -> Next {
        let (reason, next) = match error {
            Error::Api { .. } => {
                tracing::warn!(service = %name, %error, "a service is out of date");
                return Next::Retry;
            }
            // The Service itself must change, and a change brings us back.
            Error::Refused(_) => ("NotSupported", Next::Done),
            Error::NotShown { .. } => ("NodePortNotShown", Next::Refused),
            Error::Taken(_) => ("HostNameTaken", Next::Refused),
            Error::Denied(denied) => (denied.reason, Next::Refused),
        };
        let message = error.to_string();
        tracing::info!(service = %name, reason, message, "a service is not as its tenant asked");
        if let Some(service) = nested_service(&self.world, name) {
            notice(&self.world, &service, reason, EventType::Warning, &message).await;
        }
        next
    }

    /// Tells, once, what of a Service is not taken to the host.
    async fn tell_left_out(&self, name: &Name, nested: &Value) {
        let left_out = k3k_translate::service::left_out(nested);
        if self.told.is_news(name, nested, &left_out) {
            let note = format!("not taken to the host: {}", joined(&left_out));
            notice(&self.world, nested, "NotInHost", EventType::Warning, &note).await;
        }
    }
}

#[cfg(test)]
mod tests;
