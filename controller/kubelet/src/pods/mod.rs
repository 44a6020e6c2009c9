//! Tenants' pods: run as host pods, and told about.

mod create;
pub mod decide;
mod mirror;
pub mod room;
mod secret;

use crate::converge::{Next, Requests};
use crate::sync::copy::{self, Unseen};
use crate::sync::data;
use crate::sync::denied::Denied;
use crate::watch::{Change, Listed, Name, nested_name, origin};
use crate::world::{World, lock};
use decide::{Act, decide};
use k3k_translate::Refusal;
use k3k_translate::status::stopped;
use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use kube::api::{DeleteParams, Preconditions};
use secret::Secrets;
use std::sync::Arc;

/// Why a pod's two sides differ.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This version cannot run the pod.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The host's admission or validation refused the host pod.
    #[error("{0}")]
    Denied(Denied),
    /// The node has no room for the pod, which was bound to it all the same.
    #[error("Pod was rejected: {message}")]
    Rejected {
        /// The predicate of Kubernetes that says no.
        reason: &'static str,
        /// What is missing.
        message: String,
    },
    /// The host name of the pod is taken by something that is not ours.
    #[error("the host already has a pod {host_name} that was not made for this one; rename the pod")]
    Taken {
        /// The name.
        host_name: String,
    },
    /// One of the two API servers did not do as asked.
    #[error("cannot {action}: {source}")]
    Api {
        /// What was asked.
        action: &'static str,
        /// The cause.
        source: kube::Error,
    },
    /// A ConfigMap or Secret could not be copied.
    #[error(transparent)]
    Data(#[from] data::Error),
}

impl Error {
    /// Whether the tenant or the host's policy must change before it can go better.
    fn is_final(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Denied(_) | Self::Rejected { .. } | Self::Taken { .. } => true,
            Self::Data(error) => matches!(error, data::Error::Taken { .. } | data::Error::LeftOut { .. }),
            Self::Api { .. } => false,
        }
    }

    fn api(action: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { action, source }
    }
}

/// The converging of pods.
pub struct Pods {
    world: Arc<World>,
    secrets: Secrets,
    listed: Listed,
    waiting: room::Waiting,
}

impl Pods {
    /// For the pods of `world`.
    pub fn new(world: Arc<World>) -> Self {
        Self {
            world,
            secrets: Secrets::default(),
            listed: Listed::default(),
            waiting: room::Waiting::default(),
        }
    }

    /// Asks for what a change on either side concerns.
    pub fn ask(&self, requests: &Requests<Name>, is_nested: bool, change: &Change) {
        self.listed.note(is_nested, change);
        let owner = &self.world.context.owner;
        match change {
            Change::Object(pod) if is_nested => requests.send_all(nested_name(pod)),
            Change::Object(pod) => {
                requests.send_all(origin(owner, pod).map(Name::from));
                if self.has_ended(pod) {
                    for name in self.waiting.next() {
                        requests.later(name, room::DELAY);
                    }
                }
            }
            Change::Relisted => requests.send_all(self.known()),
        }
    }

    /// Whether a host pod takes no room any more.
    fn has_ended(&self, pod: &DynamicObject) -> bool {
        let is_there = nested_name(pod).is_some_and(|name| self.world.host_pods.get(&name).is_some());
        !is_there || matches!(pod.data["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
    }

    /// One step for the pod `name`.
    pub async fn step(&self, name: &Name) -> Next {
        if !self.listed.both() {
            return Next::Done;
        }
        match self.converge(name).await {
            Ok(next) => next,
            Err(error) if error.is_final() => {
                self.tell_refusal(name, &error).await;
                if matches!(&error, Error::Denied(denied) if denied.is_for_want_of_room()) {
                    self.waiting.join(name);
                    Next::NoRoom
                } else {
                    Next::Refused
                }
            }
            Err(error) => {
                tracing::warn!(pod = %name, %error, "a pod is out of date");
                Next::Retry
            }
        }
    }

    async fn converge(&self, name: &Name) -> Result<Next, Error> {
        let world = &self.world;
        let nested = world.nested_pod(name);
        let (host, made_for) = world.host_pod(name).unzip();
        let made_for = made_for.flatten();
        if let (Some(host), None) = (&host, &made_for) {
            let host_name = host["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            return Err(Error::Taken { host_name });
        }
        let origin = made_for.as_ref().map(|origin| origin.uid.as_str());
        match (decide(nested.as_ref(), host.as_ref(), origin, world.stopped_until), nested, host) {
            // Bound to a node of somebody else's, or to one that has gone, whose pods the nested cluster removes.
            (_, Some(nested), None) if !world.is_ours(&nested) => Ok(Next::Done),
            (Act::Create, Some(nested), _) => self.create(name, &nested).await,
            (Act::Mirror, Some(nested), Some(host)) => self.mirror(name, &nested, &host).await,
            (Act::EndHost { uid, grace }, ..) => self.end_host(name, uid, grace).await,
            (Act::EndNested { uid, grace }, ..) => self.end_nested(name, uid, grace).await,
            (Act::Fail, Some(nested), _) => {
                if self.find_again(name).await? == Unseen::Ours {
                    return Ok(Next::Done);
                }
                self.write_status(name, &nested, &stopped(&nested, &Timestamp::now().to_string())).await?;
                Ok(Next::Done)
            }
            (Act::Finalize { uid }, nested, _) => {
                let is_ending =
                    nested.is_some_and(|nested| nested["metadata"]["deletionTimestamp"].is_string());
                // It seems to have gone without a word. A pod that only lost its labels goes on.
                if !is_ending && self.find_again(name).await? == Unseen::Ours {
                    return Ok(Next::Done);
                }
                self.forget(name);
                self.secrets.forget(&uid);
                self.end_nested(name, uid, Some(0)).await
            }
            (_, nested, host) => {
                if nested.is_none() && host.is_none() {
                    self.forget(name);
                }
                Ok(Next::Done)
            }
        }
    }

    async fn end_host(&self, name: &Name, uid: String, grace: Option<u32>) -> Result<Next, Error> {
        lock(&self.world.uses).remove_user(&uid);
        let host_name = self.world.context.owner.host_name(&name.namespace, &name.name);
        let result = self.world.host_api("Pod").delete(&host_name, &ending(uid, grace)).await;
        gone_is_fine(result.map(drop)).map_err(Error::api("end the host pod"))?;
        Ok(Next::Done)
    }

    async fn end_nested(&self, name: &Name, uid: String, grace: Option<u32>) -> Result<Next, Error> {
        let result =
            self.world.nested_api("Pod", &name.namespace).delete(&name.name, &ending(uid, grace)).await;
        gone_is_fine(result.map(drop)).map_err(Error::api("end the nested pod"))?;
        Ok(Next::Done)
    }

    /// Looks for a host pod that the cache does not show, and gives it back the labels by which it is found.
    async fn find_again(&self, name: &Name) -> Result<Unseen, Error> {
        let found = copy::look_for(&self.world.context.owner, &self.world.host_api("Pod"), name).await;
        found.map_err(Error::api("look for the host pod"))
    }

    /// Nothing is left of the host pod of `name`.
    fn forget(&self, name: &Name) {
        self.waiting.leave(name);
        let host_name = self.world.context.owner.host_name(&name.namespace, &name.name);
        lock(&self.world.uses).remove_named("Pod", &host_name);
        if let Some(origin) = lock(&self.world.origins).remove(&host_name) {
            self.secrets.forget(&origin.uid);
        }
    }

    /// Every pod that one of the caches speaks of.
    pub fn known(&self) -> Vec<Name> {
        let host = self.world.host_pods_of_ours().map(|(_, origin)| Name::from(origin));
        self.world.nested_pods.names().into_iter().chain(host).collect()
    }
}

fn ending(uid: String, grace: Option<u32>) -> DeleteParams {
    DeleteParams {
        grace_period_seconds: grace,
        preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
        ..DeleteParams::default()
    }
}

/// Gone already, or another pod of that name by now: what was asked for has happened.
fn gone_is_fine(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
