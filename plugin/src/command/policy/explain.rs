//! `policy explain`: why a pod is as it is, what a namespace is held to, what a rule is about.

mod namespace;
mod page;
mod pod;
mod rule;

use crate::cli::{ConnectionFlags, PolicyExplainArgs};
use crate::connect::{self, Connection};
use crate::error::{Error, Exit};
use crate::output::terminal::Terminal;
use crate::policies::{self, Meant};
use k3k_policy::Governing;
use std::sync::Arc;

/// Runs `policy explain`.
pub(super) async fn run(
    args: &PolicyExplainArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    // `--cluster` names one of k3k's here.
    let flags = &super::test::without_cluster(flags);
    let what: Vec<&str> = args.what.iter().map(String::as_str).collect();
    let text = match (what.as_slice(), &args.filename) {
        ([], Some(file)) => pod::file(args, file, flags, terminal).await?,
        ([], None) => match &flags.namespace {
            Some(namespace) => namespace::explain(args, namespace, flags, terminal).await?,
            None => {
                return Err(Error::usage_hint(
                    "what is to be explained?",
                    "pod NAME, -f FILE, -n NAMESPACE, or a rule such as images.digest",
                ));
            }
        },
        ([kind, name], _) if is_pod(kind) => pod::live(args, name, flags, terminal).await?,
        ([one], _) => match one.split_once('/') {
            Some((kind, name)) if is_pod(kind) => pod::live(args, name, flags, terminal).await?,
            _ if is_pod(one) => {
                return Err(Error::usage_hint(
                    "which pod?",
                    "kubectl k3k policy explain pod NAME -n NAMESPACE",
                ));
            }
            _ => rule::explain(one)?,
        },
        (words, _) => {
            return Err(Error::usage_hint(
                format!("\"{}\" cannot be explained", words.join(" ")),
                "pod NAME, -f FILE, -n NAMESPACE, or a rule such as images.digest",
            ));
        }
    };
    terminal.data(&text)?;
    Ok(Exit::Done)
}

fn is_pod(word: &str) -> bool {
    matches!(word, "pod" | "pods" | "po")
}

/// The policy that `--policy` names.
async fn chosen(policy: &str, flags: &ConnectionFlags, terminal: &Terminal) -> Result<Governing, Error> {
    let policy = match policies::meant(policy)? {
        Meant::File(path) => policies::from_file(&path)?,
        Meant::Name(name) => {
            let connection = connect::connect(flags, terminal).await?;
            policies::compile(&policies::find(&connection, &name).await?)?
        }
    };
    Ok(Governing::Named(Arc::new(policy)))
}

/// What governs a namespace of the host, or what `--policy` names instead.
async fn governing(
    args: &PolicyExplainArgs,
    namespace: &str,
    connection: &Connection,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Governing, Error> {
    match &args.policy {
        Some(policy) => chosen(policy, flags, terminal).await,
        None => policies::governing(connection, &policies::namespace_of(connection, namespace).await?).await,
    }
}
