//! `upgrade`: ask for another version of K3s, and follow the servers until they run it.

mod state;

use super::create::short;
use super::remains::Patience;
use crate::cli::{ConnectionFlags, DryRun, UpgradeArgs};
use crate::clusters::{self, RESOURCE, Target};
use crate::connect::Connection;
use crate::error::{Action, Error, Exit};
use crate::output::progress::Progress;
use crate::output::{age, terminal::Terminal};
use k3k_api::managers;
use k3k_api::v1beta1::Cluster;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use state::State;
use std::pin::pin;

/// What is shown while the servers are replaced.
const STEP: &str = "Servers";

/// Runs `upgrade`.
pub(super) async fn run(
    args: &UpgradeArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let target = Target::parse(&args.name, flags.namespace.as_deref())?;
    let dry = args.dry_run.dry_run;
    if dry == DryRun::None && !args.yes && !Terminal::interactive() {
        let command = format!("kubectl k3k upgrade {} --version {} --yes", args.name, args.version);
        return Err(Error::Unconfirmed { what: "upgrade".to_owned(), command });
    }
    let (connection, cluster) = clusters::named(&target, flags, terminal).await?;
    let namespace = cluster.metadata.namespace.clone().unwrap_or_default();
    let shown = short(&target.name, &namespace);
    if let Err((message, hint)) = state::refusal(&cluster, &args.version, &shown) {
        return Err(Error::State { message, notes: vec![("try", hint)] });
    }
    let running =
        cluster.status.as_ref().and_then(|status| status.version.as_deref()).unwrap_or("no version yet");
    if dry == DryRun::None && !args.yes {
        confirm(terminal, &cluster, running, &args.version, &connection)?;
    }
    let done = format!("cluster.k3k.io/{} upgraded{}\n", target.name, dry.suffix());
    if dry == DryRun::Client {
        terminal.data(&done)?;
        return Ok(Exit::Done);
    }
    let patched = ask(&connection, &cluster, &args.version, dry).await?;
    if dry == DryRun::Server {
        terminal.data(&done)?;
        return Ok(Exit::Done);
    }
    if !args.wait.waits() {
        terminal.notes(&[("watch", format!("kubectl k3k describe {shown}"))]);
        return Ok(Exit::Done);
    }
    let mut progress = Progress::new(terminal, &target.name);
    progress.done("Request", &format!("accepted: from {running} to {}", args.version));
    follow(args, &connection, &patched, &shown, &mut progress).await?;
    terminal.data(&done)?;
    Ok(Exit::Done)
}

fn confirm(
    terminal: &Terminal,
    cluster: &Cluster,
    running: &str,
    wanted: &str,
    connection: &Connection,
) -> Result<(), Error> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let pause = match cluster.spec.servers() {
        ..=1 => "Its API does not answer while its one server is replaced.",
        _ => "Its servers are replaced one after the other.",
    };
    terminal.note(&format!(
        "This upgrades cluster {name} (context {}) from {running} to {wanted}. {pause} There is no way back once a server ran it.",
        connection.context
    ));
    if Terminal::confirm(&format!("Upgrade {name}?")) { Ok(()) } else { Err(Error::Declined) }
}

/// Changes the spec of that very cluster, and gives back what it is then.
async fn ask(
    connection: &Connection,
    cluster: &Cluster,
    version: &str,
    dry: DryRun,
) -> Result<Cluster, Error> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let patch = json!({ "metadata": { "uid": cluster.metadata.uid }, "spec": { "version": version } });
    let parameters = PatchParams {
        dry_run: dry == DryRun::Server,
        field_manager: Some(managers::PLUGIN.to_owned()),
        ..PatchParams::default()
    };
    clusters::api(connection, namespace).patch(name, &parameters, &Patch::Merge(&patch)).await.map_err(
        |error| connection.explain(Action::new("patch", RESOURCE).on(name).within(namespace), &error),
    )
}

async fn follow(
    args: &UpgradeArgs,
    connection: &Connection,
    patched: &Cluster,
    shown: &str,
    progress: &mut Progress,
) -> Result<(), Error> {
    let name = patched.metadata.name.as_deref().unwrap_or_default();
    let namespace = patched.metadata.namespace.as_deref().unwrap_or_default();
    let generation = patched.metadata.generation.unwrap_or_default();
    let look = || ("look", format!("kubectl k3k describe {shown}"));
    let mut watch = pin!(watcher::watch_object(clusters::api(connection, namespace), name).default_backoff());
    let mut patience = Patience::new(args.wait.timeout);
    let mut last = "the controller has not seen it".to_owned();
    loop {
        let seen = match patience.next(&mut watch, progress).await {
            Ok(Some(Ok(Some(seen)))) if seen.metadata.uid == patched.metadata.uid => seen,
            Ok(Some(Ok(_)) | None) => {
                progress.clear();
                let message = format!("{name} was deleted while it was upgraded");
                return Err(Error::Waited { message, notes: Vec::new() });
            }
            Ok(Some(Err(error))) => {
                match connection
                    .explain_watch(Action::new("watch", RESOURCE).on(name).within(namespace), &error)
                {
                    error @ (Error::Forbidden { .. }
                    | Error::Unauthorized { .. }
                    | Error::NotInstalled { .. }) => {
                        progress.clear();
                        return Err(error);
                    }
                    // The watch comes back by itself; the user should know why it is silent.
                    error => progress.show("Connection", &format!("lost, trying again: {error}")),
                }
                continue;
            }
            Err(None) => {
                progress.fail(STEP, &last);
                let message =
                    format!("{name} is not upgraded after {}: {last}", age::short(args.wait.timeout));
                let note = ("note", "the upgrade goes on by itself".to_owned());
                return Err(Error::Waited { message, notes: vec![look(), note] });
            }
            Err(Some(())) => {
                progress.clear();
                let message = "Stopped waiting. The upgrade goes on.".to_owned();
                return Err(Error::Interrupted { message, notes: vec![look()] });
            }
        };
        match state::state(&seen, &args.version, generation) {
            State::Done => {
                progress.done(STEP, &format!("run {}", args.version));
                return Ok(());
            }
            State::Unseen => progress.show("Controller", "waiting until it sees the version"),
            State::Waiting(text) => {
                progress.show(STEP, &text);
                last = text;
            }
            State::Failed(text) => {
                progress.fail(STEP, &text);
                let message = format!("{name} was not upgraded: {text}");
                return Err(Error::Waited { message, notes: vec![look()] });
            }
            State::Leaving => {
                progress.clear();
                let message = format!("{name} is being deleted by somebody else");
                return Err(Error::Waited { message, notes: vec![look()] });
            }
        }
    }
}
