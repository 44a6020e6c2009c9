//! `policy delete`: remove policies that govern nothing.

use super::counted;
use crate::cli::{ConnectionFlags, DryRun, PolicyDeleteArgs};
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::output::terminal::Terminal;
use crate::policies::{self, RESOURCE};
use kube::api::{DeleteParams, Preconditions};
use std::fmt::Write as _;

/// A policy that is to go.
struct Going {
    name: String,
    uid: Option<String>,
    /// Namespaces that are bound to it.
    bound: Vec<String>,
}

/// Runs `policy delete`.
pub(super) async fn run(
    args: &PolicyDeleteArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let names = args.names.iter().map(|name| policies::name(name)).collect::<Result<Vec<_>, _>>()?;
    let dry = args.dry_run.dry_run;
    if dry == DryRun::None && !args.yes && !Terminal::interactive() {
        return Err(Error::Unconfirmed { what: "delete".to_owned(), command: with_yes(args, &names, flags) });
    }
    let connection = connect::connect(flags, terminal).await?;
    let mut going = Vec::new();
    for name in &names {
        // All are looked at before the first is deleted.
        going.extend(look(&connection, name, args).await?);
    }
    if dry == DryRun::None && !args.yes {
        confirm(terminal, &connection, &going)?;
    }
    for policy in &going {
        remove(&connection, policy, dry).await?;
        terminal.data(&format!("{}/{} deleted{}\n", policies::REFERENCE, policy.name, dry.suffix()))?;
        if !policy.bound.is_empty() {
            terminal.warn(&format!(
                "nothing new can be made in {} until a policy \"{}\" exists again, or they are bound to another",
                list(&policy.bound),
                policy.name
            ));
        }
    }
    Ok(Exit::Done)
}

async fn look(connection: &Connection, name: &str, args: &PolicyDeleteArgs) -> Result<Option<Going>, Error> {
    let object = match policies::find(connection, name).await {
        Ok(object) => object,
        Err(Error::State { .. }) if args.ignore_not_found => return Ok(None),
        Err(error) => return Err(error),
    };
    let bound: Vec<String> = policies::bound(connection, Some(name))
        .await?
        .into_iter()
        .filter_map(|namespace| namespace.metadata.name)
        .collect();
    if !bound.is_empty() && !args.force {
        return Err(Error::State {
            message: format!(
                "policy \"{name}\" governs {}: {}",
                counted(bound.len(), "namespace"),
                list(&bound)
            ),
            notes: vec![
                ("unbind", format!("kubectl k3k policy unbind {}", bound.join(" "))),
                ("or bind", format!("kubectl k3k policy bind OTHER {} --overwrite", bound.join(" "))),
                ("force", format!("kubectl k3k policy delete {name} --force")),
            ],
        });
    }
    Ok(Some(Going {
        name: name.to_owned(),
        uid: object["metadata"]["uid"].as_str().map(str::to_owned),
        bound,
    }))
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn with_yes(args: &PolicyDeleteArgs, names: &[String], flags: &ConnectionFlags) -> String {
    let mut command = format!("kubectl k3k policy delete {}", names.join(" "));
    if args.force {
        command.push_str(" --force");
    }
    if let Some(context) = &flags.context {
        let _ = write!(command, " --context {context}");
    }
    command + " --yes"
}

fn confirm(terminal: &Terminal, connection: &Connection, going: &[Going]) -> Result<(), Error> {
    for policy in going {
        let governed = match policy.bound.as_slice() {
            [] => "It governs no namespace.".to_owned(),
            bound => format!("It governs {}, where nothing new can be made afterwards.", list(bound)),
        };
        terminal.note(&format!(
            "This deletes policy {} (context {}). {governed}",
            policy.name, connection.context
        ));
    }
    let agreed = match going {
        [] => return Ok(()),
        [one] => Terminal::confirm(&format!("Delete {}?", one.name)),
        many => Terminal::confirm(&format!("Delete these {} policies?", many.len())),
    };
    if agreed { Ok(()) } else { Err(Error::Declined) }
}

async fn remove(connection: &Connection, policy: &Going, dry: DryRun) -> Result<(), Error> {
    if dry == DryRun::Client {
        return Ok(());
    }
    let parameters = DeleteParams {
        dry_run: dry == DryRun::Server,
        // A policy of the same name that was made meanwhile is not the one that was confirmed.
        preconditions: Some(Preconditions { uid: policy.uid.clone(), resource_version: None }),
        ..DeleteParams::default()
    };
    match policies::api(connection).delete(&policy.name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(connection.explain(Action::new("delete", RESOURCE).on(&policy.name), &error)),
    }
}
