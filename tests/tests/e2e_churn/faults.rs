//! Sudden ends of what keeps both sides in agreement.

use super::agree::text;
use super::sides::{Sides, resource};
use anyhow::{Context, Result, ensure};
use k3k_api::labels::{self, component};
use k3k_tests::lab;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use std::time::Duration;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// A replica of the virtual kubelet.
    Kubelet,
    /// The controller.
    Controller,
    /// k3s in its pod.
    NestedServer,
    /// The host's API server, and with it its etcd, controllers and scheduler.
    Host,
}

const ALL: [Victim; 4] = [Victim::Kubelet, Victim::Controller, Victim::NestedServer, Victim::Host];

pub(crate) struct Faults<'a> {
    pub(crate) sides: &'a Sides,
    pub(crate) random: fastrand::Rng,
}

impl Faults<'_> {
    /// Kills each once, in any order, with pauses in between; `rounds` times.
    pub(crate) async fn run(&mut self, rounds: usize) -> Result<()> {
        for _ in 0..rounds {
            let mut victims = ALL;
            self.random.shuffle(&mut victims);
            for victim in victims {
                tokio::time::sleep(Duration::from_millis(self.random.u64(1000..7000))).await;
                self.kill(victim).await.with_context(|| format!("killing {victim:?}"))?;
            }
        }
        Ok(())
    }

    pub(crate) async fn kill(&mut self, victim: Victim) -> Result<()> {
        let ours = self.sides.namespace.clone();
        let component = |name: &str| format!("{}={name}", labels::COMPONENT);
        match victim {
            Victim::Kubelet => self.container(&ours, &component(component::KUBELET)).await,
            Victim::NestedServer => self.container(&ours, &component(component::SERVER)).await,
            Victim::Controller => {
                self.container("k3k-system", "app.kubernetes.io/component=controller").await
            }
            Victim::Host => {
                say("kills the host's API server");
                let _up = Restart;
                crash(["server"]).await?;
                let away = self.random.u64(..6000);
                tokio::time::sleep(Duration::from_millis(away)).await;
                crash(["server", "--restart"]).await
            }
        }
    }

    /// Kills the process of one of these pods' containers, or the pod with it.
    async fn container(&mut self, namespace: &str, selector: &str) -> Result<()> {
        let pods =
            Api::<DynamicObject>::namespaced_with(self.sides.host.clone(), namespace, &resource("Pod"));
        let found = pods.list(&ListParams::default().labels(selector)).await?.items;
        ensure!(!found.is_empty(), "no pod {selector} in {namespace}");
        let pod = &found[self.random.usize(..found.len())];
        let name = pod.metadata.name.clone().unwrap_or_default();
        if self.random.u32(..3) == 0 {
            say(&format!("deletes pod {namespace}/{name} by force"));
            let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            pods.delete(&name, &params).await?;
        } else {
            say(&format!("kills the process of pod {namespace}/{name}"));
            let container = text(&pod.data, "/spec/containers/0/name");
            // It may be starting, still or again, after the last time.
            if let Err(error) = crash(["container", namespace, &name, container]).await {
                say(&format!(
                    "which did not run: {}",
                    error.root_cause().to_string().lines().last().unwrap_or_default()
                ));
            }
        }
        Ok(())
    }
}

/// [`lab::crash`], while tenants go on.
async fn crash<const N: usize>(arguments: [&str; N]) -> Result<()> {
    let arguments = arguments.map(str::to_owned);
    let task = move || lab::crash(&arguments.each_ref().map(String::as_str));
    tokio::task::spawn_blocking(task).await?
}

/// Starts the host's control plane again when dropped, however the test ends.
struct Restart;

impl Drop for Restart {
    fn drop(&mut self) {
        if let Err(error) = lab::crash(&["server", "--restart"]) {
            say(&format!("the host's control plane does not come back: {error:#}"));
        }
    }
}

#[allow(clippy::print_stdout, reason = "what happened when, beside a failure")]
pub(crate) fn say(what: &str) {
    println!("{} {what}", jiff::Timestamp::now().strftime("%H:%M:%S"));
}

/// Waits for the host's API to answer again.
pub(crate) async fn until_up(host: &Client) {
    while host.apiserver_version().await.is_err() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
