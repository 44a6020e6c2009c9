//! Waiting for a cluster to be ready: what its status says becomes steps, and in the end success or a cause.

use super::{hint, namespaced, short};
use crate::clusters::{self, RESOURCE};
use crate::command::interrupt::{asked_to_stop, deadline};
use crate::connect::Connection;
use crate::error::{Action, Error};
use crate::install::rollout;
use crate::output::age;
use crate::output::progress::{HEARTBEAT, Progress};
use futures::StreamExt as _;
use k3k_api::conditions::{self, reason};
use k3k_api::labels;
use k3k_api::names::ClusterNames;
use k3k_api::v1beta1::{Cluster, Phase};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use std::pin::pin;
use std::time::Duration;

/// What a cluster's status means to somebody who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It works.
    Ready,
    /// On its way: the step, and the news.
    Waiting(Step, String),
    /// It will not get ready unless somebody changes something.
    Stuck(Step, String),
    /// Somebody deletes it.
    Leaving,
}

/// The steps, in the order in which a cluster takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The controller has to see it.
    Controller,
    /// Its objects are made.
    Objects,
    /// Volumes are bound.
    Storage,
    /// Server pods start.
    Servers,
    /// The nested API becomes ready.
    Api,
    /// The virtual kubelet becomes ready.
    Kubelet,
    /// The agents start.
    Agents,
    /// The nodes become ready.
    Nodes,
}

impl Step {
    /// Its name, and what to say once it is behind us.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Controller => ("Controller", "has seen the cluster"),
            Self::Objects => ("Objects", "made"),
            Self::Storage => ("Storage", "bound"),
            Self::Servers => ("Servers", "running"),
            Self::Api => ("API", "ready"),
            Self::Kubelet => ("Virtual kubelet", "ready"),
            Self::Agents => ("Agents", "running"),
            Self::Nodes => ("Nodes", "ready"),
        }
    }
}

/// Reads a status.
pub(crate) fn state(cluster: &Cluster) -> State {
    if cluster.metadata.deletion_timestamp.is_some() {
        return State::Leaving;
    }
    let waiting_for_controller =
        || State::Waiting(Step::Controller, "waiting until it sees the cluster".to_owned());
    let Some(status) = &cluster.status else { return waiting_for_controller() };
    let Some(ready) = conditions::find(&status.conditions, conditions::READY) else {
        return waiting_for_controller();
    };
    if ready.observed_generation.is_some_and(|seen| seen < cluster.metadata.generation.unwrap_or(0)) {
        return waiting_for_controller();
    }
    if ready.status == "True" {
        return State::Ready;
    }
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let kubelets = ready.message.contains(&ClusterNames(name).kubelet());
    let step = if kubelets { Step::Kubelet } else { step_of(&ready.reason) };
    let text = if ready.message.is_empty() { ready.reason.clone() } else { ready.message.clone() };
    if cluster.spec.pause.is_some() && ready.reason == reason::PAUSED {
        return State::Stuck(
            Step::Servers,
            format!(
                "{text}: kubectl k3k resume {name} --namespace {}",
                cluster.metadata.namespace.as_deref().unwrap_or_default()
            ),
        );
    }
    // Pending means: not accepted as it stands. What its policy asks for comes by itself.
    let refused = status.phase == Phase::Pending
        && ![reason::POLICY_NOT_IN_FORCE, reason::PAUSING].contains(&ready.reason.as_str());
    if refused || (ready.reason == reason::IMAGE_PULL_FAILED && no_such_image(&text)) {
        State::Stuck(step, text)
    } else {
        State::Waiting(step, text)
    }
}

/// Whether the registry answered, and has no such image: waiting does not make one.
fn no_such_image(message: &str) -> bool {
    [": not found", "manifest unknown", "ErrImageNeverPull", "InvalidImageName"]
        .iter()
        .any(|sign| message.contains(sign))
}

fn step_of(reason: &str) -> Step {
    match reason {
        reason::VOLUME_PENDING => Step::Storage,
        reason::SERVER_UNSCHEDULABLE
        | reason::SERVER_REFUSED
        | reason::IMAGE_PULL_FAILED
        | reason::SERVER_STARTING
        | reason::SERVER_CRASHING => Step::Servers,
        reason::API_NOT_READY => Step::Api,
        reason::KUBELET_NOT_READY => Step::Kubelet,
        reason::AGENTS_NOT_READY => Step::Agents,
        reason::NODE_NOT_READY => Step::Nodes,
        _ => Step::Objects,
    }
}

/// Shows the way from one step to the next: those that are left behind are done.
#[derive(Debug, Default)]
struct Trail(Option<Step>);

impl Trail {
    fn goes_on(&mut self, step: Step, text: &str, progress: &mut Progress) {
        self.leaves(Some(step), progress);
        self.0 = Some(step);
        progress.show(step.words().0, text);
    }

    fn arrives(&mut self, progress: &mut Progress) {
        self.leaves(None, progress);
    }

    fn leaves(&mut self, next: Option<Step>, progress: &mut Progress) {
        if let Some(last) = self.0
            && next.is_none_or(|next| next > last)
        {
            let (name, done) = last.words();
            progress.done(name, done);
        }
    }
}

/// Waits until the cluster is ready.
///
/// # Errors
/// [`Error::Waited`] with the cause when it times out, cannot get ready or disappears, [`Error::Interrupted`], or
/// what the host said.
pub(crate) async fn until_ready(
    connection: &Connection,
    name: &str,
    namespace: &str,
    uid: &str,
    timeout: Duration,
    progress: &mut Progress,
) -> Result<(), Error> {
    let shown = short(name, namespace);
    let action = || Action::new("watch", RESOURCE).on(name).within(namespace);
    let mut clusters =
        pin!(watcher::watch_object(clusters::api(connection, namespace), name).default_backoff());
    let mut timer = pin!(deadline(timeout));
    let mut stopped = pin!(asked_to_stop());
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.reset();
    let mut trail = Trail::default();
    let mut last = None;
    loop {
        tokio::select! {
            event = clusters.next() => match event {
                Some(Ok(Some(cluster))) if cluster.metadata.uid.as_deref() == Some(uid) => {
                    match state(&cluster) {
                        State::Ready => {
                            trail.arrives(progress);
                            return Ok(());
                        }
                        State::Waiting(step, text) => trail.goes_on(step, &text, progress),
                        State::Stuck(step, text) => {
                            progress.fail(step.words().0, &text);
                            return Err(gave_up(connection, format!("{name} cannot start: {text}"), name, namespace, &cluster, "the cluster was kept").await);
                        }
                        State::Leaving => {
                            progress.clear();
                            return Err(Error::Waited {
                                message: format!("{name} is being deleted by somebody else"),
                                notes: vec![("look", format!("kubectl k3k describe {shown}"))],
                            });
                        }
                    }
                    last = Some(cluster);
                }
                Some(Ok(_)) => {
                    progress.clear();
                    return Err(Error::Waited {
                        message: format!("{name} was deleted while it was being made"),
                        notes: vec![("again", format!("kubectl k3k create {shown}"))],
                    });
                }
                Some(Err(error)) => match connection.explain_watch(action(), &error) {
                    error @ (Error::Forbidden { .. } | Error::Unauthorized { .. } | Error::NotInstalled { .. }) => {
                        progress.clear();
                        return Err(error);
                    }
                    // The watch comes back by itself; the user should know why it is silent.
                    error => progress.show("Connection", &format!("lost, trying again: {error}")),
                },
                None => {}
            },
            () = &mut timer => {
                let (step, text) = match last.as_ref().map(state) {
                    Some(State::Waiting(step, text)) => (step, text),
                    _ => (Step::Controller, "it has not seen the cluster".to_owned()),
                };
                progress.fail(step.words().0, &text);
                let message = format!("{name} is not ready after {}: {text}", age::short(timeout));
                let cluster = last.unwrap_or_default();
                return Err(gave_up(connection, message, name, namespace, &cluster, "the cluster was kept and may still become ready").await);
            }
            () = &mut stopped => {
                progress.clear();
                return Err(Error::Interrupted {
                    message: "Stopped waiting. The cluster is still being created.".to_owned(),
                    notes: vec![
                        ("continue", format!("kubectl wait {RESOURCE}/{name} -n {namespace} --for=condition=Ready --timeout=5m")),
                        ("then", format!("kubectl k3k kubeconfig merge {shown}")),
                        ("remove", format!("kubectl k3k delete {shown}")),
                    ],
                });
            }
            _ = heartbeat.tick() => progress.heartbeat(),
        }
    }
}

/// The cause as the pods tell it, and what can be done.
async fn gave_up(
    connection: &Connection,
    message: String,
    name: &str,
    namespace: &str,
    cluster: &Cluster,
    kept: &str,
) -> Error {
    let shown = short(name, namespace);
    let selector = format!("{},{}={name}", labels::COMPONENT, labels::CLUSTER);
    let pods = namespaced::<Pod>(connection, namespace)
        .list(&ListParams::default().labels(&selector))
        .await
        .map(|list| list.items)
        .unwrap_or_default();
    let mut notes: Vec<(&'static str, String)> =
        pods.iter().filter_map(rollout::trouble).map(|trouble| ("cause", trouble)).collect();
    // The pod's own words are in the message already.
    notes.retain(|(_, trouble)| !trouble.split_once(':').is_some_and(|(pod, _)| message.contains(pod)));
    if let Some(fix) = hint::fix(cluster, &shown) {
        notes.push(("fix", fix));
    }
    notes.push(("look", format!("kubectl k3k describe {shown}")));
    notes.push(("remove", format!("kubectl k3k delete {shown}")));
    notes.push(("note", kept.to_owned()));
    Error::Waited { message, notes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn cluster(status: &serde_json::Value) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "k3k.io/v1beta1", "kind": "Cluster",
            "metadata": {"name": "dev", "generation": 2}, "spec": {}, "status": status,
        }))
        .expect("cluster")
    }

    fn status(phase: &str, ready: &str, reason: &str, generation: i64) -> serde_json::Value {
        json!({"phase": phase, "conditions": [{
            "type": "Ready", "status": ready, "reason": reason, "message": "m",
            "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]})
    }

    #[rstest]
    #[case(json!({}), Some(Step::Controller))]
    #[case(status("Provisioning", "False", reason::PROVISIONING, 2), Some(Step::Objects))]
    #[case(status("Provisioning", "False", reason::SERVER_STARTING, 2), Some(Step::Servers))]
    #[case(status("Provisioning", "False", reason::NODE_NOT_READY, 2), Some(Step::Nodes))]
    #[case(status("Failed", "False", reason::PROVISIONING_FAILED, 2), Some(Step::Objects))]
    #[case(status("Provisioning", "False", "SomethingNew", 2), Some(Step::Objects))]
    #[case(status("Ready", "True", reason::PROVISIONED, 1), Some(Step::Controller))]
    #[case(status("Ready", "True", reason::PROVISIONED, 2), None)]
    fn a_status_is_a_step(#[case] status: serde_json::Value, #[case] want: Option<Step>) {
        match (state(&cluster(&status)), want) {
            (State::Waiting(step, _), Some(want)) => assert_eq!(step, want),
            (State::Ready, None) => {}
            (state, want) => panic!("{state:?}, not {want:?}"),
        }
    }

    #[rstest]
    #[case(
        "failed to resolve reference \"docker.io/rancher/k3s:v1.99.0-k3s1\": docker.io/rancher/k3s:v1.99.0-k3s1: not found",
        true
    )]
    #[case("dial tcp: lookup registry-1.docker.io: i/o timeout", false)]
    #[case("429 Too Many Requests", false)]
    fn an_image_that_does_not_exist_is_not_waited_for(#[case] message: &str, #[case] stuck: bool) {
        let mut status = status("Provisioning", "False", reason::IMAGE_PULL_FAILED, 2);
        status["conditions"][0]["message"] = message.into();
        assert_eq!(matches!(state(&cluster(&status)), State::Stuck(Step::Servers, _)), stuck);
    }

    #[test]
    fn what_is_not_accepted_is_not_waited_for() {
        let stuck = state(&cluster(&status("Pending", "False", reason::VALIDATION_FAILED, 2)));
        assert_eq!(stuck, State::Stuck(Step::Objects, "m".into()));
        let waiting = state(&cluster(&status("Pending", "False", reason::POLICY_NOT_IN_FORCE, 2)));
        assert_eq!(waiting, State::Waiting(Step::Objects, "m".into()), "the policy is on its way");
    }
}
