//! Services, so that the addresses nested DNS answers lead to the pods in the host.

use crate::converge::{Next, Requests};
use crate::watch::{Change, Listed, Name, follow, json, nested_name, origin};
use crate::world::{World, core};
use futures::{FutureExt, Stream, StreamExt};
use k3k_api::{labels, managers};
use k3k_translate::Origin;
use k3k_translate::service::{Desired, translate};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use serde_json::{Value, json as object};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Annotation on a nested Service whose address is being changed: the type to return to.
const RETURN_TO: &str = "k3k.io/reassigning-from";

/// Why a Service's two sides differ.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} for service {name}: {source}")]
struct Error {
    action: &'static str,
    name: Name,
    source: kube::Error,
}

struct Services {
    world: Arc<World>,
    host: Store<DynamicObject>,
    listed: Listed,
}

/// Keeps the host Services of this cluster in agreement with the nested ones until `shutdown`. `nested_changes` fill the world's cache
/// of nested Services.
pub async fn run(
    world: Arc<World>,
    nested_changes: impl Stream<Item = Change> + Send + 'static,
    shutdown: CancellationToken,
) {
    let resource = core("Service");
    let ours = format!("{}={}", labels::CLUSTER_NAME, world.context.owner.cluster);
    let (host, host_changes) =
        follow(world.host_api("Service"), &resource, watcher::Config::default().labels(&ours));
    let services = Arc::new(Services { world, host, listed: Listed::default() });
    let (requests, queue) = crate::converge::queue();
    let work = crate::converge::run(queue, 8, shutdown, {
        let services = services.clone();
        move |name| {
            let services = services.clone();
            async move { services.step(&name).await }.boxed()
        }
    });
    let changes = futures::stream::select(
        nested_changes.map(|change| (true, change)),
        host_changes.map(|change| (false, change)),
    )
    .for_each(|(is_nested, change)| {
        services.ask(&requests, is_nested, &change);
        futures::future::ready(())
    });
    futures::future::select(std::pin::pin!(work), std::pin::pin!(changes)).await;
}

impl Services {
    fn ask(&self, requests: &Requests<Name>, is_nested: bool, change: &Change) {
        self.listed.note(is_nested, change);
        let owner = &self.world.context.owner;
        let made_for = |service: &DynamicObject| origin(owner, service).map(Name::from);
        match change {
            Change::Object(service) if is_nested => requests.send_all(nested_name(service)),
            Change::Object(service) => requests.send_all(made_for(service)),
            Change::Relisted => {
                requests.send_all(
                    self.world.nested_services.state().iter().filter_map(|service| nested_name(service)),
                );
                requests.send_all(self.host.state().iter().filter_map(|service| made_for(service)));
            }
        }
    }

    async fn step(&self, name: &Name) -> Next {
        if !self.listed.both() {
            return Next::Done;
        }
        match self.converge(name).await {
            Ok(()) => Next::Done,
            Err(error) => {
                tracing::warn!(%error, "a service is out of date");
                Next::Retry
            }
        }
    }

    async fn converge(&self, name: &Name) -> Result<(), Error> {
        let owner = &self.world.context.owner;
        let host_name = owner.host_name(&name.namespace, &name.name);
        let key = ObjectRef::new_with(&name.name, core("Service")).within(&name.namespace);
        let nested = self.world.nested_services.get(&key).map(|service| json(&service));
        let key = ObjectRef::new_with(&host_name, core("Service")).within(&owner.namespace);
        let host = self.host.get(&key);
        let made_for = host.as_deref().and_then(|host| origin(owner, host));
        let host = host.map(|host| json(&host));

        if let Some(nested) = &nested
            && let Some(kind) = nested["metadata"]["annotations"][RETURN_TO].as_str()
        {
            // We were interrupted between the two halves of a change of address.
            return self.reassign(name, nested, kind, host.as_ref()).await;
        }
        let desired = nested.as_ref().map(|nested| translate(owner, nested));
        let Some(Ok(Desired::Service(desired))) = desired else {
            return match &host {
                Some(host) => self.delete_host(name, host).await,
                None => Ok(()),
            };
        };
        let current = nested.as_ref().and_then(Origin::of_nested);
        match host {
            Some(host)
                if made_for != current || host["spec"]["clusterIP"] != desired["spec"]["clusterIP"] =>
            {
                // The watch brings us back when it is gone.
                self.delete_host(name, &host).await
            }
            Some(host) if covers(&host, &desired) => Ok(()),
            _ => match self.apply_host(&host_name, &desired).await {
                Err(error) if is_address_taken(&error) => {
                    let nested = nested.unwrap_or_default();
                    let kind = nested["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
                    self.reassign(name, &nested, &kind, None).await
                }
                Err(source) => Err(Error { action: "write the host's copy", name: name.clone(), source }),
                Ok(_) => Ok(()),
            },
        }
    }

    async fn apply_host(&self, host_name: &str, desired: &Value) -> Result<DynamicObject, kube::Error> {
        let params = PatchParams::apply(managers::KUBELET).force();
        self.world.host_api("Service").patch(host_name, &params, &Patch::Apply(desired)).await
    }

    async fn delete_host(&self, name: &Name, host: &Value) -> Result<(), Error> {
        let uid = host["metadata"]["uid"].as_str().map(str::to_owned);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let host_name = host["metadata"]["name"].as_str().unwrap_or_default();
        match self.world.host_api("Service").delete(host_name, &params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(source) => Err(Error { action: "delete the host's copy", name: name.clone(), source }),
            Ok(_) => Ok(()),
        }
    }

    /// The nested cluster gave out an address that is taken in the host, whose range it shares without seeing it. The host
    /// picks a free one and the nested Service moves there. An address can only change through `ExternalName` (API
    /// validation of Services), so this takes two writes; an annotation remembers the way back.
    async fn reassign(
        &self,
        name: &Name,
        nested: &Value,
        kind: &str,
        host: Option<&Value>,
    ) -> Result<(), Error> {
        let failed = |action| move |source| Error { action, name: name.clone(), source };
        let owner = &self.world.context.owner;
        let host_name = owner.host_name(&name.namespace, &name.name);
        let address = if let Some(address) = host.and_then(|host| host["spec"]["clusterIP"].as_str()) {
            address.to_owned()
        } else {
            let mut wanted = nested.clone();
            // Any address will do for the translation: it is left for the host to choose.
            wanted["spec"]["type"] = kind.into();
            wanted["spec"]["clusterIP"] = "0.0.0.0".into();
            let Ok(Desired::Service(mut desired)) = translate(owner, &wanted) else { return Ok(()) };
            if let Some(spec) = desired["spec"].as_object_mut() {
                spec.remove("clusterIP");
            }
            let made = self
                .apply_host(&host_name, &desired)
                .await
                .map_err(failed("get an address from the host"))?;
            made.data["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned()
        };
        tracing::info!(service = %name, address, "the nested address is taken in the host; moving to another");
        let api = self.world.nested_api("Service", &name.namespace);
        let away = object!({
            "metadata": {"annotations": {RETURN_TO: kind}},
            "spec": {"type": "ExternalName", "externalName": "reassigning.k3k.invalid", "clusterIP": null, "clusterIPs": null},
        });
        let back = object!({
            "metadata": {"annotations": {RETURN_TO: null}},
            "spec": {"type": kind, "externalName": null, "clusterIP": address, "clusterIPs": [address]},
        });
        for (patch, action) in [(away, "release the nested address"), (back, "set the nested address")] {
            api.patch(&name.name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .map_err(failed(action))?;
        }
        Ok(())
    }
}

fn is_address_taken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 422 && status.message.contains("already allocated"))
}

/// Whether `actual` already says everything that `desired` says. Lists must agree element by element.
fn covers(actual: &Value, desired: &Value) -> bool {
    match (actual, desired) {
        (Value::Object(actual), Value::Object(desired)) => {
            desired.iter().all(|(key, value)| actual.get(key).is_some_and(|actual| covers(actual, value)))
        }
        (Value::Array(actual), Value::Array(desired)) => {
            actual.len() == desired.len()
                && actual.iter().zip(desired).all(|(actual, desired)| covers(actual, desired))
        }
        (actual, desired) => actual == desired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_host_are_not_a_difference() {
        let desired = object!({"spec": {"clusterIP": "1", "ports": [{"port": 80}]}});
        let actual = object!({"spec": {"clusterIP": "1", "clusterIPs": ["1"], "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}});
        assert!(covers(&actual, &desired));
        assert!(!covers(&actual, &object!({"spec": {"ports": [{"port": 81}]}})));
        assert!(!covers(&actual, &object!({"spec": {"ports": []}})));
    }

    #[test]
    fn only_a_taken_address_is_reassigned() {
        let status = |code: u16, message: &str| {
            let status =
                kube::core::Status { code, message: message.into(), ..kube::core::Status::default() };
            kube::Error::Api(Box::new(status))
        };
        assert!(is_address_taken(&status(
            422,
            "Service \"x\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.5.5\"]: failed to allocate IP 10.96.5.5: provided IP is already allocated"
        )));
        assert!(!is_address_taken(&status(422, "spec.ports: Required value")));
        assert!(!is_address_taken(&status(403, "already allocated")));
    }
}
