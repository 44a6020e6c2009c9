//! One step for one claim.

use super::Claims;
use crate::clients::signed;
use crate::converge::Next;
use crate::sync::copy::{self, Unseen, is_ending};
use crate::sync::denied::{Denied, denied};
use crate::watch::{Name, json, origin};
use crate::world::{core, lock};
use k3k_translate::storage::{
    Stage, capacity_request, claim, claim_status, is_retained, stage, volume, volume_name,
};
use k3k_translate::{Origin, Refusal};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, Preconditions};
use serde_json::{Value, json as object};

/// Why a claim is not served, or not up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Claims of this form are not offered.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// An earlier claim of the same name left its volume on purpose.
    #[error(
        "the volume of an earlier claim of this name is retained; delete PersistentVolume {volume:?} to give it up, or rename the claim"
    )]
    Retained { volume: String },
    /// The data is gone, and an empty volume in its place would hide that.
    #[error(
        "the host no longer has the volume of this claim: it was deleted there. Restore the data into a new claim and delete this one"
    )]
    Lost,
    /// The host name of the claim is taken by something that is not ours.
    #[error("the host already has a claim {host_name} that was not made for this one; rename the claim")]
    Taken { host_name: String },
    /// The host's admission, quota or validation said no.
    #[error("{0}")]
    Denied(Denied),
    /// One of the two API servers did not do as asked.
    #[error("cannot {action}: {source}")]
    Api { action: &'static str, source: kube::Error },
}

fn api(action: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Api { action, source }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"][key].as_str().unwrap_or_default()
}

impl Claims {
    pub(super) async fn converge(&self, name: &Name) -> Result<Next, Error> {
        let owner = &self.world.context.owner;
        let host_name = owner.host_name(&name.namespace, &name.name);
        let nested = self.nested_claim(name);
        let current = nested.as_ref().and_then(Origin::of_nested);
        let host = self.host_claim(&host_name);
        let made_for = host.as_deref().and_then(|host| origin(owner, host));
        let host = host.map(|host| json(&host));
        if made_for.clone().map(Name::from).as_ref() != Some(name) && host.is_some() {
            // Of another claim, or of nobody: never ours to touch.
            return if nested.is_some() { Err(Error::Taken { host_name }) } else { Ok(Next::Done) };
        }
        let volumes = self.volumes_of(name);
        if let Some(host) = host.as_ref().filter(|_| made_for != current) {
            let left = volume_name(&made_for.unwrap_or_else(unknown).uid);
            if volumes
                .iter()
                .any(|volume| text(volume, "name") == left && is_retained(volume) && !is_ending(volume))
            {
                return if nested.is_some() { Err(Error::Retained { volume: left }) } else { Ok(Next::Done) };
            }
            // The watch brings us back when it is gone.
            self.delete_host(host).await?;
            return Ok(Next::Done);
        }
        let (of_current, left): (Vec<_>, Vec<_>) = volumes.into_iter().partition(|volume| {
            current.as_ref().is_some_and(|origin| text(volume, "name") == volume_name(&origin.uid))
        });
        for volume in left.iter().filter(|volume| !is_retained(volume) && !is_ending(volume)) {
            self.delete_volume(volume).await?;
        }
        let (Some(nested), Some(origin)) = (nested, current) else { return Ok(Next::Done) };
        if is_ending(&nested) || !self.is_synced(&nested) {
            return Ok(Next::Done);
        }
        let class = self.class_of(&nested);
        let desired = match claim(owner, &nested, class.as_ref()) {
            Ok(desired) => desired,
            Err(refusal) => {
                // Bound to a volume of the nested cluster before ours was ready. Nothing was ever written to ours.
                if let Some(host) = host
                    .as_ref()
                    .filter(|_| of_current.is_empty() && nested["spec"]["volumeName"].is_string())
                {
                    self.delete_host(host).await?;
                }
                return Err(refusal.into());
            }
        };
        let Some(host) = host else {
            if nested["spec"]["volumeName"].is_string() {
                return self.unseen(name, host_name, Err(Error::Lost)).await;
            }
            return self.create_host(name, &host_name, &desired).await;
        };
        if is_ending(&host) {
            // Deleted from outside; pods that use it keep it until they end.
            return Ok(Next::Done);
        }
        self.resize(name, &nested, &host).await?;
        let bound = match stage(&nested, class.as_ref(), &host, self.is_waiting(&host)) {
            Stage::Waiting => return Ok(Next::Done),
            Stage::Wanted => false,
            Stage::Bound => true,
        };
        let wanted = volume(owner, &origin, &nested, class.as_ref(), &host);
        match of_current.first() {
            None => self.create_volume(&wanted).await?,
            Some(_) if !bound => {}
            Some(present) => {
                if present["spec"]["capacity"] != wanted["spec"]["capacity"] {
                    self.grow_volume(present, &wanted["spec"]["capacity"]).await?;
                }
                if nested["status"]["phase"] == "Bound" {
                    self.write_status(name, &nested, &host).await?;
                }
            }
        }
        Ok(Next::Done)
    }

    async fn create_host(&self, name: &Name, host_name: &str, desired: &Value) -> Result<Next, Error> {
        let desired: DynamicObject = serde_json::from_value(desired.clone())
            .map_err(|error| api("shape the host claim")(kube::Error::SerdeError(error)))?;
        let params = signed::create();
        match self.world.host_api("PersistentVolumeClaim").create(&params, &desired).await {
            Ok(_) => Ok(Next::Done),
            // Ours, and the watch shows it soon, once it has its labels; or another's.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.unseen(name, host_name.to_owned(), Ok(Next::Retry)).await
            }
            Err(error) => Err(self.refusal(name, error, "create the host claim")),
        }
    }

    /// What follows when the cache does not show the host claim, and `gone` when there is none.
    async fn unseen(&self, name: &Name, host_name: String, gone: Result<Next, Error>) -> Result<Next, Error> {
        let claims = self.world.host_api("PersistentVolumeClaim");
        match copy::look_for(&self.world.context.owner, &claims, name).await {
            Ok(Unseen::Ours) => Ok(Next::Done),
            Ok(Unseen::Others) => Err(Error::Taken { host_name }),
            Ok(Unseen::Nothing) => gone,
            Err(error) => Err(api("look for the host claim")(error)),
        }
    }

    /// What it means that the host did not take the copy.
    fn refusal(&self, name: &Name, error: kube::Error, action: &'static str) -> Error {
        let failed = |source| Error::Api { action, source };
        denied(&self.world.context.owner, name, error).map_or_else(failed, Error::Denied)
    }

    /// Asks the host for the size that the tenant asks for by now.
    async fn resize(&self, name: &Name, nested: &Value, host: &Value) -> Result<(), Error> {
        let wanted = capacity_request(nested);
        if wanted == capacity_request(host) || wanted.is_null() {
            return Ok(());
        }
        let patch = object!({
            "metadata": {"uid": text(host, "uid")},
            "spec": {"resources": {"requests": {"storage": wanted}}},
        });
        let params = signed::patch();
        let claims = self.world.host_api("PersistentVolumeClaim");
        match claims.patch(text(host, "name"), &params, &Patch::Merge(&patch)).await {
            Err(error) if is_another(&error) => Ok(()),
            Err(error) => Err(self.refusal(name, error, "resize the host claim")),
            Ok(_) => Ok(()),
        }
    }

    async fn delete_host(&self, host: &Value) -> Result<(), Error> {
        lock(&self.waiting).remove(text(host, "uid"));
        if is_ending(host) {
            return Ok(());
        }
        let result =
            self.world.host_api("PersistentVolumeClaim").delete(text(host, "name"), &only(host)).await;
        gone_is_fine(result.map(drop)).map_err(api("delete the host claim"))
    }

    fn volumes_api(&self) -> Api<DynamicObject> {
        Api::all_with(self.world.nested.clone(), &core("PersistentVolume"))
    }

    async fn create_volume(&self, wanted: &Value) -> Result<(), Error> {
        let wanted: DynamicObject = serde_json::from_value(wanted.clone())
            .map_err(|error| api("shape the nested volume")(kube::Error::SerdeError(error)))?;
        let params = signed::create();
        match self.volumes_api().create(&params, &wanted).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            result => result.map(drop).map_err(api("create the nested volume")),
        }
    }

    async fn grow_volume(&self, present: &Value, capacity: &Value) -> Result<(), Error> {
        let patch = object!({"metadata": {"uid": text(present, "uid")}, "spec": {"capacity": capacity}});
        let params = signed::patch();
        let result = self.volumes_api().patch(text(present, "name"), &params, &Patch::Merge(&patch)).await;
        gone_is_fine(result.map(drop)).map_err(api("write the nested volume's size"))
    }

    /// A released volume: the nested controllers leave its end to us.
    async fn delete_volume(&self, volume: &Value) -> Result<(), Error> {
        let result = self.volumes_api().delete(text(volume, "name"), &only(volume)).await;
        gone_is_fine(result.map(drop)).map_err(api("delete the nested volume"))
    }

    async fn write_status(&self, name: &Name, nested: &Value, host: &Value) -> Result<(), Error> {
        let Some(mut patch) = claim_status(nested, host) else { return Ok(()) };
        patch["metadata"] = object!({"uid": text(nested, "uid")});
        let params = signed::patch();
        let claims = self.world.nested_api("PersistentVolumeClaim", &name.namespace);
        let result = claims.patch_status(&name.name, &params, &Patch::Merge(&patch)).await;
        gone_is_fine(result.map(drop)).map_err(api("write the claim's status"))
    }
}

fn unknown() -> Origin {
    Origin { namespace: String::new(), name: String::new(), uid: String::new() }
}

/// Only this very object, not a later one of its name.
fn only(object: &Value) -> DeleteParams {
    let uid = object["metadata"]["uid"].as_str().map(str::to_owned);
    DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: None }),
        ..DeleteParams::default()
    }
}

/// Gone, or another object of that name: a patch with our UID is then taken for an attempt to change it.
fn is_another(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found()
        || status.is_conflict()
        || (status.code == 422 && status.message.contains("metadata.uid")))
}

/// Gone already, or another object of that name by now, whose own events bring us back.
fn gone_is_fine(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error) if is_another(&error) => Ok(()),
        other => other,
    }
}
