//! `delete`: remove clusters, wait until nothing of them is left, forget them in the kubeconfig.

use super::create::short;
use super::kubeconfig;
use super::remains::{self, Early, Patience};
use crate::cli::{ConnectionFlags, DeleteArgs, DryRun};
use crate::clusters::{self, RESOURCE, Target};
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::merge;
use crate::output::progress::Progress;
use crate::output::{age, terminal::Terminal};
use k3k_api::labels;
use k3k_api::v1beta1::{Cluster, Storage};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams, Preconditions, PropagationPolicy};
use kube::runtime::{WatchStreamExt as _, watcher};
use std::fmt::Write as _;
use std::pin::pin;
use std::time::Duration;

/// Runs `delete`.
pub(super) async fn run(
    args: &DeleteArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let targets = args
        .names
        .iter()
        .map(|name| Target::parse(name, flags.namespace.as_deref()))
        .collect::<Result<Vec<_>, _>>()?;
    let namespace = match (args.all, &flags.namespace) {
        (true, None) => {
            return Err(Error::usage_hint(
                "--all needs a namespace",
                "kubectl k3k delete --all -n NAMESPACE",
            ));
        }
        (true, Some(namespace)) => Some(namespace.as_str()),
        (false, _) => None,
    };
    let dry = args.dry_run.dry_run;
    if dry == DryRun::None && !args.yes && !Terminal::interactive() {
        return Err(Error::Unconfirmed { what: "delete".to_owned(), command: with_yes(args, flags) });
    }
    let connection = connect::connect(flags, terminal).await?;
    let clusters = chosen(args, &connection, terminal, &targets, namespace).await?;
    if clusters.is_empty() {
        return Ok(Exit::Done);
    }
    if dry == DryRun::Client {
        for cluster in &clusters {
            say_deleted(terminal, cluster, dry)?;
        }
        return Ok(Exit::Done);
    }
    if dry == DryRun::None && !args.yes {
        confirm(&connection, terminal, &clusters, namespace).await?;
    }
    let removal = Removal {
        dry,
        wait: args.wait.waits(),
        timeout: args.wait.timeout,
        keep_kubeconfig: args.keep_kubeconfig,
    };
    for cluster in &clusters {
        remove(&connection, terminal, cluster, &removal).await?;
    }
    Ok(Exit::Done)
}

/// How to delete.
pub(super) struct Removal {
    /// Whether to.
    pub(super) dry: DryRun,
    /// Whether to wait.
    pub(super) wait: bool,
    /// How long for each cluster.
    pub(super) timeout: Duration,
    /// Whether to leave the kubeconfig alone.
    pub(super) keep_kubeconfig: bool,
}

async fn chosen(
    args: &DeleteArgs,
    connection: &Connection,
    terminal: &Terminal,
    targets: &[Target],
    namespace: Option<&str>,
) -> Result<Vec<Cluster>, Error> {
    if let Some(namespace) = namespace {
        let list = clusters::api(connection, namespace)
            .list(&ListParams::default())
            .await
            .map_err(|error| connection.explain(Action::new("list", RESOURCE).within(namespace), &error))?;
        if list.items.is_empty() {
            terminal.note(&format!("No clusters found in namespace \"{namespace}\"."));
        }
        return Ok(list.items);
    }
    let mut found = Vec::new();
    for target in targets {
        match clusters::find(connection, target).await {
            Ok(object) => found.push(clusters::view(&object)?),
            Err(Error::NotFound { .. }) if args.ignore_not_found => {}
            // All are found before the first is deleted.
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The same command with its confirmation.
fn with_yes(args: &DeleteArgs, flags: &ConnectionFlags) -> String {
    let mut command = "kubectl k3k delete".to_owned();
    for name in &args.names {
        let _ = write!(command, " {name}");
    }
    if args.all {
        command.push_str(" --all");
    }
    if let Some(context) = &flags.context {
        let _ = write!(command, " --context {context}");
    }
    if let Some(namespace) = &flags.namespace {
        let _ = write!(command, " -n {namespace}");
    }
    command + " --yes"
}

async fn confirm(
    connection: &Connection,
    terminal: &Terminal,
    clusters: &[Cluster],
    all_in: Option<&str>,
) -> Result<(), Error> {
    for cluster in clusters {
        let (name, namespace) = place(cluster);
        let pods = remains::count(connection, namespace, "Pod", &remains::selectors(name)[1]).await;
        let pods = pods.map_or_else(|| "its pods".to_owned(), |pods| format!("{pods} tenant pods"));
        let servers = cluster.spec.servers();
        let plural = if servers == 1 { "" } else { "s" };
        let data = match cluster.spec.persistence() {
            Storage::Ephemeral => "its data".to_owned(),
            Storage::Dynamic { size, .. } => format!("{servers} volume{plural} of {}", size.0),
        };
        terminal.note(&format!(
            "This deletes cluster {name} (namespace {namespace}, context {}): {servers} server{plural}, {pods}, \
             and {data}, which cannot be restored.",
            connection.context
        ));
    }
    let agreed = match (all_in, clusters) {
        (Some(namespace), _) => {
            let question =
                format!("Type the namespace \"{namespace}\" to delete its {} clusters: ", clusters.len());
            Terminal::ask(&question).is_some_and(|answer| answer == namespace)
        }
        (None, [one]) => Terminal::confirm(&format!("Delete {}?", place(one).0)),
        (None, many) => Terminal::confirm(&format!("Delete these {} clusters?", many.len())),
    };
    if agreed { Ok(()) } else { Err(Error::Declined) }
}

fn place(cluster: &Cluster) -> (&str, &str) {
    let metadata = &cluster.metadata;
    (metadata.name.as_deref().unwrap_or_default(), metadata.namespace.as_deref().unwrap_or_default())
}

fn say_deleted(terminal: &Terminal, cluster: &Cluster, dry: DryRun) -> Result<(), Error> {
    terminal.data(&format!("cluster.k3k.io/{} deleted{}\n", place(cluster).0, dry.suffix()))
}

/// Deletes one cluster, waits, cleans up.
pub(super) async fn remove(
    connection: &Connection,
    terminal: &Terminal,
    cluster: &Cluster,
    removal: &Removal,
) -> Result<(), Error> {
    let (name, namespace) = place(cluster);
    let uid = cluster.metadata.uid.clone().unwrap_or_default();
    let parameters = DeleteParams {
        dry_run: removal.dry == DryRun::Server,
        propagation_policy: Some(PropagationPolicy::Background),
        // A cluster of the same name that was made meanwhile is not the one that was confirmed.
        preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    let gone = match clusters::api(connection, namespace).delete(name, &parameters).await {
        Ok(result) => result.is_right(),
        Err(kube::Error::Api(status)) if status.is_not_found() => true,
        Err(error) => {
            return Err(
                connection.explain(Action::new("delete", RESOURCE).on(name).within(namespace), &error)
            );
        }
    };
    if removal.dry != DryRun::None {
        return say_deleted(terminal, cluster, removal.dry);
    }
    if !removal.wait {
        forget(connection, terminal, &uid, removal)?;
        return say_deleted(terminal, cluster, removal.dry);
    }
    let mut progress = Progress::new(terminal, name);
    let mut patience = Patience::new(removal.timeout);
    let outcome = async {
        if !gone {
            until_gone(connection, cluster, &uid, &mut patience, &mut progress).await?;
        }
        progress.done("Cluster", "removed");
        let unseen = remains::gone(connection, namespace, name, &mut patience, &mut progress).await?;
        namespace_too(connection, terminal, namespace, &mut patience, &mut progress).await?;
        Ok(unseen)
    }
    .await;
    let unseen = outcome.map_err(|early| {
        progress.clear();
        explain(early, cluster, removal.timeout)
    })?;
    if !unseen.is_empty() {
        terminal.warn(&format!("you may not see {}: whether all are gone is not known", unseen.join(", ")));
    }
    forget(connection, terminal, &uid, removal)?;
    say_deleted(terminal, cluster, removal.dry)
}

async fn until_gone(
    connection: &Connection,
    cluster: &Cluster,
    uid: &str,
    patience: &mut Patience,
    progress: &mut Progress,
) -> Result<(), Early> {
    let (name, namespace) = place(cluster);
    let mut watch = pin!(watcher::watch_object(clusters::api(connection, namespace), name).default_backoff());
    progress.show("Cluster", "waiting for the controller to stop it");
    loop {
        match patience.next(&mut watch, progress).await {
            Ok(Some(Ok(Some(seen)))) if seen.metadata.uid.as_deref() == Some(uid) => {
                let status = seen.status.unwrap_or_default();
                let ready = k3k_api::conditions::find(&status.conditions, k3k_api::conditions::READY);
                if let Some(ready) =
                    ready.filter(|ready| ready.reason == k3k_api::conditions::reason::TERMINATING)
                    && !ready.message.is_empty()
                {
                    progress.show("Cluster", &ready.message);
                }
            }
            // Gone, or another one of that name.
            Ok(Some(Ok(_)) | None) => return Ok(()),
            Ok(Some(Err(error))) => {
                let action = Action::new("watch", RESOURCE).on(name).within(namespace);
                match connection.explain_watch(action, &error) {
                    error @ (Error::Forbidden { .. } | Error::Unauthorized { .. }) => {
                        return Err(Early::Failed(error));
                    }
                    Error::NotInstalled { .. } => return Ok(()),
                    error => progress.show("Connection", &format!("lost, trying again: {error}")),
                }
            }
            Err(None) => return Err(Early::TimedOut("the controller has not released it".to_owned())),
            Err(Some(())) => return Err(Early::Stopped),
        }
    }
}

/// Removes the namespace if `create` made it and nothing else lives there.
async fn namespace_too(
    connection: &Connection,
    terminal: &Terminal,
    name: &str,
    patience: &mut Patience,
    progress: &mut Progress,
) -> Result<(), Early> {
    let api = Api::<Namespace>::all(connection.client.clone());
    // Whoever may not look at namespaces did not have one made.
    let Ok(Some(namespace)) = api.get_opt(name).await else { return Ok(()) };
    let labels = namespace.metadata.labels.unwrap_or_default();
    if labels.get(labels::MANAGED_BY).map(String::as_str) != Some(labels::MANAGED_BY_PLUGIN) {
        return Ok(());
    }
    let kept = |why: &str| terminal.note(&format!("Namespace \"{name}\" is kept: {why}."));
    match clusters::api(connection, name).list_metadata(&ListParams::default().limit(1)).await {
        Ok(others) if others.items.is_empty() => {}
        Ok(_) => {
            kept("another cluster lives there");
            return Ok(());
        }
        Err(_) => {
            kept("whether other clusters live there is not known");
            return Ok(());
        }
    }
    match remains::foreign(connection, name).await {
        Ok(foreign) if foreign.is_empty() => {}
        Ok(foreign) => {
            kept(&format!("it holds {}, which k3k did not make", foreign.join(", ")));
            return Ok(());
        }
        Err(_) => {
            kept("whether it holds anything else is not known");
            return Ok(());
        }
    }
    progress.show("Namespace", name);
    let uid = namespace.metadata.uid.clone();
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid: uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    match api.delete(name, &parameters).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => {
            let action = Action::new("delete", "namespaces").on(name);
            match connection.explain(action, &error) {
                Error::Forbidden { .. } => {
                    kept("you may not delete it");
                    return Ok(());
                }
                error => return Err(Early::Failed(error)),
            }
        }
    }
    let mut watch = pin!(watcher::watch_object(api, name).default_backoff());
    loop {
        match patience.next(&mut watch, progress).await {
            Ok(Some(Ok(Some(seen)))) if seen.metadata.uid == uid => {}
            Ok(Some(Ok(_)) | None) => break,
            // The watch comes back by itself.
            Ok(Some(Err(_))) => {}
            Err(None) => return Err(Early::TimedOut(format!("namespace \"{name}\" is still being deleted"))),
            Err(Some(())) => return Err(Early::Stopped),
        }
    }
    progress.done("Namespace", &format!("{name} removed"));
    Ok(())
}

fn forget(connection: &Connection, terminal: &Terminal, uid: &str, removal: &Removal) -> Result<(), Error> {
    if removal.keep_kubeconfig {
        return Ok(());
    }
    let removed = merge::remove(&connection.files, |origin| origin.uid == uid)?;
    kubeconfig::tell_removed(&removed, |line| terminal.note(line));
    Ok(())
}

fn explain(early: Early, cluster: &Cluster, timeout: Duration) -> Error {
    let (name, namespace) = place(cluster);
    let shown = short(name, namespace);
    match early {
        Early::Failed(error) => error,
        Early::Stopped => Error::Interrupted {
            message: "Stopped waiting. The cluster is still being deleted.".to_owned(),
            notes: vec![("look", format!("kubectl k3k describe {shown}"))],
        },
        Early::TimedOut(what) => Error::Waited {
            message: format!("{name} is not gone after {}: {what}", age::short(timeout)),
            notes: vec![
                ("look", format!("kubectl get all -n {namespace}")),
                (
                    "check",
                    format!("that the controller runs: kubectl get pods -n {}", crate::install::NAMESPACE),
                ),
                ("later", format!("kubectl k3k kubeconfig remove {shown}")),
            ],
        },
    }
}

impl From<Error> for Early {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
