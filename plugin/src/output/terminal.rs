//! The two streams. Data goes to stdout; progress, warnings, questions and errors go to stderr.

use crate::error::Error;
use anstream::ColorChoice;
use indicatif::{MultiProgress, ProgressDrawTarget};
use owo_colors::OwoColorize as _;
use std::collections::HashSet;
use std::env;
use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a command writes. Clones share it.
#[derive(Clone)]
pub(crate) struct Terminal {
    /// Live lines, if stderr is a terminal that can show them.
    live: Option<MultiProgress>,
    /// Whether the locale knows more than ASCII.
    unicode: bool,
    warned: Arc<Mutex<HashSet<String>>>,
}

impl Terminal {
    /// Looks at the environment once: no live lines without a terminal, on a dumb one, in CI or with NO_COLOR.
    pub(crate) fn detect() -> Self {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let fancy = std::io::stderr().is_terminal() && !dumb && !set("NO_COLOR") && !set("CI");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
            .unwrap_or_default()
            .to_ascii_lowercase();
        if !fancy && !set("CLICOLOR_FORCE") {
            ColorChoice::Never.write_global();
        }
        Self {
            live: fancy.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            unicode: cfg!(windows) || locale.contains("utf-8") || locale.contains("utf8"),
            warned: Arc::default(),
        }
    }

    /// The live lines, if there are any.
    pub(crate) fn live(&self) -> Option<&MultiProgress> {
        self.live.as_ref()
    }

    /// The mark of a step that succeeded.
    pub(crate) fn tick(&self) -> &'static str {
        if self.unicode { "✓" } else { "+" }
    }

    /// The mark of a step that failed.
    pub(crate) fn cross(&self) -> &'static str {
        if self.unicode { "✗" } else { "x" }
    }

    /// Whether to use more than ASCII.
    pub(crate) fn unicode(&self) -> bool {
        self.unicode
    }

    /// Writes data to stdout as it is.
    ///
    /// # Errors
    /// [`Error::Closed`] when the reader has gone, which is not a failure; other errors of the stream.
    pub(crate) fn data(&self, text: &str) -> Result<(), Error> {
        self.quietly(|| {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        })
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Error::Closed,
            _ => Error::Io { what: "write to stdout".to_owned(), source: error },
        })
    }

    /// One line for people on stderr.
    pub(crate) fn note(&self, line: &str) {
        // Nobody can be told that stderr is closed.
        let _ = self.quietly(|| writeln!(anstream::stderr(), "{line}"));
    }

    /// A warning on stderr, each text once.
    pub(crate) fn warn(&self, text: &str) {
        let new = self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned());
        if new {
            self.note(&format!("{} {text}", "Warning:".yellow()));
        }
    }

    /// How many different warnings were given.
    pub(crate) fn warnings(&self) -> usize {
        self.warned.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// An error with its notes on stderr.
    pub(crate) fn error(&self, error: &Error) {
        match error {
            Error::Interrupted { message, .. } => self.note(&format!("\n{message}")),
            Error::Declined => self.note("Nothing was changed."),
            _ => self.note(&format!("{} {error}", "error:".red().bold())),
        }
        self.notes(&error.notes());
    }

    /// Labelled lines on stderr, the texts in one column.
    pub(crate) fn notes(&self, notes: &[(&str, String)]) {
        let width = notes.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
        for (label, text) in notes {
            let mut lines = text.lines();
            let label = format!("{label}:");
            self.note(&format!("  {label:<width$} {}", lines.next().unwrap_or_default(), width = width + 1));
            for line in lines {
                self.note(&format!("  {:width$} {line}", "", width = width + 1));
            }
        }
    }

    /// Whether a person can be asked.
    pub(crate) fn interactive() -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks on stderr and reads a line from stdin. Anything but `y` or `yes` is no.
    pub(crate) fn confirm(question: &str) -> bool {
        Self::ask(&format!("{question} [y/N] "))
            .is_some_and(|answer| matches!(answer.as_str(), "y" | "Y" | "yes"))
    }

    /// Asks on stderr and reads a line from stdin.
    pub(crate) fn ask(question: &str) -> Option<String> {
        let mut stderr = anstream::stderr();
        write!(stderr, "{question}").and_then(|()| stderr.flush()).ok()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }

    /// Runs `write` with the live lines out of its way.
    fn quietly<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.live {
            Some(live) => live.suspend(write),
            None => write(),
        }
    }
}

/// A text that somebody else wrote, without what would give orders to the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
