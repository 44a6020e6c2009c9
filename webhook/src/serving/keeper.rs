//! The holder of the Lease keeps the Secret and the registration as they should be.

use super::Names;
use super::plan::plan;
use super::registration::{self, Registration};
use super::stored::Stored;
use super::watch::Seen;
use jiff::Timestamp;
use k3k_api::managers;
use k3k_runtime::lease::{Lease, LeaseParams};
use k3k_runtime::{apply, certificates};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

/// How often the clock is consulted when nothing happens. Certificates become due weeks before they expire.
const RECHECK: Duration = Duration::from_secs(3600);
/// How long to wait after a failure, unless something changes before.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps certificate and registration while it holds the Lease.
pub struct Keeper {
    /// How to reach the API server.
    pub client: Client,
    /// The Lease to hold.
    pub lease: LeaseParams,
    /// The namespace of the Secret.
    pub namespace: String,
    /// Whom the certificate is for.
    pub names: Names,
    /// What is known of the Secret.
    pub secret: Receiver<Seen<Secret>>,
    /// What is known of the registration of what validates.
    pub validating: Receiver<Seen<ValidatingWebhookConfiguration>>,
    /// What is known of the registration of what mutates.
    pub mutating: Receiver<Seen<MutatingWebhookConfiguration>>,
}

/// Why a step failed. Another follows.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the Secret does not exist: install k3k again")]
    NoSecret,
    #[error("the {0} does not exist: install k3k again")]
    NoRegistration(String),
    #[error("issuing certificates: {0}")]
    Issue(#[from] certificates::Error),
    #[error("writing Secret {name}: {source}")]
    WriteSecret { name: String, source: kube::Error },
    #[error("writing caBundle of {kind} {name}: {source}")]
    WriteBundle { kind: String, name: String, source: kube::Error },
}

impl Keeper {
    /// Waits for the Lease and keeps for as long as it is held, again and again until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let mut lease = Lease::spawn(self.client.clone(), self.lease.clone(), shutdown.clone());
            if lease.acquired().await.is_ok() {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = lease.lost() => {}
                    () = self.keep() => {}
                }
            }
            lease.release().await;
        }
    }

    async fn keep(&mut self) {
        loop {
            let pause = match self.step().await {
                Ok(()) => RECHECK,
                Err(error) => {
                    tracing::warn!(%error, "keeping the webhook's certificate");
                    RETRY
                }
            };
            let gone = tokio::select! {
                changed = self.secret.changed() => changed.is_err(),
                changed = self.validating.changed() => changed.is_err(),
                changed = self.mutating.changed() => changed.is_err(),
                () = tokio::time::sleep(pause) => false,
            };
            if gone {
                return;
            }
        }
    }

    /// Does the one thing that is due. What it writes comes back as a change, which brings the next step.
    async fn step(&mut self) -> Result<(), Error> {
        let secret = match &*self.secret.borrow_and_update() {
            Seen::Unknown => return Ok(()),
            Seen::Absent => return Err(Error::NoSecret),
            Seen::Present(secret) => secret.clone(),
        };
        let stored = Stored::from_data(secret.data.as_ref());
        if let Some(wanted) = plan(&stored, &self.names, Timestamp::now())? {
            return self.write(&secret, &wanted).await;
        }
        let validating = self.validating.borrow_and_update().clone();
        let mutating = self.mutating.borrow_and_update().clone();
        self.register(validating, &stored).await?;
        self.register(mutating, &stored).await
    }

    async fn write(&self, secret: &Secret, wanted: &Stored) -> Result<(), Error> {
        let name = secret.name_any();
        let mut wanted = Secret { data: Some(wanted.to_data()), ..Secret::default() };
        wanted.metadata.name = Some(name.clone());
        wanted.metadata.namespace = secret.namespace();
        // Only if nobody has written since: another holder's certificate must not be replaced unseen.
        wanted.metadata.resource_version = secret.resource_version();
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        match apply::apply(&api, managers::WEBHOOK, &wanted).await {
            Ok(_) => tracing::info!(secret = name, "issued the webhook's certificate"),
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                tracing::debug!(secret = name, "someone else wrote the Secret; looking again");
            }
            Err(source) => return Err(Error::WriteSecret { name, source }),
        }
        Ok(())
    }

    async fn register<R: Registration>(&self, seen: Seen<R>, stored: &Stored) -> Result<(), Error> {
        let kind = R::kind(&()).into_owned();
        let found = match seen {
            Seen::Unknown => return Ok(()),
            Seen::Absent => return Err(Error::NoRegistration(kind)),
            Seen::Present(found) => found,
        };
        let Some(patch) = registration::patch(&found, &stored.bundle()) else { return Ok(()) };
        let name = found.name_any();
        let params = PatchParams::apply(managers::WEBHOOK).force();
        Api::<R>::all(self.client.clone())
            .patch_metadata(&name, &params, &Patch::Apply(patch))
            .await
            .map_err(|source| Error::WriteBundle { kind: kind.clone(), name: name.clone(), source })?;
        tracing::info!(kind, registration = name, "registered the webhook's authority");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
