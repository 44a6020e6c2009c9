//! Serving what the Secret holds, and being ready only when that is of use.

use super::stored::Stored;
use super::watch::Seen;
use super::{Names, registration, self_review, trust};
use crate::metrics::Metrics;
use jiff::Timestamp;
use k3k_runtime::certificates::inspect;
use k3k_runtime::ready::{Latch, Readiness};
use k3k_runtime::tls::{self, ServerCertificate};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// How often we ask ourselves when nothing changes; certificates also expire without an event.
const RECHECK: Duration = Duration::from_secs(60);

/// Follows the Secret and the registration on behalf of this replica.
pub struct Health {
    names: Names,
    secret: Receiver<Seen<Secret>>,
    validating: Receiver<Seen<ValidatingWebhookConfiguration>>,
    mutating: Receiver<Seen<MutatingWebhookConfiguration>>,
    metrics: Metrics,
    certificate: Check,
    registered: Check,
    reviewed: Check,
}

/// One thing that must be so.
struct Check {
    name: &'static str,
    latch: Latch,
    passed: bool,
}

impl Health {
    /// Adds what it finds out to `readiness`.
    pub fn new(
        readiness: &Readiness,
        metrics: Metrics,
        names: Names,
        secret: Receiver<Seen<Secret>>,
        validating: Receiver<Seen<ValidatingWebhookConfiguration>>,
        mutating: Receiver<Seen<MutatingWebhookConfiguration>>,
    ) -> Self {
        Self {
            names,
            secret,
            validating,
            mutating,
            metrics,
            certificate: Check::new(readiness, "certificate"),
            registered: Check::new(readiness, "registration"),
            reviewed: Check::new(readiness, "self-review"),
        }
    }

    /// Waits for a certificate that can be served. Nothing when the Secret is no longer followed.
    pub async fn first_certificate(&mut self) -> Option<ServerCertificate> {
        loop {
            if let Some(leaf) = self.stored().leaf {
                match ServerCertificate::from_pem(&leaf.certificate, &leaf.key) {
                    Ok(certificate) => return Some(certificate),
                    Err(error) => {
                        tracing::warn!(%error, "the Secret holds no certificate that can be served");
                    }
                }
            }
            self.secret.changed().await.ok()?;
        }
    }

    /// Keeps `serving` the newest certificate and readiness true, while we listen on `listening`. Ends when the
    /// Secret or the registration is no longer followed.
    pub async fn run(mut self, serving: ServerCertificate, listening: SocketAddr) {
        loop {
            let stored = self.stored();
            if let Err(error) = self.load(&stored, &serving) {
                // What was loaded before is served on, for as long as it is good.
                tracing::warn!(%error, "the Secret holds no certificate that can be served");
            }
            self.judge(&stored, listening).await;
            let gone = tokio::select! {
                changed = self.secret.changed() => changed.is_err(),
                changed = self.validating.changed() => changed.is_err(),
                changed = self.mutating.changed() => changed.is_err(),
                () = tokio::time::sleep(RECHECK) => false,
            };
            if gone {
                return;
            }
        }
    }

    fn stored(&mut self) -> Stored {
        let seen = self.secret.borrow_and_update();
        Stored::from_data(seen.present().and_then(|secret| secret.data.as_ref()))
    }

    fn load(&self, stored: &Stored, serving: &ServerCertificate) -> Result<(), tls::Error> {
        if let Some(leaf) = &stored.leaf {
            serving.replace(&leaf.certificate, &leaf.key)?;
            if let Ok(facts) = inspect(&leaf.certificate) {
                self.metrics.certificate_expires(facts.not_after);
            }
        }
        Ok(())
    }

    async fn judge(&mut self, stored: &Stored, listening: SocketAddr) {
        let name = self.names.primary();
        let good = |bundle: &str| {
            let chain = stored.leaf.as_ref().map_or("", |leaf| leaf.certificate.as_str());
            trust::verify(bundle, chain, name, Timestamp::now())
        };
        self.certificate.put(&good(&stored.bundle()));
        let validating = self.validating.borrow_and_update().present().and_then(registration::registered);
        let mutating = self.mutating.borrow_and_update().present().and_then(registration::registered);
        let Some(bundle) = validating.filter(|bundle| Some(bundle) == mutating.as_ref()) else {
            let missing = "our webhooks are not registered with one caBundle";
            self.registered.put(&Err(missing));
            return self.reviewed.put(&Err(missing));
        };
        self.registered.put(&good(&bundle));
        self.reviewed.put(&self_review::check(listening, &bundle, name).await);
    }
}

impl Check {
    fn new(readiness: &Readiness, name: &'static str) -> Self {
        Self { name, latch: readiness.latch(name), passed: false }
    }

    fn put<E: std::fmt::Display>(&mut self, outcome: &Result<(), E>) {
        let Self { name, passed, .. } = self;
        match outcome {
            Ok(()) => self.latch.set(),
            Err(error) => {
                self.latch.clear();
                // Something that is not there yet is no cause for alarm.
                if *passed {
                    tracing::warn!(check = name, %error, "not ready any more");
                } else {
                    tracing::info!(check = name, %error, "not ready yet");
                }
            }
        }
        *passed = outcome.is_ok();
    }
}
