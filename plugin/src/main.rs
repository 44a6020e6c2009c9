//! `kubectl k3k`: the command line of k3k.

mod cli;
mod clusters;
mod command;
mod connect;
mod error;
mod install;
mod manifests;
mod merge;
mod output;
mod policies;
mod tunnel;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Fails only if a provider is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ExitCode::from(command::main(std::env::args_os()).code())
}
