//! What our own processes use: found by the UID of their pod in their cgroup, so that nobody else's are taken for them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long idleness is watched.
const IDLE: Duration = Duration::from_secs(60);

/// One of our processes.
pub(crate) struct Process {
    /// The program.
    pub(crate) program: String,
    pid: u32,
    /// Its container's cgroup that counts processor time.
    cgroup: PathBuf,
}

/// What a process uses.
pub(crate) struct Footprint {
    /// The program.
    pub(crate) program: String,
    /// Resident memory in MiB.
    pub(crate) resident: f64,
    /// Its peak.
    pub(crate) peak: f64,
    /// Thousandths of a processor.
    pub(crate) millicores: f64,
}

/// Our processes in pods of `namespace`.
pub(crate) async fn processes(host: &Client, namespace: &str) -> Result<Vec<Process>> {
    let pods = Api::<Pod>::namespaced(host.clone(), namespace).list(&ListParams::default()).await?;
    let uids: Vec<String> = pods.items.into_iter().filter_map(|pod| pod.metadata.uid).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let (Some(program), Ok(cgroups)) =
            (field(pid, "Name"), std::fs::read_to_string(entry.path().join("cgroup")))
        else {
            continue;
        };
        // Kubernetes writes `-` as `_` under systemd.
        let ours = uids.iter().any(|uid| cgroups.contains(uid) || cgroups.contains(&uid.replace('-', "_")));
        if ours && program.starts_with("k3k-") {
            found.push(Process {
                program,
                pid,
                cgroup: counting(&cgroups).context("no cgroup counts time")?,
            });
        }
    }
    found.sort_by(|a, b| a.program.cmp(&b.program));
    Ok(found)
}

/// The directory of the cgroup that counts processor time: v1's controller, or v2's only hierarchy.
fn counting(cgroups: &str) -> Option<PathBuf> {
    let line = |wanted: &str| {
        cgroups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            controllers.split(',').any(|name| name == wanted).then(|| parts.next())?
        })
    };
    let below = |root: &str, path: &str| Path::new(root).join(path.trim_start_matches('/'));
    match line("cpuacct") {
        Some(path) => Some(below("/sys/fs/cgroup/cpuacct", path)),
        None => line("").map(|path| below("/sys/fs/cgroup", path)),
    }
}

/// Processor time of a cgroup so far.
fn spent(cgroup: &Path) -> Result<Duration> {
    if let Ok(text) = std::fs::read_to_string(cgroup.join("cpuacct.usage")) {
        return Ok(Duration::from_nanos(text.trim().parse()?));
    }
    let text = std::fs::read_to_string(cgroup.join("cpu.stat"))?;
    let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(Duration::from_micros(micros.context("no usage_usec")?.parse()?))
}

/// A field of `/proc/PID/status`.
fn field(pid: u32, key: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

fn mib(pid: u32, key: &str) -> Result<f64> {
    let text = field(pid, key).context("a process ended")?;
    let kib: u32 = text.trim_end_matches(" kB").parse()?;
    Ok(f64::from(kib) / 1024.0)
}

/// Watches `processes` while nothing happens.
pub(crate) async fn idle(processes: &[Process]) -> Result<Vec<Footprint>> {
    ensure!(!processes.is_empty(), "none of our processes was found");
    let all = || processes.iter().map(|process| spent(&process.cgroup)).collect::<Result<Vec<_>>>();
    let (start, before) = (Instant::now(), all()?);
    tokio::time::sleep(IDLE).await;
    let (elapsed, after) = (start.elapsed(), all()?);
    let used = before.into_iter().zip(after).map(|(before, after)| after.saturating_sub(before));
    let measured = processes.iter().zip(used).map(|(process, used)| {
        Ok(Footprint {
            program: process.program.clone(),
            resident: mib(process.pid, "VmRSS")?,
            peak: mib(process.pid, "VmHWM")?,
            millicores: used.as_secs_f64() / elapsed.as_secs_f64() * 1000.0,
        })
    });
    measured.collect()
}
