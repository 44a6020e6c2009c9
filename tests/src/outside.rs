//! Workers outside of the lab's host, which join clusters in mode hcp. See `tests/lab/outside`.

use crate::lab::succeed;
use crate::workspace;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// A worker; gone when dropped, with all that ran on it.
#[derive(Debug)]
pub struct Worker {
    name: String,
}

impl Worker {
    /// A worker that joins as `kubectl k3k join -o json` says, but for the installer: the program is there. The token lies where it
    /// says, and nowhere else.
    pub fn join(name: &str, join: &Value, token: &str) -> Result<Self> {
        let worker = Self { name: name.to_owned() };
        let _ = worker.outside("down").output();
        let file = join["tokenFile"].as_str().context("no tokenFile")?;
        let mut put = worker.outside("put").arg(file).stdin(Stdio::piped()).spawn()?;
        put.stdin.take().context("no standard input")?.write_all(token.as_bytes())?;
        anyhow::ensure!(put.wait()?.success(), "the token was not written");
        let mut up = worker.outside("up");
        for (variable, value) in join["environment"].as_object().context("no environment")? {
            up.arg(format!("{variable}={}", value.as_str().unwrap_or_default()));
        }
        let arguments = join["arguments"].as_array().context("no arguments")?;
        up.args(["--", "k3s"]).args(arguments.iter().filter_map(Value::as_str));
        // What runs on there would hold a pipe open.
        succeed(up.stdin(Stdio::null()))?;
        Ok(worker)
    }

    /// Runs a command there.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        succeed(self.outside("run").args(arguments))
    }

    /// What its agent has written.
    pub fn log(&self) -> String {
        succeed(&mut self.outside("log")).unwrap_or_else(|error| format!("{error:#}"))
    }

    fn outside(&self, action: &str) -> Command {
        let mut command = Command::new(workspace::path("tests/lab/outside"));
        command.args([action, &self.name]);
        command
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.outside("down").output();
    }
}
