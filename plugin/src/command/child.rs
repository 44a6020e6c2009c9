//! A program that is run for the user, with a kubeconfig that lives as long as it runs.

use crate::error::{Error, Exit};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use tempfile::NamedTempFile;

/// Runs `program` with this kubeconfig and gives its exit code. Signals are passed on to it.
///
/// # Errors
/// [`Error::Io`] if the kubeconfig cannot be written or the program cannot be run.
pub(super) async fn run(program: &OsStr, args: &[OsString], kubeconfig: &str) -> Result<Exit, Error> {
    let file = temporary(kubeconfig)?;
    let shown = program.display();
    let mut command = tokio::process::Command::new(program);
    command.args(args).env("KUBECONFIG", file.path());
    let mut signals = Signals::listen()?;
    let mut child = command.spawn().map_err(Error::io(format!("run {shown}")))?;
    let id = child.id();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(Error::io(format!("wait for {shown}")))?,
            signal = signals.next() => signal.pass_on(id),
        }
    };
    // The file goes away here, also after signals: they were passed on instead of ending us.
    drop(file);
    Ok(Exit::Child(code(status)))
}

/// A kubeconfig that only we can read, in a folder that only we can list if there is one.
pub(super) fn temporary(text: &str) -> Result<NamedTempFile, Error> {
    let failed = || Error::io("write a temporary kubeconfig");
    let folder = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let mut builder = tempfile::Builder::new();
    builder.prefix("kubectl-k3k-").suffix(".yaml");
    let mut file = match folder.and_then(|folder| builder.tempfile_in(folder).ok()) {
        Some(file) => file,
        None => builder.tempfile().map_err(failed())?,
    };
    file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(failed())?;
    Ok(file)
}

/// The first file of that name on PATH that can be run.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let name = format!("{name}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(&name)).find(|path| runnable(path))
}

#[cfg(unix)]
fn runnable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn runnable(path: &Path) -> bool {
    path.is_file()
}

/// The child's code; 128 and the signal's number if a signal ended it, as shells do.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        if let Some(signal) = status.signal() {
            return u8::try_from(128 + signal).unwrap_or(u8::MAX);
        }
    }
    status.code().map_or(1, |code| u8::try_from(code).unwrap_or(1))
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

/// A signal that reached us while the child runs.
#[cfg(unix)]
enum Passed {
    /// The terminal sent it to the child as well.
    Interrupt,
    /// Meant for us alone, so the child must be told.
    Told(rustix::process::Signal),
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(Error::io("listen for signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Passed {
        tokio::select! {
            _ = self.interrupt.recv() => Passed::Interrupt,
            _ = self.terminate.recv() => Passed::Told(rustix::process::Signal::TERM),
            _ = self.hangup.recv() => Passed::Told(rustix::process::Signal::HUP),
        }
    }
}

#[cfg(unix)]
impl Passed {
    fn pass_on(self, child: Option<u32>) {
        let Self::Told(signal) = self else { return };
        let id = child.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            // It may have ended in this moment; then there is nobody to tell.
            let _ = rustix::process::kill_process(id, signal);
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
struct Passed;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self, Error> {
        Ok(Self)
    }

    /// The console tells the child as well, so that we only have to stay.
    async fn next(&mut self) -> Passed {
        let _ = tokio::signal::ctrl_c().await;
        Passed
    }
}

#[cfg(not(unix))]
impl Passed {
    fn pass_on(self, _child: Option<u32>) {}
}
