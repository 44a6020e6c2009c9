//! A nested Service moves to another address.
//!
//! The nested cluster gave out an address that is taken in the host, whose range it shares without seeing it. The host picks a
//! free one and the nested Service moves there. An address can only change through `ExternalName` (API validation of
//! Services), so this takes two writes; an annotation remembers the way back.

use super::converge::{Error, api, is_passed};
use super::{Services, notice};
use crate::clients::signed;
use crate::converge::Next;
use crate::sync::copy;
use crate::watch::{Name, json};
use k3k_translate::service::{Desired, return_to, told_ports, translate, without};
use kube::api::Patch;
use kube::runtime::events::EventType;
use serde_json::{Value, json as object};

/// Annotation on a nested Service whose address is being changed: the fields to return to, as JSON.
const RETURN_TO: &str = "k3k.io/reassigning-from";

impl Services {
    /// The fields that a Service on its way must be given back. Text that is not ours is passed over.
    pub(super) fn returning(nested: &Value) -> Option<Value> {
        let text = nested["metadata"]["annotations"][RETURN_TO].as_str()?;
        let fields = serde_json::from_str::<Value>(text).ok()?;
        // Only what we would have written ourselves.
        Some(return_to(&fields)).filter(|fields| fields["type"].is_string())
    }

    /// Moves the nested Service to the address of its host copy.
    pub(super) async fn exchange_address(
        &self,
        name: &Name,
        nested: &Value,
        host: &Value,
    ) -> Result<Next, Error> {
        let mut fields = return_to(&nested["spec"]);
        if fields["type"].is_null() {
            fields["type"] = "ClusterIP".into();
        }
        let away = object!({
            "metadata": {
                "resourceVersion": nested["metadata"]["resourceVersion"],
                "annotations": {RETURN_TO: fields.to_string()},
            },
            "spec": {
                "type": "ExternalName", "externalName": "reassigning.k3k.invalid", "clusterIP": null, "clusterIPs": null,
                "ipFamilies": null, "ipFamilyPolicy": null, "externalTrafficPolicy": null, "healthCheckNodePort": null,
                "allocateLoadBalancerNodePorts": null, "loadBalancerClass": null,
            },
        });
        if !self.patch(name, &away, "release the nested address").await? {
            return Ok(Next::Done);
        }
        self.land(name, nested, &fields, host).await?;
        let address = |service: &Value| service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        let note = format!(
            "address {} is taken in the host; the service has {} now",
            address(nested),
            address(host)
        );
        notice(&self.world, nested, "ClusterIPChanged", EventType::Normal, &note).await;
        Ok(Next::Done)
    }

    /// The second half of an exchange whose first half is done.
    pub(super) async fn go_back(
        &self,
        name: &Name,
        nested: &Value,
        fields: &Value,
        host: Option<&Value>,
    ) -> Result<Next, Error> {
        if let Some(host) = host {
            return self.land(name, nested, fields, host).await;
        }
        let mut wanted = nested.clone();
        for (field, value) in fields.as_object().into_iter().flatten() {
            wanted["spec"][field] = value.clone();
        }
        // Any address will do for the translation: it is left for the host to choose.
        wanted["spec"]["clusterIP"] = "0.0.0.0".into();
        let owner = &self.world.context.owner;
        let Desired::Service(desired) = translate(owner, &wanted)? else { return Ok(Next::Done) };
        let free = without(&desired, true, true);
        match copy::write(owner, &self.host_services(), name, &free, None).await {
            Ok(made) => self.land(name, nested, fields, &json(&made)).await,
            Err(copy::Error::Api(error)) => Err(self.refusal(name, error)),
            Err(taken) => Err(Error::Taken(taken)),
        }
    }

    async fn land(&self, name: &Name, nested: &Value, fields: &Value, host: &Value) -> Result<Next, Error> {
        let mut spec = fields.clone();
        spec["externalName"] = Value::Null;
        spec["clusterIP"] = host["spec"]["clusterIP"].clone();
        spec["clusterIPs"] = host["spec"]["clusterIPs"].clone();
        if let Some(ports) = told_ports(nested, host) {
            spec["ports"] = ports;
        }
        let back = object!({"metadata": {"annotations": {RETURN_TO: null}}, "spec": spec});
        self.patch(name, &back, "set the nested address").await?;
        Ok(Next::Done)
    }

    /// Whether the nested Service took it. It did not if it is gone or was changed meanwhile.
    async fn patch(&self, name: &Name, patch: &Value, action: &'static str) -> Result<bool, Error> {
        let params = signed::patch();
        let services = self.world.nested_api("Service", &name.namespace);
        match services.patch(&name.name, &params, &Patch::Merge(patch)).await {
            Ok(_) => Ok(true),
            Err(error) if is_passed(&error) => Ok(false),
            Err(error) => Err(api(action)(error)),
        }
    }
}
