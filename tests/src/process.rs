//! A child process that cannot outlive the test that started it.

use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Ends the child when its own standard input is closed, which the kernel does whenever and however the test ends:
/// also when a shared server is never dropped, and when the test is killed. Then removes the directory `$1`, if any.
const SUPERVISE: &str = r#"
directory=$1; shift
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
{ cat <&3 >/dev/null; kill -KILL "$child"; [ -z "$directory" ] || rm -rf "$directory"; } 2>/dev/null &
exec 3<&-
wait "$child"
"#;

/// A running child. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    supervisor: Child,
    lifeline: Option<ChildStdin>,
}

impl Process {
    /// Starts `program` with its output in `log`. `directory` is removed after it has ended.
    pub(crate) fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        log: &Path,
        directory: Option<&Path>,
    ) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let errors = output.try_clone()?;
        let mut supervisor = Command::new("/bin/sh")
            .args(["-c", SUPERVISE, "supervise"])
            .arg(directory.unwrap_or_else(|| Path::new("")))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let lifeline = supervisor.stdin.take();
        Ok(Self { supervisor, lifeline })
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.supervisor.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.supervisor.wait();
    }
}
