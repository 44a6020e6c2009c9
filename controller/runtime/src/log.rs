//! Log flags and the subscriber behind them: the same for every server.

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How to log, on standard error.
#[derive(clap::Args, Clone, Debug)]
pub struct LogArgs {
    /// What to log, for example `info` or `info,k3k_kubelet=debug`.
    #[arg(long, env = "K3K_LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    log_level: String,
    /// How to write a log entry.
    #[arg(long, env = "K3K_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    log_format: Format,
}

/// The shape of one log entry.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// One line for people.
    Text,
    /// One JSON object for machines.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter does not parse.
    #[error("--log-level: {filter:?} is not a filter such as \"info\" or \"info,kube=debug\": {source}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Logging was set up before.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}

impl LogArgs {
    /// Installs the process-wide subscriber. Fails on a filter that does not parse, and when called twice.
    pub fn init(&self) -> Result<(), Error> {
        let filter = self.filter()?;
        let subscriber =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
        match self.log_format {
            Format::Text => subscriber.finish().try_init()?,
            Format::Json => subscriber.json().flatten_event(true).finish().try_init()?,
        }
        Ok(())
    }

    fn filter(&self) -> Result<EnvFilter, Error> {
        EnvFilter::try_new(&self.log_level)
            .map_err(|source| Error::Filter { filter: self.log_level.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        log: LogArgs,
    }

    #[test]
    fn flags_choose_filter_and_format() {
        let log = Command::parse_from(["x", "--log-level=warn,kube=debug", "--log-format=json"]).log;
        assert_eq!(log.log_format, Format::Json);
        assert_eq!(log.filter().unwrap().to_string(), "kube=debug,warn");
    }

    #[test]
    fn a_bad_filter_names_the_flag() {
        let log = Command::parse_from(["x", "--log-level=kube=loud"]).log;
        let error = log.init().unwrap_err().to_string();
        assert!(error.starts_with("--log-level: \"kube=loud\""), "{error}");
    }

    #[test]
    fn an_unknown_format_is_refused() {
        assert!(Command::try_parse_from(["x", "--log-format=yaml"]).is_err());
    }
}
