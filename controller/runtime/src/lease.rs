//! Leader election on a `coordination.k8s.io/v1` Lease, by client-go's rules: a candidate takes a Lease that is
//! free, its own, or has not changed for its whole duration *by the candidate's own clock*, so that clocks need
//! not agree; every write is guarded by the resource version. A holder that cannot renew gives up before others
//! may take over.

mod record;

use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PostParams;
use kube::{Api, Client};
use record::{Observation, Standing};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Which Lease, and as whom.
#[derive(Clone, Debug)]
pub struct LeaseParams {
    /// Namespace of the Lease object.
    pub namespace: String,
    /// Name of the Lease object.
    pub name: String,
    /// Who we are; unique among the candidates.
    pub identity: String,
    /// How long others wait for a holder that has gone silent; 15 s is usual. A holder that has not renewed for two
    /// thirds of it gives up; it renews every 2/15.
    pub duration: Duration,
    /// Whose end is the Lease's end, too.
    pub owner: Option<OwnerReference>,
}

/// Whether the Lease is held at this very moment, by the clock and not by what a task got around to saying. What guards
/// writes with it writes nothing after others may have taken over, not even after the process was frozen. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tenure(Arc<Mutex<Option<Instant>>>);

impl Tenure {
    /// Whether the Lease is held, and was renewed recently enough.
    pub fn holds(&self) -> bool {
        self.lock().is_some_and(|until| Instant::now() < until)
    }

    fn set(&self, until: Option<Instant>) {
        *self.lock() = until;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseParams {
    fn renew_deadline(&self) -> Duration {
        self.duration * 2 / 3
    }
    fn retry_period(&self) -> Duration {
        self.duration * 2 / 15
    }
    /// A request that hangs must leave time for another before the deadline.
    fn request_limit(&self) -> Duration {
        self.renew_deadline() / 2
    }
}

/// Why a Lease was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Shutdown came first.
    #[error("stopped while waiting for lease {namespace}/{name}")]
    Stopped {
        /// Namespace of the Lease.
        namespace: String,
        /// Name of the Lease.
        name: String,
    },
}

/// Why one attempt failed; the next one may not.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("someone else wrote it at the same moment")]
    Raced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Held,
    Lost,
}

/// A candidate for a Lease, and its holder once [`Self::acquired`] returns. Dropping it gives the Lease up.
#[derive(Debug)]
pub struct Lease {
    params: LeaseParams,
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Lease {
    /// Starts to compete for the Lease. `shutdown` ends the waiting; a Lease that is held stays held, and renewed,
    /// until [`Self::release`], so that work can be finished under it.
    pub fn spawn(client: Client, params: LeaseParams, shutdown: CancellationToken) -> Self {
        Self::spawn_noting(client, params, Tenure::default(), shutdown)
    }

    /// [`Self::spawn`], noting in `tenure` for how long the Lease is held.
    pub fn spawn_noting(
        client: Client,
        params: LeaseParams,
        tenure: Tenure,
        shutdown: CancellationToken,
    ) -> Self {
        let (sender, state) = watch::channel(State::Waiting);
        let stop = CancellationToken::new();
        let candidate = Candidate {
            api: Api::namespaced(client, &params.namespace),
            params: params.clone(),
            tenure,
            observation: Observation::default(),
            held: None,
        };
        let task = tokio::spawn(candidate.run(sender, shutdown, stop.clone()));
        Self { params, state, task, stop: stop.drop_guard() }
    }

    /// Waits until the Lease is ours. Fails when shutdown comes first.
    pub async fn acquired(&mut self) -> Result<(), Error> {
        match self.state.wait_for(|state| *state != State::Waiting).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Stopped {
                namespace: self.params.namespace.clone(),
                name: self.params.name.clone(),
            }),
        }
    }

    /// Waits until the Lease was ours and is no longer. Then stop working at once: someone else has begun.
    pub async fn lost(&mut self) {
        let ended = self.state.wait_for(|state| *state == State::Lost).await.is_err();
        if ended && *self.state.borrow() == State::Waiting {
            std::future::pending::<()>().await;
        }
    }

    /// Gives the Lease back so that a successor need not wait for it to expire. Call it when the work is done.
    pub async fn release(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the lease task ended badly");
        }
    }
}

struct Candidate {
    api: Api<Object>,
    params: LeaseParams,
    tenure: Tenure,
    observation: Observation,
    /// What we wrote last, while nobody else is known to have written since.
    held: Option<Object>,
}

impl Candidate {
    async fn run(
        mut self,
        state: watch::Sender<State>,
        shutdown: CancellationToken,
        stop: CancellationToken,
    ) {
        let lease = format!("{}/{}", self.params.namespace, self.params.name);
        let Some(begun) = self.acquire(&lease, &shutdown, &stop).await else { return };
        tracing::info!(lease, identity = self.params.identity, "acquired the lease");
        self.tenure.set(Some(begun + self.params.renew_deadline()));
        state.send_replace(State::Held);
        let lost = self.renew_until_lost(&lease, begun, &stop).await;
        self.tenure.set(None);
        if lost {
            tracing::error!(lease, identity = self.params.identity, "lost the lease");
            state.send_replace(State::Lost);
        } else {
            self.vacate(&lease).await;
        }
    }

    /// Attempts until the Lease is ours, and says when the successful one began. None when stopped first.
    async fn acquire(
        &mut self,
        lease: &str,
        shutdown: &CancellationToken,
        stop: &CancellationToken,
    ) -> Option<Instant> {
        let mut waiting_for = None;
        loop {
            let begun = Instant::now();
            // An attempt is never cut short: its write may have arrived.
            match self.attempt().await {
                Ok(Standing::Ours) => return Some(begun),
                Ok(Standing::Other(holder)) => {
                    if waiting_for.as_ref() != Some(&holder) {
                        tracing::info!(lease, holder, "waiting for the lease");
                        waiting_for = Some(holder);
                    }
                }
                Err(error) => tracing::warn!(lease, %error, "acquiring the lease"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(self.params.retry_period()) => {}
            }
        }
    }

    /// Renews until someone else holds the Lease or the deadline has passed (true), or until stopped (false).
    async fn renew_until_lost(
        &mut self,
        lease: &str,
        mut renewed: Instant,
        stop: &CancellationToken,
    ) -> bool {
        loop {
            let deadline = renewed + self.params.renew_deadline();
            let next = deadline.min(Instant::now() + self.params.retry_period());
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep_until(next) => {}
            }
            let begun = Instant::now();
            if begun >= deadline {
                return true;
            }
            match tokio::time::timeout_at(deadline, self.attempt()).await {
                Ok(Ok(Standing::Ours)) => {
                    renewed = begun;
                    self.tenure.set(Some(begun + self.params.renew_deadline()));
                }
                Ok(Ok(Standing::Other(holder))) => {
                    tracing::error!(lease, holder, "someone else holds the lease");
                    return true;
                }
                Ok(Err(error)) => tracing::warn!(lease, %error, "renewing the lease"),
                Err(_) => return true,
            }
        }
    }

    /// Takes or renews the Lease if the rules allow it now.
    async fn attempt(&mut self) -> Result<Standing, AttemptError> {
        let limit = self.params.request_limit();
        tokio::time::timeout(limit, self.attempt_unlimited())
            .await
            .unwrap_or(Err(AttemptError::Timeout(limit)))
    }

    async fn attempt_unlimited(&mut self) -> Result<Standing, AttemptError> {
        if let Some(mine) = self.held.take() {
            match self.write(Some(&mine)).await {
                Err(AttemptError::Raced) => {}
                Err(error) => {
                    self.held = Some(mine);
                    return Err(error);
                }
                Ok(standing) => return Ok(standing),
            }
        }
        let current = self.api.get_opt(&self.params.name).await?;
        if let Some(lease) = &current {
            let standing = self.observation.judge(lease, &self.params.identity, Instant::now());
            if matches!(standing, Standing::Other(_)) {
                return Ok(standing);
            }
        }
        self.write(current.as_ref()).await
    }

    /// Writes us into `current`, guarded by its version, or creates the Lease.
    async fn write(&mut self, current: Option<&Object>) -> Result<Standing, AttemptError> {
        let lease = record::claim(current, &self.params, jiff::Timestamp::now());
        let written = match current {
            Some(_) => self.api.replace(&self.params.name, &PostParams::default(), &lease).await,
            None => self.api.create(&PostParams::default(), &lease).await,
        };
        match written {
            Ok(lease) => {
                self.held = Some(lease);
                Ok(Standing::Ours)
            }
            Err(kube::Error::Api(status))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Err(AttemptError::Raced)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn vacate(&mut self, lease: &str) {
        let Some(mine) = self.held.take() else { return };
        let free = record::vacated(&mine, jiff::Timestamp::now());
        let params = PostParams::default();
        let write = self.api.replace(&self.params.name, &params, &free);
        match tokio::time::timeout(self.params.request_limit(), write).await {
            Ok(Ok(_)) => tracing::info!(lease, "gave the lease back"),
            Ok(Err(error)) => tracing::warn!(lease, %error, "giving the lease back; it will expire"),
            Err(_) => tracing::warn!(lease, "giving the lease back took too long; it will expire"),
        }
    }
}

#[cfg(test)]
mod tests;
