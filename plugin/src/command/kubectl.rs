//! `kubectl NAME -- ARGS`: kubectl with a kubeconfig that lives as long as it runs.

use super::{child, kubeconfig};
use crate::cli::{ConnectionFlags, KubectlArgs};
use crate::clusters::Target;
use crate::connect;
use crate::error::{Error, Exit};
use crate::output::terminal::Terminal;

/// Runs `kubectl`.
pub(super) async fn run(
    args: &KubectlArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let target = Target::parse(&args.name, flags.namespace.as_deref())?;
    let program = child::find("kubectl").ok_or_else(|| Error::State {
        message: "there is no kubectl on PATH".to_owned(),
        notes: vec![("or", format!("kubectl k3k kubeconfig get {} > FILE, for another client", args.name))],
    })?;
    let connection = connect::connect(flags, terminal).await?;
    let entry = kubeconfig::entry(&connection, &target, None, None).await?;
    drop(connection);
    child::run(program.as_os_str(), &args.args, &kubeconfig::text(&entry)?).await
}
