//! One step for one object.

use super::{Copies, Kind};
use crate::clients::signed;
use crate::converge::Next;
use crate::sync::denied::{Denied, denied};
use crate::sync::told::{joined, notice};
use crate::sync::{copy, data};
use crate::watch::{Name, json};
use k3k_translate::copy::{Desired, correction};
use k3k_translate::{Origin, Refusal};
use kube::api::{Api, DynamicObject, Patch};
use kube::runtime::events::EventType;
use serde_json::Value;

/// Why a copy is not, or not wholly, as asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Objects of this form are not offered.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The host name of the object is taken by something that is not ours.
    #[error("{0}")]
    Taken(copy::Error),
    /// The host's admission, quota or validation said no.
    #[error("{0}")]
    Denied(Denied),
    /// A Secret that the object names could not be copied.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// One of the two API servers did not do as asked.
    #[error("cannot {action}: {source}")]
    Api { action: &'static str, source: kube::Error },
}

pub(super) fn api(action: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Api { action, source }
}

impl<K: Kind> Copies<K> {
    pub(super) async fn converge(&self, name: &Name) -> Result<Next, Error> {
        let owner = &self.world.context.owner;
        let host_name = owner.host_name(&name.namespace, &name.name);
        let nested = self.nested_object(name).filter(|nested| self.is_selected(nested));
        let (host, made_for) = self.host_object(&host_name).unzip();
        let made_for = made_for.flatten();
        if host.is_some() && made_for.clone().map(Name::from).as_ref() != Some(name) {
            // Of another object, or of nobody: never ours to touch.
            return match nested {
                Some(_) => Err(Error::Taken(copy::Error::Taken { host_name })),
                None => Ok(Next::Done),
            };
        }
        let Some(nested) = nested else {
            self.told.forget(name);
            return self.remove(name, host.as_ref()).await;
        };
        let desired = match self.kind.translate(&self.world, &nested, &self.others()) {
            Ok(desired) => desired,
            Err(refusal) => {
                self.remove(name, host.as_ref()).await?;
                return Err(refusal.into());
            }
        };
        let (desired, left_out, secrets) = match desired {
            // A change of the nested status brings us back.
            Desired::Later => return Ok(Next::Done),
            Desired::Nothing(left_out) => {
                self.tell_left_out(name, &nested, &left_out).await;
                return self.remove(name, host.as_ref()).await;
            }
            Desired::Copy { object, left_out, secrets } => (object, left_out, secrets),
        };
        let host = match host {
            // The watch brings us back when it is gone.
            Some(host) if copy::is_ending(&host) => return Ok(Next::Done),
            Some(host) if made_for != Origin::of_nested(&nested) => {
                return self.remove(name, Some(&host)).await;
            }
            Some(host) if correction(&host, &desired, self.kind.host_fills()).is_none() => host,
            host => self.write(name, &desired, host.as_ref(), &secrets).await?,
        };
        self.own_secrets(name, &host, &secrets).await?;
        self.tell_status(name, &nested, &host).await?;
        self.tell_left_out(name, &nested, &left_out).await;
        Ok(Next::Done)
    }

    async fn remove(&self, name: &Name, host: Option<&Value>) -> Result<Next, Error> {
        self.disown_secrets(name);
        if let Some(host) = host {
            copy::remove(&self.host_api(), host).await.map_err(api("delete the host's copy"))?;
        }
        Ok(Next::Done)
    }

    /// Writes the copy, and takes away what others added to it. Gives what the host has then.
    async fn write(
        &self,
        name: &Name,
        desired: &Value,
        host: Option<&Value>,
        secrets: &[String],
    ) -> Result<Value, Error> {
        self.copy_secrets(name, secrets).await?;
        let api = self.host_api();
        let written = copy::write(&self.world.context.owner, &api, name, desired, host).await;
        let made = match written {
            Ok(made) => json(&made),
            Err(copy::Error::Api(error)) => return Err(self.refusal(name, error)),
            Err(taken) => return Err(Error::Taken(taken)),
        };
        let made = match correction(&made, desired, self.kind.host_fills()) {
            None => made,
            Some(mut patch) => {
                patch["metadata"]["uid"] = made["metadata"]["uid"].clone();
                let host_name = made["metadata"]["name"].as_str().unwrap_or_default();
                let mended = api.patch(host_name, &signed::patch(), &Patch::Merge(&patch)).await;
                json(&mended.map_err(|error| self.refusal(name, error))?)
            }
        };
        if let Some(before) = host {
            self.drop_secrets(before, &made).await?;
        }
        Ok(made)
    }

    /// What it means that the host did not take the copy.
    fn refusal(&self, name: &Name, error: kube::Error) -> Error {
        let failed = |source| Error::Api { action: "write the host's copy", source };
        denied(&self.world.context.owner, name, error).map_or_else(failed, Error::Denied)
    }

    /// Brings to the nested status what the host says.
    async fn tell_status(&self, name: &Name, nested: &Value, host: &Value) -> Result<(), Error> {
        let Some(mut patch) = self.kind.told_status(nested, host) else { return Ok(()) };
        patch["metadata"]["uid"] = nested["metadata"]["uid"].clone();
        let resource = self.kind.resource();
        let objects: Api<DynamicObject> =
            Api::namespaced_with(self.world.nested.clone(), &name.namespace, &resource);
        match objects.patch_status(&name.name, &signed::patch(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            result => result.map(drop).map_err(api("write the nested status")),
        }
    }

    async fn tell_left_out(&self, name: &Name, nested: &Value, left_out: &[Refusal]) {
        if self.told.is_news(name, nested, left_out) {
            let note = format!("not taken to the host: {}", joined(left_out));
            let resource = self.kind.resource();
            notice(&self.world, &resource, nested, "NotInHost", EventType::Warning, &note).await;
        }
    }
}
