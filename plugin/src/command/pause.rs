//! `pause` and `resume`: `spec.pause` is written or taken away, and its effect waited for.

use super::create::{follow, short};
use super::interrupt::{asked_to_stop, deadline};
use crate::cli::{ConnectionFlags, DryRun, PauseArgs, ResumeArgs, WaitFlags};
use crate::clusters::{self, RESOURCE, Target};
use crate::connect::Connection;
use crate::error::{Action, Error, Exit};
use crate::output::progress::{HEARTBEAT, Progress};
use crate::output::{age, terminal::Terminal};
use futures::StreamExt as _;
use k3k_api::conditions::{self, PAUSED, READY, paused_reason, reason};
use k3k_api::managers;
use k3k_api::v1beta1::{Cluster, Pause, TenantPods};
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use std::pin::pin;

/// Runs `pause`.
pub(super) async fn pause(
    args: &PauseArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let target = Target::parse(&args.name, flags.namespace.as_deref())?;
    let (connection, cluster) = clusters::named(&target, flags, terminal).await?;
    let (name, namespace) = place(&cluster);
    let tenant_pods = if args.keep_pods { TenantPods::Keep } else { TenantPods::Stop };
    let wanted = Pause { tenant_pods: Some(tenant_pods) };
    if let Some(refusal) = wanted.refusal(&cluster.spec) {
        return Err(Error::State {
            message: format!("{name} cannot be paused: {refusal}"),
            notes: vec![("or", format!("kubectl k3k delete {}", short(name, namespace)))],
        });
    }
    let dry = args.dry_run.dry_run;
    let same = cluster.spec.pause.map(Pause::tenant_pods) == Some(tenant_pods);
    if !same {
        write(&connection, &cluster, json!({ "tenantPods": tenant_pods }), dry).await?;
    }
    if dry == DryRun::None && args.wait.waits() {
        let mut progress = Progress::new(terminal, name);
        until_paused(&connection, &cluster, args.wait, &mut progress).await?;
    }
    let word = if same { "is paused" } else { "paused" };
    terminal.data(&format!("cluster.k3k.io/{name} {word}{}\n", dry.suffix()))?;
    terminal.notes(&[("back", format!("kubectl k3k resume {}", short(name, namespace)))]);
    Ok(Exit::Done)
}

/// Runs `resume`.
pub(super) async fn resume(
    args: &ResumeArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let target = Target::parse(&args.name, flags.namespace.as_deref())?;
    let (connection, cluster) = clusters::named(&target, flags, terminal).await?;
    let (name, namespace) = place(&cluster);
    let dry = args.dry_run.dry_run;
    let was_paused = cluster.spec.pause.is_some();
    if was_paused {
        write(&connection, &cluster, Value::Null, dry).await?;
    }
    if dry == DryRun::None && args.wait.waits() {
        let mut progress = Progress::new(terminal, name);
        let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
        let ready = follow::until_ready(&connection, name, namespace, uid, args.wait.timeout, &mut progress);
        Box::pin(ready).await?;
    }
    let word = if was_paused { "resumed" } else { "is not paused" };
    terminal.data(&format!("cluster.k3k.io/{name} {word}{}\n", dry.suffix()))?;
    Ok(Exit::Done)
}

/// What to do instead, if the API of this cluster is not there because the cluster is paused.
pub(super) fn hindrance(cluster: &Value) -> Option<Error> {
    let cluster = clusters::view(cluster).ok()?;
    let (name, namespace) = place(&cluster);
    cluster.spec.pause.filter(|pause| pause.refusal(&cluster.spec).is_none())?;
    let since = since(&cluster).map_or_else(String::new, |since| format!(" since {since}"));
    Some(Error::State {
        message: format!("{name} is paused{since}: its API does not run"),
        notes: vec![("resume", format!("kubectl k3k resume {}", short(name, namespace)))],
    })
}

/// Since when the cluster is paused.
pub(super) fn since(cluster: &Cluster) -> Option<String> {
    let paused = conditions::find(&cluster.status.as_ref()?.conditions, PAUSED)?;
    (paused.status == "True").then(|| paused.last_transition_time.0.to_string())
}

fn place(cluster: &Cluster) -> (&str, &str) {
    let metadata = &cluster.metadata;
    (metadata.name.as_deref().unwrap_or_default(), metadata.namespace.as_deref().unwrap_or_default())
}

async fn write(connection: &Connection, cluster: &Cluster, pause: Value, dry: DryRun) -> Result<(), Error> {
    if dry == DryRun::Client {
        return Ok(());
    }
    let (name, namespace) = place(cluster);
    let parameters = PatchParams {
        dry_run: dry == DryRun::Server,
        field_manager: Some(managers::PLUGIN.to_owned()),
        ..PatchParams::default()
    };
    // With the UID, no other cluster of that name is meant.
    let patch = json!({ "metadata": { "uid": cluster.metadata.uid }, "spec": { "pause": pause } });
    let written =
        clusters::api(connection, namespace).patch_metadata(name, &parameters, &Patch::Merge(&patch)).await;
    written.map(drop).map_err(|error| {
        connection.explain(Action::new("patch", RESOURCE).on(name).within(namespace), &error)
    })
}

/// How far a pause is.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Paused,
    Waiting(String),
    Refused(String),
    Elsewhere(&'static str),
}

fn state(cluster: &Cluster, uid: &str) -> State {
    let unseen = || State::Waiting("waiting until the controller sees it".to_owned());
    if cluster.metadata.uid.as_deref() != Some(uid) || cluster.metadata.deletion_timestamp.is_some() {
        return State::Elsewhere("was deleted by somebody else");
    }
    if cluster.spec.pause.is_none() {
        return State::Elsewhere("was resumed by somebody else");
    }
    let Some(status) = &cluster.status else { return unseen() };
    let generation = cluster.metadata.generation.unwrap_or(0);
    let told = |kind: &str| {
        let told = conditions::find(&status.conditions, kind)?;
        told.observed_generation.is_none_or(|seen| seen >= generation).then_some(told)
    };
    match (told(PAUSED), told(READY)) {
        (Some(paused), _) if paused.status == "True" => State::Paused,
        (Some(paused), _) if paused.reason == paused_reason::REFUSED => {
            State::Refused(paused.message.clone())
        }
        (Some(paused), _) => State::Waiting(paused.message.clone()),
        // Not even looked at: something else is wrong with the cluster.
        (None, Some(ready)) if ready.status != "True" && ready.reason != reason::PAUSING => {
            State::Waiting(ready.message.clone())
        }
        _ => unseen(),
    }
}

async fn until_paused(
    connection: &Connection,
    cluster: &Cluster,
    wait: WaitFlags,
    progress: &mut Progress,
) -> Result<(), Error> {
    const STEP: &str = "Pause";
    let (name, namespace) = place(cluster);
    let shown = short(name, namespace);
    let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
    let look = ("look", format!("kubectl k3k describe {shown}"));
    let mut watch = pin!(watcher::watch_object(clusters::api(connection, namespace), name).default_backoff());
    let mut timer = pin!(deadline(wait.timeout));
    let mut stopped = pin!(asked_to_stop());
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.reset();
    let mut last = "the controller has not seen it".to_owned();
    progress.show(STEP, "request accepted");
    loop {
        tokio::select! {
            event = watch.next() => match event {
                Some(Ok(Some(cluster))) => match state(&cluster, uid) {
                    State::Paused => {
                        progress.done(STEP, "all has stopped");
                        return Ok(());
                    }
                    State::Waiting(text) => {
                        progress.show(STEP, &text);
                        last = text;
                    }
                    State::Refused(text) => {
                        progress.fail(STEP, &text);
                        return Err(Error::Waited { message: format!("{name} cannot be paused: {text}"), notes: vec![look] });
                    }
                    State::Elsewhere(what) => {
                        progress.clear();
                        return Err(Error::Waited { message: format!("{name} {what}"), notes: vec![look] });
                    }
                },
                Some(Ok(None)) => {
                    progress.clear();
                    return Err(Error::Waited { message: format!("{name} was deleted by somebody else"), notes: Vec::new() });
                }
                Some(Err(error)) => match connection.explain_watch(Action::new("watch", RESOURCE).on(name).within(namespace), &error) {
                    error @ (Error::Forbidden { .. } | Error::Unauthorized { .. } | Error::NotInstalled { .. }) => {
                        progress.clear();
                        return Err(error);
                    }
                    error => progress.show("Connection", &format!("lost, trying again: {error}")),
                },
                None => {}
            },
            () = &mut timer => {
                progress.fail(STEP, &last);
                let message = format!("{name} is not paused after {}: {last}", age::short(wait.timeout));
                return Err(Error::Waited { message, notes: vec![look, ("back", format!("kubectl k3k resume {shown}"))] });
            }
            () = &mut stopped => {
                progress.clear();
                let message = "Stopped waiting. The cluster is still being paused.".to_owned();
                return Err(Error::Interrupted { message, notes: vec![look, ("back", format!("kubectl k3k resume {shown}"))] });
            }
            _ = heartbeat.tick() => progress.heartbeat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn cluster(generation: i64, paused: Option<(&str, &str)>) -> Value {
        let conditions: Vec<Value> = paused
            .map(|(status, reason)| {
                json!({"type": PAUSED, "status": status, "reason": reason, "message": "m",
                    "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .into_iter()
            .collect();
        json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster",
            "metadata": {"name": "dev", "namespace": "k3k-dev", "uid": "u", "generation": generation},
            "spec": {"pause": {}}, "status": {"conditions": conditions}})
    }

    #[rstest]
    #[case(2, None, State::Waiting("waiting until the controller sees it".into()))]
    #[case(2, Some(("False", "Pausing")), State::Waiting("m".into()))]
    #[case(2, Some(("False", "PauseRefused")), State::Refused("m".into()))]
    #[case(2, Some(("True", "PodsStopped")), State::Paused)]
    #[case(3, Some(("True", "PodsStopped")), State::Waiting("waiting until the controller sees it".into()))]
    fn a_pause_is_told_by_its_condition(
        #[case] generation: i64,
        #[case] paused: Option<(&str, &str)>,
        #[case] want: State,
    ) {
        let cluster = clusters::view(&cluster(generation, paused)).expect("cluster");
        assert_eq!(state(&cluster, "u"), want);
        assert_eq!(state(&cluster, "other"), State::Elsewhere("was deleted by somebody else"));
    }

    #[test]
    fn who_needs_the_api_is_told_what_to_do_instead() {
        let mut cluster = cluster(2, Some(("True", "PodsStopped")));
        let error = hindrance(&cluster).expect("paused");
        assert_eq!(error.to_string(), "dev is paused since 2026-01-01T00:00:00Z: its API does not run");
        cluster["spec"]["persistence"] = json!({"type": "ephemeral"});
        assert!(hindrance(&cluster).is_none(), "it was refused, and the API runs");
        cluster["spec"] = json!({});
        assert!(hindrance(&cluster).is_none());
    }
}
