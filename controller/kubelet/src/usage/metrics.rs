//! A [`Report`] as `/metrics/resource` in Prometheus' text format, with the names and help of the kubelet's.

use super::ledger::{Report, Used};
use std::fmt::{self, Write};

/// The metrics; without a report only that there is none.
pub fn resource(report: Option<&Report>) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = write(&mut text, report);
    text
}

const CPU: &str = "cpu_usage_seconds_total";
const MEMORY: &str = "memory_working_set_bytes";

fn write(out: &mut String, report: Option<&Report>) -> fmt::Result {
    if let Some(report) = report {
        let containers = || {
            report.pods.iter().flat_map(|pod| {
                pod.containers.iter().map(move |(name, started, used)| {
                    // Names of Kubernetes' objects need no escaping.
                    let labels = format!(
                        "{{container=\"{name}\",namespace=\"{}\",pod=\"{}\"}}",
                        pod.namespace, pod.name
                    );
                    (labels, *started, *used)
                })
            })
        };
        let pods = || {
            report
                .pods
                .iter()
                .map(|pod| (format!("{{namespace=\"{}\",pod=\"{}\"}}", pod.namespace, pod.name), pod.total))
        };
        let node = || report.node.iter().map(|used| (String::new(), *used));
        both(out, "container", containers().map(|(labels, _, used)| (labels, used)))?;
        let name = "container_start_time_seconds";
        head(out, name, "gauge", "Start time of the container since unix epoch in seconds")?;
        for (labels, started, _) in containers() {
            writeln!(out, "{name}{labels} {}", started.as_second())?;
        }
        both(out, "node", node())?;
        both(out, "pod", pods())?;
    }
    let failed = u8::from(report.is_none());
    for name in ["resource_scrape_error", "scrape_error"] {
        head(out, name, "gauge", "1 if there was an error while getting container metrics, 0 otherwise")?;
        writeln!(out, "{name} {failed}")?;
    }
    Ok(())
}

/// Processors and memory of all that is a `what`.
fn both(out: &mut String, what: &str, all: impl Iterator<Item = (String, Used)> + Clone) -> fmt::Result {
    let help = format!("Cumulative cpu time consumed by the {what} in core-seconds");
    head(out, &format!("{what}_{CPU}"), "counter", &help)?;
    for (labels, used) in all.clone() {
        let (whole, nanos) = (used.core_nanoseconds / 1_000_000_000, used.core_nanoseconds % 1_000_000_000);
        writeln!(out, "{what}_{CPU}{labels} {whole}.{nanos:09} {}", used.time.as_millisecond())?;
    }
    let help = format!("Current working set of the {what} in bytes");
    head(out, &format!("{what}_{MEMORY}"), "gauge", &help)?;
    for (labels, used) in all {
        writeln!(out, "{what}_{MEMORY}{labels} {} {}", used.bytes, used.time.as_millisecond())?;
    }
    Ok(())
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::ledger::tests::report;

    #[test]
    fn the_text_is_a_kubelets() {
        insta::assert_snapshot!(resource(Some(&report())));
    }

    #[test]
    fn without_a_report_there_are_no_figures() {
        let text = resource(None);
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(values, ["resource_scrape_error 1", "scrape_error 1"]);
    }
}
