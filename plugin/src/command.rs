//! The commands: each builds a request, sends it, waits for its effect and prints.

mod child;
mod connect;
mod create;
mod delete;
mod describe;
mod get;
mod host;
mod install;
mod interrupt;
mod join;
mod kubeconfig;
mod kubectl;
mod pause;
mod policy;
mod remains;
mod uninstall;
mod upgrade;
mod version;

use crate::cli::{self, Cli, Command, KubeconfigCommand, LegacyCluster};
use crate::error::{Error, Exit};
use crate::output::terminal::Terminal;
use clap::FromArgMatches as _;
use std::ffi::OsString;

/// Parses the command line, runs it, prints what went wrong.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.collect();
    let terminal = Terminal::detect();
    let tree = cli::tree(args.first().map(OsString::as_os_str));
    let parsed = tree.clone().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout, errors to stderr; a closed stream is nobody's fault.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let strict = cli.connection.warnings_as_errors;
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start the runtime"))
        .and_then(|runtime| runtime.block_on(run(cli, tree, &terminal)));
    match result {
        Ok(Exit::Done) if strict && terminal.warnings() > 0 => Exit::Error,
        Ok(exit) => exit,
        Err(error) => {
            if error.exit() != Exit::Done {
                terminal.error(&error);
            }
            error.exit()
        }
    }
}

async fn run(cli: Cli, mut tree: clap::Command, terminal: &Terminal) -> Result<Exit, Error> {
    let flags = &cli.connection;
    let Some(command) = cli.command else {
        terminal.data(&tree.render_help().to_string())?;
        return Ok(Exit::Done);
    };
    match command {
        Command::Create(args) => Box::pin(create::run(&args, flags, terminal)).await,
        Command::Cluster(LegacyCluster::Create(args)) => {
            if flags.token.is_some() {
                return Err(Error::usage_hint(
                    "--token is the bearer token for the host's API here, not the cluster's token",
                    "put the cluster's token into a Secret and name it in spec.tokenSecretRef of a file for -f",
                ));
            }
            Box::pin(create::run(&args, flags, terminal)).await
        }
        Command::Get(args) | Command::Cluster(LegacyCluster::List(args)) => {
            get::run(&args, flags, terminal).await
        }
        Command::Describe(args) => describe::run(&args, flags, terminal).await,
        Command::Upgrade(args) => Box::pin(upgrade::run(&args, flags, terminal)).await,
        Command::Delete(args) | Command::Cluster(LegacyCluster::Delete(args)) => {
            delete::run(&args, flags, terminal).await
        }
        Command::Pause(args) => Box::pin(pause::pause(&args, flags, terminal)).await,
        Command::Resume(args) => pause::resume(&args, flags, terminal).await,
        Command::Kubeconfig(KubeconfigCommand::Get(args)) => kubeconfig::get(&args, flags, terminal).await,
        Command::Kubeconfig(KubeconfigCommand::Merge(args)) => {
            kubeconfig::merge(&args, flags, terminal).await
        }
        Command::Kubeconfig(KubeconfigCommand::Remove(args)) => {
            kubeconfig::remove(&args, flags, terminal).await
        }
        Command::Kubeconfig(KubeconfigCommand::Generate(args)) => {
            kubeconfig::generate(&args, flags, terminal).await
        }
        Command::Connect(args) => connect::connect(&args, flags, terminal).await,
        Command::Disconnect => connect::disconnect(flags, terminal),
        Command::Kubectl(args) => kubectl::run(&args, flags, terminal).await,
        Command::Join(args) => join::run(&args, flags, terminal).await,
        Command::Policy(command) => Box::pin(policy::run(command, flags, terminal)).await,
        Command::Install(args) => install::run(&args, flags, terminal).await,
        Command::Uninstall(args) => uninstall::run(&args, flags, terminal).await,
        Command::Version(args) => version::run(&args, flags, terminal).await,
        Command::Completion(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut tree, "kubectl-k3k", &mut script);
            terminal.data(&String::from_utf8_lossy(&script))?;
            Ok(Exit::Done)
        }
        Command::Options => {
            terminal.data(&cli::connection_flags().render_help().to_string())?;
            Ok(Exit::Done)
        }
        Command::Help(args) => {
            tree.build();
            let mut shown = &mut tree;
            for name in &args.command {
                shown = shown.find_subcommand_mut(name).ok_or_else(|| {
                    Error::usage_hint(format!("there is no command \"{name}\""), "kubectl k3k --help")
                })?;
            }
            terminal.data(&shown.render_long_help().to_string())?;
            Ok(Exit::Done)
        }
    }
}
