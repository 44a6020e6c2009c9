//! `connect` and `disconnect`: to work with a cluster and to go back.

use super::kubeconfig::{self, shown};
use super::{child, create::short, interrupt};
use crate::cli::{ConnectArgs, ConnectionFlags};
use crate::clusters::Target;
use crate::connect::{self, Connection, Files};
use crate::error::{Error, Exit};
use crate::merge::{self, Entry};
use crate::output::terminal::Terminal;
use crate::tunnel::Tunnel;
use k3k_api::names::ClusterNames;

/// Runs `connect`.
pub(super) async fn connect(
    args: &ConnectArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let target = Target::parse(&args.name, flags.namespace.as_deref())?;
    let connection = connect::connect(flags, terminal).await?;
    let entry = kubeconfig::entry(&connection, &target, None, None).await?;
    match args.port_forward {
        Some(port) => forward(args, &connection, &target, entry, port, terminal).await,
        None if args.command.is_empty() => switch(&connection, entry, terminal).await,
        None => run(args, &entry).await,
    }
}

/// Runs `disconnect`. Nothing is asked of the host.
pub(super) fn disconnect(flags: &ConnectionFlags, terminal: &Terminal) -> Result<Exit, Error> {
    let (current, previous) = merge::back(&Files::find(flags.kubeconfig.as_deref()))?;
    terminal.note(&format!("Switched back to \"{previous}\" (was \"{current}\")."));
    Ok(Exit::Done)
}

async fn run(args: &ConnectArgs, entry: &Entry) -> Result<Exit, Error> {
    let (program, rest) =
        args.command.split_first().ok_or_else(|| Error::usage("there is no command after --"))?;
    child::run(program, rest, &kubeconfig::text(entry)?).await
}

async fn switch(connection: &Connection, entry: Entry, terminal: &Terminal) -> Result<Exit, Error> {
    let (namespace, name) = entry.origin.cluster.split_once('/').unwrap_or_default();
    let shown_name = short(name, namespace);
    // A context that leads nowhere is of no use: everything that runs afterwards would wait for it.
    if let Err(cause) = connect::answers(&kubeconfig::text(&entry)?).await {
        let server = entry.cluster.get("server").and_then(|server| server.as_str()).unwrap_or_default();
        return Err(Error::State {
            message: format!("{server} does not answer from this machine: {cause}"),
            notes: vec![
                ("tunnel", format!("kubectl k3k connect {shown_name} --port-forward")),
                (
                    "expose",
                    format!(
                        "spec.expose of the Cluster (kubectl edit clusters.k3k.io {name} -n {namespace})"
                    ),
                ),
            ],
        });
    }
    let merged = merge::add(&connection.files, &entry, merge::Options { switch: true, overwrite: false })?;
    let path = shown(&merged.path);
    match merged.previous {
        Some(previous) => terminal.note(&format!(
            "Switched to context \"{}\" in {path} (was \"{previous}\"); kubectl k3k disconnect goes back.",
            entry.name
        )),
        None => terminal.note(&format!("Context \"{}\" in {path} is the current one.", entry.name)),
    }
    Ok(Exit::Done)
}

async fn forward(
    args: &ConnectArgs,
    connection: &Connection,
    target: &Target,
    mut entry: Entry,
    port: u16,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let (namespace, name) = entry.origin.cluster.split_once('/').unwrap_or_default();
    let tunnel = Tunnel::open(connection, namespace, name, port, terminal).await?;
    let server = format!("https://{}", tunnel.address());
    // The certificate has this name wherever the API is reached.
    let name = ClusterNames(&target.name).service();
    entry.cluster.insert("tls-server-name".to_owned(), name.into());
    entry.cluster.insert("server".to_owned(), server.clone().into());
    if !args.command.is_empty() {
        return tokio::select! {
            exit = run(args, &entry) => exit,
            () = tunnel.run() => Ok(Exit::Error),
        };
    }
    let file = child::temporary(&kubeconfig::text(&entry)?)?;
    terminal.note(&format!("{server} leads to {}, until you stop this with Ctrl-C.", entry.origin.cluster));
    terminal.data(&format!("export KUBECONFIG={}\n", file.path().display()))?;
    tokio::select! {
        () = tunnel.run() => {}
        () = interrupt::asked_to_stop() => {}
    }
    drop(file);
    Ok(Exit::Done)
}
