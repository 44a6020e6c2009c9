//! `policy unbind`: take namespaces away from their policy.

use super::bind;
use crate::cli::{ConnectionFlags, DryRun, PolicyUnbindArgs};
use crate::connect;
use crate::error::{Error, Exit};
use crate::output::terminal::Terminal;
use crate::policies;

/// Runs `policy unbind`.
pub(super) async fn run(
    args: &PolicyUnbindArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let mut names =
        args.namespaces.iter().map(|name| policies::namespace(name)).collect::<Result<Vec<_>, _>>()?;
    names.sort();
    names.dedup();
    let dry = args.dry_run.dry_run;
    let connection = connect::connect(flags, terminal).await?;
    let mut namespaces = Vec::new();
    for name in &names {
        namespaces.push(policies::namespace_of(&connection, name).await?);
    }
    for namespace in &namespaces {
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let Some(policy) = policies::of_namespace(namespace) else {
            terminal.data(&format!("namespace/{name} unchanged{}\n", dry.suffix()))?;
            terminal.note(&format!("  {name} is bound to no policy."));
            continue;
        };
        if dry != DryRun::Client {
            bind::label(&connection, namespace, None, dry).await?;
        }
        terminal.data(&format!(
            "namespace/{name} unbound from {}/{policy}{}\n",
            policies::REFERENCE,
            dry.suffix()
        ))?;
        terminal.note(&format!(
            "  Clusters in {name} are held to the default policy from now on: Pod Security Standard Baseline."
        ));
    }
    Ok(Exit::Done)
}
