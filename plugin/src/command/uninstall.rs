//! `uninstall`: everything that `install` made, in the reverse order.

use super::delete::{self, Removal};
use super::host;
use super::remains::Patience;
use crate::cli::{ConnectionFlags, DryRun, UninstallArgs};
use crate::clusters;
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::install::{NAMESPACE, apply, kinds};
use crate::output::object;
use crate::output::progress::Progress;
use crate::output::{age, terminal::Terminal};
use k3k_api::v1beta1::Cluster;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::Value;
use std::fmt::Write as _;
use std::pin::pin;
use std::time::Duration;

/// Runs `uninstall`.
pub(super) async fn run(
    args: &UninstallArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let namespace = flags.namespace.as_deref().unwrap_or(NAMESPACE);
    if !args.yes && !Terminal::interactive() {
        return Err(Error::Unconfirmed { what: "uninstall K3k".to_owned(), command: with_yes(args, flags) });
    }
    let connection = connect::connect_here(flags, terminal).await?;
    host::not_helms(&connection, namespace).await?;
    let clusters = all_clusters(&connection).await?;
    if !clusters.is_empty() && !args.delete_clusters {
        let names: Vec<String> = clusters.iter().map(shown).collect();
        return Err(Error::State {
            message: format!("{} clusters exist: {}", clusters.len(), names.join(", ")),
            notes: vec![
                ("delete", "kubectl k3k delete NAMESPACE/NAME".to_owned()),
                ("or", "kubectl k3k uninstall --delete-clusters, which deletes them all".to_owned()),
            ],
        });
    }
    let objects = apply::inventory(&connection, namespace).await?;
    let objects: Vec<&Value> = objects.iter().filter(|object| args.crds || object["kind"] != CRD).collect();
    if objects.is_empty() && clusters.is_empty() {
        terminal.note(&format!("Nothing of K3k is installed in context \"{}\".", connection.context));
        return Ok(Exit::Done);
    }
    if !args.yes {
        let more = if args.crds { ", with all policies" } else { "" };
        terminal.note(&format!(
            "This removes K3k from context {} (namespace {namespace}): {} clusters and {} objects{more}.",
            connection.context,
            clusters.len(),
            objects.len()
        ));
        if !Terminal::confirm("Uninstall K3k?") {
            return Err(Error::Declined);
        }
    }
    // While the controller still runs, for it has to stop what they run.
    let removal =
        Removal { dry: DryRun::None, wait: true, timeout: args.wait.timeout, keep_kubeconfig: false };
    for cluster in &clusters {
        delete::remove(&connection, terminal, cluster, &removal).await?;
    }

    let mut progress = Progress::new(terminal, "uninstall");
    progress.show("Objects", "deleting");
    // The webhook's registration comes first in this order: without the webhook it would refuse everything.
    for object in &objects {
        apply::delete(&connection, object).await?;
        terminal.data(&format!("{} deleted\n", object::reference(object)))?;
    }
    progress.done("Objects", &format!("{} deleted", objects.len()));
    if args.wait.waits() {
        let mut patience = Patience::new(args.wait.timeout);
        for object in objects.iter().filter(|object| object["kind"] == "Namespace" || object["kind"] == CRD) {
            gone(&connection, object, args.wait.timeout, &mut patience, &mut progress).await?;
        }
    }
    drop(progress);
    if !args.crds {
        terminal.note("The resource definitions and all policies are kept (--crds removes them).");
    }
    Ok(Exit::Done)
}

/// Kind of the resource definitions.
const CRD: &str = "CustomResourceDefinition";

/// The same command with its confirmation.
fn with_yes(args: &UninstallArgs, flags: &ConnectionFlags) -> String {
    let mut command = "kubectl k3k uninstall".to_owned();
    for (set, flag) in [(args.delete_clusters, " --delete-clusters"), (args.crds, " --crds")] {
        command.push_str(if set { flag } else { "" });
    }
    for (name, value) in [("--context", &flags.context), ("-n", &flags.namespace)] {
        if let Some(value) = value {
            let _ = write!(command, " {name} {value}");
        }
    }
    command + " --yes"
}

fn shown(cluster: &Cluster) -> String {
    format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any())
}

async fn all_clusters(connection: &Connection) -> Result<Vec<Cluster>, Error> {
    match Api::<Cluster>::all(connection.client.clone()).list(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(error) => match connection.explain(Action::new("list", clusters::RESOURCE), &error) {
            // Half an installation can be removed too.
            Error::NotInstalled { .. } => Ok(Vec::new()),
            error => Err(error),
        },
    }
}

async fn gone(
    connection: &Connection,
    object: &Value,
    timeout: Duration,
    patience: &mut Patience,
    progress: &mut Progress,
) -> Result<(), Error> {
    let Some((resource, _)) = kinds::of(object) else { return Ok(()) };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let reference = object::reference(object);
    progress.show("Waiting", &format!("for {reference} to be gone"));
    // Only metadata: watching whole definitions would transfer their schemas.
    let api = Api::<kube::core::PartialObjectMeta<kube::core::DynamicObject>>::all_with(
        connection.client.clone(),
        &resource,
    );
    let mut watch = pin!(watcher::watch_object(api, name).default_backoff());
    loop {
        match patience.next(&mut watch, progress).await {
            Ok(Some(Ok(Some(seen))))
                if seen.metadata.uid.as_deref() == object["metadata"]["uid"].as_str() => {}
            Ok(Some(Ok(_)) | None) => return Ok(()),
            // The watch comes back by itself.
            Ok(Some(Err(_))) => {}
            Err(None) => {
                return Err(Error::Waited {
                    message: format!("{reference} is not gone after {}", age::short(timeout)),
                    notes: vec![("look", format!("kubectl get {reference} -o yaml"))],
                });
            }
            Err(Some(())) => {
                progress.clear();
                return Err(Error::Interrupted {
                    message: "Stopped waiting. The rest is still being deleted.".to_owned(),
                    notes: vec![("look", format!("kubectl get {reference}"))],
                });
            }
        }
    }
}
