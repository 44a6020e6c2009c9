//! What stops next. Pure.

use crate::cluster::build::mode::Nodes;
use jiff::Timestamp;
use k3k_api::conditions::{self, PAUSED, paused_reason};
use k3k_api::v1beta1::{ClusterSpec, ClusterStatus, TenantPods};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// How soon to look again while something stops.
const SOON: Duration = Duration::from_secs(1);

/// Which parts of a cluster shall run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Running {
    /// All of them.
    All,
    /// Servers; nobody acts on tenants' pods.
    Servers,
    /// None.
    Nothing,
}

/// What is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Situation<'a> {
    /// Why the servers cannot be stopped just now.
    pub(super) unfit: Option<&'a str>,
    /// A virtual kubelet is there, or may come yet.
    pub(super) kubelets: bool,
    /// Tenants' pods that have not ended.
    pub(super) tenants: Tenants,
    /// The servers were told to stop.
    pub(super) down: bool,
    /// Pods of servers or agents are there, or may come yet.
    pub(super) runners: bool,
}

/// Tenants' pods in the host that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tenants {
    /// How many.
    pub(super) pods: usize,
    /// All of them were told to end so long ago that the servers need not wait for them.
    pub(super) overdue: bool,
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What shall run.
    pub running: Running,
    /// What is told.
    pub verdict: Verdict,
    /// See [`ClusterStatus::pods_stopped_until`].
    pub stopped_until: Option<Time>,
    /// Tenants' pods are to be ended now.
    pub(super) ends_pods: bool,
}

impl Step {
    /// That this runs, and nothing else was decided.
    pub fn of(running: Running) -> Self {
        Self { running, verdict: Verdict::Never, stopped_until: None, ends_pods: false }
    }

    /// When to look again, if something is on its way that no watch shows.
    pub fn again(&self) -> Option<Duration> {
        matches!(self.verdict, Verdict::Pausing { .. }).then_some(SOON)
    }
}

/// What is told of the pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none, and there was none.
    Never,
    /// There is none any more.
    Over,
    /// There is none because it cannot be. Says why.
    Refused(String),
    /// Something still runs.
    Pausing {
        /// Tenants' pods may be ended from now on.
        stops_pods: bool,
        /// What is waited for.
        waits: String,
    },
    /// Nothing runs, but perhaps tenants' pods.
    Paused {
        /// Tenants' pods were ended.
        pods_stopped: bool,
    },
}

/// Decides.
pub(super) fn decide(
    spec: &ClusterSpec,
    before: &ClusterStatus,
    situation: Situation<'_>,
    now: Timestamp,
) -> Step {
    let told = conditions::find(&before.conditions, PAUSED).map(|told| told.reason.as_str());
    let stopped = matches!(told, Some(paused_reason::STOPPING_PODS | paused_reason::PODS_STOPPED));
    let began = stopped || matches!(told, Some(paused_reason::PAUSING | paused_reason::PODS_KEPT));
    let at = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let step = |running, verdict| Step {
        running,
        verdict,
        stopped_until: before.pods_stopped_until.clone(),
        ends_pods: false,
    };
    let Some(pause) = spec.pause else {
        let verdict = match told {
            None | Some(paused_reason::REFUSED) => Verdict::Never,
            Some(_) => Verdict::Over,
        };
        let stopped_until = if stopped { Some(at) } else { before.pods_stopped_until.clone() };
        return Step { stopped_until, ..step(Running::All, verdict) };
    };
    if let Some(refusal) = pause.refusal(spec) {
        let message =
            format!("spec.pause: {refusal}. The cluster runs on: take spec.pause away, or change it");
        return step(Running::All, Verdict::Refused(message));
    }
    let waits = |text: String| Verdict::Pausing { stops_pods: stopped, waits: text };
    // Who is down stays down, whatever else is still to be stopped.
    let meanwhile = if situation.down { Running::Nothing } else { Running::Servers };
    if let Some(unfit) = situation.unfit {
        let running = if began { Running::Servers } else { Running::All };
        return step(running, waits(unfit.to_owned()));
    }
    if situation.kubelets {
        let text = "waiting until the virtual kubelet has stopped".to_owned();
        return step(meanwhile, waits(text));
    }
    let stops = pause.tenant_pods() == TenantPods::Stop;
    let pods = situation.tenants.pods;
    if stops && pods > 0 {
        let running = if stopped && situation.tenants.overdue { Running::Nothing } else { meanwhile };
        // They are ended only when the status says that they may have been: nobody would know it otherwise if the pause ended now.
        let text = format!("waiting until {pods} of the tenants' pods have stopped");
        let verdict = Verdict::Pausing { stops_pods: true, waits: text };
        let stopped_until = if stopped { before.pods_stopped_until.clone() } else { Some(at) };
        return Step { stopped_until, ends_pods: stopped, ..step(running, verdict) };
    }
    if situation.runners {
        return step(Running::Nothing, waits("waiting until the servers have stopped".to_owned()));
    }
    let pods_stopped = match Nodes::of(spec.mode()) {
        Nodes::Shown => stops || stopped,
        Nodes::Pods => true,
        Nodes::Outside => false,
    };
    step(Running::Nothing, Verdict::Paused { pods_stopped })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
