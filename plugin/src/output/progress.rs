//! What a waiting command shows: one live line on a terminal, a line per change elsewhere.

use super::{age, terminal::Terminal};
use indicatif::{ProgressBar, ProgressStyle};
use owo_colors::OwoColorize as _;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How often a command that waits without news says that it still does, where there is no live line.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(30);

/// The steps of one command on one subject.
pub(crate) struct Progress {
    terminal: Terminal,
    subject: String,
    started: Instant,
    current: Option<Step>,
}

struct Step {
    name: String,
    detail: String,
    /// What was said on a plain stream. News that alternate, as those of a failing pull do, are said once each.
    said: HashSet<String>,
    started: Instant,
    bar: Option<ProgressBar>,
}

/// Most that is shown of a text that somebody else wrote. The error at the end has all of it.
const WIDTH: usize = 140;

impl Progress {
    /// Starts the clock. Plain lines begin with `subject`.
    pub(crate) fn new(terminal: &Terminal, subject: &str) -> Self {
        Self {
            terminal: terminal.clone(),
            subject: subject.to_owned(),
            started: Instant::now(),
            current: None,
        }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What the command is waiting for now. Says nothing if it has been said.
    pub(crate) fn show(&mut self, name: &str, detail: &str) {
        if let Some(step) = &mut self.current
            && step.name == name
        {
            if step.detail != detail {
                detail.clone_into(&mut step.detail);
                match &step.bar {
                    Some(bar) => bar.set_message(line(name, detail)),
                    None if step.said.insert(cut(detail)) => self.plain(name, detail),
                    None => {}
                }
            }
            return;
        }
        self.drop_current();
        let bar = self.terminal.live().map(|live| {
            let bar = live.add(ProgressBar::new_spinner());
            let ticks = if self.terminal.unicode() { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " } else { "|/-\\ " };
            if let Ok(style) = ProgressStyle::with_template(" {spinner} {wide_msg} {elapsed:>5}") {
                bar.set_style(style.tick_chars(ticks));
            }
            bar.set_message(line(name, detail));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            self.plain(name, detail);
        }
        self.current = Some(Step {
            name: name.to_owned(),
            detail: detail.to_owned(),
            said: HashSet::from([cut(detail)]),
            started: Instant::now(),
            bar,
        });
    }

    /// A step that is over, with the time it took if it was shown before.
    pub(crate) fn done(&mut self, name: &str, detail: &str) {
        let step = self.take(name);
        if self.terminal.live().is_some() {
            let took = step.map_or_else(String::new, |step| age::precise(step.started.elapsed()));
            let text = format!(" {} {}  {}", self.terminal.tick().green(), line(name, detail), took.dimmed());
            self.terminal.note(text.trim_end());
        } else if step.is_none_or(|step| step.detail != detail) {
            self.plain(name, detail);
        }
    }

    /// The step that everything failed on.
    pub(crate) fn fail(&mut self, name: &str, detail: &str) {
        let step = self.take(name);
        if self.terminal.live().is_some() {
            self.terminal.note(&format!(" {} {}", self.terminal.cross().red(), line(name, detail)));
        } else if step.is_none_or(|step| step.detail != detail) {
            self.plain(name, detail);
        }
    }

    /// Says on plain streams that the command is still alive.
    pub(crate) fn heartbeat(&self) {
        if let Some(step) = &self.current
            && step.bar.is_none()
        {
            self.plain(&step.name, &format!("still waiting, {} since the start", age::short(self.elapsed())));
        }
    }

    /// Removes the live line, for example before an error.
    pub(crate) fn clear(&mut self) {
        self.drop_current();
    }

    fn take(&mut self, name: &str) -> Option<Step> {
        let step = self.current.take();
        if let Some(bar) = step.as_ref().and_then(|step| step.bar.as_ref()) {
            bar.finish_and_clear();
        }
        step.filter(|step| step.name == name)
    }

    fn drop_current(&mut self) {
        let _ = self.take("");
    }

    fn plain(&self, name: &str, detail: &str) {
        self.terminal.note(&plain_line(&self.subject, name, detail));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.drop_current();
    }
}

fn line(name: &str, detail: &str) -> String {
    format!("{name:<22} {}", cut(detail))
}

fn plain_line(subject: &str, name: &str, detail: &str) -> String {
    let mut name = name.to_owned();
    // Not an abbreviation such as API.
    if !name.as_bytes().get(1).is_some_and(u8::is_ascii_uppercase)
        && let Some(first) = name.get_mut(0..1)
    {
        first.make_ascii_lowercase();
    }
    format!("{subject}: {name}: {}", cut(detail))
}

/// One line of at most [`WIDTH`] characters.
fn cut(text: &str) -> String {
    let mut flat: String = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = flat.char_indices().nth(WIDTH) {
        flat.truncate(end);
        flat.push_str("...");
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_short_and_lower_case() {
        assert_eq!(plain_line("dev", "API", "ready"), "dev: API: ready");
        assert_eq!(plain_line("dev", "Virtual kubelet", "a\nb"), "dev: virtual kubelet: a b");
        let long = "ü".repeat(WIDTH + 1);
        assert_eq!(plain_line("dev", "X", &long), format!("dev: x: {}...", "ü".repeat(WIDTH)));
    }
}
