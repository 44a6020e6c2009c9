//! One step for one Service.

use super::{Services, is_selected, nested_service, notice};
use crate::clients::signed;
use crate::converge::Next;
use crate::sync::copy;
use crate::sync::denied::{Denied, denied};
use crate::watch::{Name, json, origin};
use crate::world::core;
use k3k_translate::service::{
    Desired, correction, has_other_ports, inside_only, is_current, needs_replacing, told_ports, told_status,
    translate, without,
};
use k3k_translate::{Origin, Refusal};
use kube::api::{Api, DynamicObject, Patch};
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use serde_json::{Value, json as object};

/// Why a Service is not, or not wholly, as asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Services of this form are not offered.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The host name of the Service is taken by something that is not ours.
    #[error("{0}")]
    Taken(copy::Error),
    /// The host's admission, quota or validation said no.
    #[error("{0}")]
    Denied(Denied),
    /// The nested API does not take the node ports that the host gave out.
    #[error("the host gave this service node ports that this cluster's API does not accept: {message}")]
    NotShown { message: String },
    /// One of the two API servers did not do as asked.
    #[error("cannot {action}: {source}")]
    Api { action: &'static str, source: kube::Error },
}

pub(super) fn api(action: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Api { action, source }
}

/// What in a Service is another's in the host already.
#[derive(Debug, PartialEq, Eq)]
enum TakenInHost {
    Address,
    NodePort,
}

/// From the words of the API server's allocators: there is no code for it.
fn taken(error: &kube::Error) -> Option<TakenInHost> {
    let kube::Error::Api(status) = error else { return None };
    let says = |text: &str| status.code == 422 && status.message.contains(text);
    if says("provided IP is already allocated") {
        Some(TakenInHost::Address)
    } else if says("provided port is already allocated") || says("provided port is not in the valid range") {
        Some(TakenInHost::NodePort)
    } else {
        None
    }
}

/// Gone, or changed meanwhile: the watch brings us back.
pub(super) fn is_passed(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.is_conflict())
}

fn is_outward(service: &Value) -> bool {
    matches!(service["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"))
}

impl Services {
    pub(super) fn host_services(&self) -> Api<DynamicObject> {
        self.world.host_api("Service")
    }

    pub(super) async fn converge(&self, name: &Name) -> Result<Next, Error> {
        let owner = &self.world.context.owner;
        let host_name = owner.host_name(&name.namespace, &name.name);
        let nested = nested_service(&self.world, name).filter(|nested| is_selected(&self.sync, nested));
        let key = ObjectRef::new_with(&host_name, core("Service")).within(&owner.namespace);
        let host = self.host.get(&key);
        let made_for = host.as_deref().and_then(|host| origin(owner, host));
        let host = host.map(|host| json(&host));
        if host.is_some() && made_for.clone().map(Name::from).as_ref() != Some(name) {
            // Of another Service, or of nobody: never ours to touch.
            return match nested {
                Some(_) => Err(Error::Taken(copy::Error::Taken { host_name })),
                None => Ok(Next::Done),
            };
        }
        if let Some(nested) = &nested
            && let Some(fields) = Self::returning(nested)
        {
            // We were interrupted between the two halves of a change of address.
            return self.go_back(name, nested, &fields, host.as_ref()).await;
        }
        let desired = match nested.as_ref().map(|nested| translate(owner, nested)) {
            Some(Ok(Desired::Service(desired))) => desired,
            other => {
                self.told.forget(name);
                if let Some(host) = &host {
                    self.remove(host).await?;
                }
                return match other {
                    Some(Err(refusal)) => Err(refusal.into()),
                    _ => Ok(Next::Done),
                };
            }
        };
        let nested = nested.unwrap_or_default();
        match &host {
            // A load balancer is being taken down. The watch brings us back when it is gone.
            Some(host) if copy::is_ending(host) => Ok(Next::Done),
            Some(host) if made_for != Origin::of_nested(&nested) || needs_replacing(host, &desired) => {
                self.remove(host).await?;
                Ok(Next::Done)
            }
            Some(host) if is_current(host, &desired) => self.tell_back(name, &nested, host).await,
            host => self.write(name, &nested, host.as_ref(), &desired).await,
        }
    }

    async fn remove(&self, host: &Value) -> Result<(), Error> {
        copy::remove(&self.host_services(), host).await.map_err(api("delete the host's copy"))
    }

    /// Writes the copy. If the host does not let it be reached from outside, it is at least reached from inside.
    async fn write(
        &self,
        name: &Name,
        nested: &Value,
        host: Option<&Value>,
        desired: &Value,
    ) -> Result<Next, Error> {
        match self.try_write(name, nested, host, desired).await {
            Err(denied @ Error::Denied(_)) if is_outward(desired) && !host.is_some_and(is_outward) => {
                if let Desired::Service(inside) = inside_only(&self.world.context.owner, nested)? {
                    match host.filter(|host| is_current(host, &inside)) {
                        Some(host) => self.tell_back(name, nested, host).await?,
                        None => self.try_write(name, nested, host, &inside).await?,
                    };
                }
                Err(denied)
            }
            result => result,
        }
    }

    /// Writes the copy, leaving to the host what is another's there already.
    async fn try_write(
        &self,
        name: &Name,
        nested: &Value,
        host: Option<&Value>,
        desired: &Value,
    ) -> Result<Next, Error> {
        let (mut free_address, mut free_ports) = (false, false);
        loop {
            let wanted = without(desired, free_address, free_ports);
            match self.put(name, host, &wanted).await {
                Ok(made) => return self.tell_back(name, nested, &made).await,
                Err(copy::Error::Api(error)) => match taken(&error) {
                    Some(TakenInHost::Address) if !free_address => free_address = true,
                    Some(TakenInHost::NodePort) if !free_ports => free_ports = true,
                    _ => return Err(self.refusal(name, error)),
                },
                Err(taken) => return Err(Error::Taken(taken)),
            }
        }
    }

    /// Applies the copy, and takes away what others added to it. A port of others goes first: it may have the name or the node
    /// port of ours.
    async fn put(&self, name: &Name, host: Option<&Value>, wanted: &Value) -> Result<Value, copy::Error> {
        if let Some(host) = host.filter(|host| has_other_ports(host, wanted)) {
            self.correct(host, wanted).await?;
        }
        let made = copy::write(&self.world.context.owner, &self.host_services(), name, wanted, host).await?;
        let made = json(&made);
        Ok(self.correct(&made, wanted).await?.unwrap_or(made))
    }

    async fn correct(&self, host: &Value, wanted: &Value) -> Result<Option<Value>, kube::Error> {
        let Some(patch) = correction(host, wanted) else { return Ok(None) };
        let params = signed::patch();
        let host_name = host["metadata"]["name"].as_str().unwrap_or_default();
        self.host_services()
            .patch(host_name, &params, &Patch::Merge(&patch))
            .await
            .map(|made| Some(json(&made)))
    }

    /// What it means that the host did not take the copy.
    pub(super) fn refusal(&self, name: &Name, error: kube::Error) -> Error {
        let failed = |source| Error::Api { action: "write the host's copy", source };
        denied(&self.world.context.owner, name, error).map_or_else(failed, Error::Denied)
    }

    /// Brings to the nested Service what the host gave out.
    async fn tell_back(&self, name: &Name, nested: &Value, host: &Value) -> Result<Next, Error> {
        if host["spec"]["clusterIP"] != nested["spec"]["clusterIP"] {
            return self.exchange_address(name, nested, host).await;
        }
        if let Some(ports) = told_ports(nested, host) {
            return self.exchange_ports(name, nested, host, &ports).await;
        }
        if let Some(mut patch) = told_status(nested, host) {
            patch["metadata"] = object!({"resourceVersion": nested["metadata"]["resourceVersion"]});
            let params = signed::patch();
            let services = self.world.nested_api("Service", &name.namespace);
            match services.patch_status(&name.name, &params, &Patch::Merge(&patch)).await {
                Err(error) if !is_passed(&error) => return Err(api("write the nested status")(error)),
                _ => {}
            }
        }
        self.tell_left_out(name, nested).await;
        Ok(Next::Done)
    }

    /// Node ports that are another's in the host were exchanged for free ones: the nested Service shows those.
    async fn exchange_ports(
        &self,
        name: &Name,
        nested: &Value,
        host: &Value,
        ports: &Value,
    ) -> Result<Next, Error> {
        let patch = object!({
            "metadata": {"resourceVersion": nested["metadata"]["resourceVersion"]},
            "spec": {"ports": ports},
        });
        let params = signed::patch();
        let services = self.world.nested_api("Service", &name.namespace);
        match services.patch(&name.name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => {
                let now = numbers(ports);
                let note = format!(
                    "node ports {} are not free in the host; the service has {now} now",
                    numbers(&nested["spec"]["ports"])
                );
                notice(&self.world, nested, "NodePortChanged", EventType::Normal, &note).await;
                Ok(Next::Done)
            }
            Err(error) if is_passed(&error) => Ok(Next::Done),
            Err(error)
                if taken(&error) == Some(TakenInHost::NodePort)
                    && error.to_string().contains("already allocated") =>
            {
                // Another nested Service has it, which will lose it to the host as this one did, or has just done so. The
                // ports are given back, so that two Services never wait for each other's.
                self.remove(host).await?;
                Err(api("show the host's node ports in the nested service")(error))
            }
            Err(kube::Error::Api(status)) if status.code == 422 => {
                Err(Error::NotShown { message: status.message.clone() })
            }
            Err(error) => Err(api("show the host's node ports in the nested service")(error)),
        }
    }
}

fn numbers(ports: &Value) -> String {
    let all = ports.as_array().into_iter().flatten().filter_map(|port| port["nodePort"].as_u64());
    all.map(|port| port.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        422,
        "Service \"x\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.5.5\"]: failed to allocate IP 10.96.5.5: provided IP is already allocated",
        Some(TakenInHost::Address)
    )]
    #[case(
        422,
        "Service \"x\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
        Some(TakenInHost::NodePort)
    )]
    #[case(
        422,
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        Some(TakenInHost::NodePort)
    )]
    #[case(422, "spec.ports: Required value", None)]
    #[case(403, "provided IP is already allocated", None)]
    fn only_what_is_taken_is_exchanged(
        #[case] code: u16,
        #[case] message: &str,
        #[case] expected: Option<TakenInHost>,
    ) {
        let status = kube::core::Status { code, message: message.into(), ..kube::core::Status::default() };
        assert_eq!(taken(&kube::Error::Api(Box::new(status))), expected);
    }
}
