//! `policy …`: what clusters are held to.

mod audit;
mod bind;
mod break_glass;
mod changes;
mod create;
mod defaults;
mod delete;
mod describe;
mod explain;
mod get;
mod kinds;
mod sentences;
mod test;
mod unbind;
mod verdict;

use crate::cli::{ConnectionFlags, PolicyCommand};
use crate::error::{Error, Exit};
use crate::output::terminal::Terminal;

/// Runs `policy …`.
pub(super) async fn run(
    command: PolicyCommand,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    match command {
        PolicyCommand::Create(args) => create::run(&args, flags, terminal).await,
        PolicyCommand::Get(args) => get::run(&args, flags, terminal).await,
        PolicyCommand::Describe(args) => describe::run(&args, flags, terminal).await,
        PolicyCommand::Bind(args) => bind::run(&args, flags, terminal).await,
        PolicyCommand::Unbind(args) => unbind::run(&args, flags, terminal).await,
        PolicyCommand::Delete(args) => delete::run(&args, flags, terminal).await,
        PolicyCommand::Test(args) => test::run(&args, flags, terminal).await,
        PolicyCommand::Explain(args) => explain::run(&args, flags, terminal).await,
        PolicyCommand::Audit(args) => audit::run(&args, flags, terminal).await,
        PolicyCommand::BreakGlass(args) => break_glass::run(&args, flags, terminal).await,
    }
}

/// `1 namespace`, `2 namespaces`.
fn counted(count: usize, what: &str) -> String {
    let plural = match what.as_bytes().last() {
        Some(b'y') => format!("{}ies", &what[..what.len() - 1]),
        Some(b's') => format!("{what}es"),
        _ => format!("{what}s"),
    };
    if count == 1 { format!("1 {what}") } else { format!("{count} {plural}") }
}
