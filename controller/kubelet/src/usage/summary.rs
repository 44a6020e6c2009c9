//! A [`Report`] as `/stats/summary` (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`). What the host does not tell – file systems, networks – is
//! left out, as the type allows.

use super::ledger::{Report, Used};
use serde_json::{Map, Value, json};

/// The summary for the node called `node`; without a report, one that says nothing.
pub fn summary(node: &str, report: Option<&Report>) -> Value {
    let pods: Vec<Value> = report
        .iter()
        .flat_map(|report| &report.pods)
        .map(|pod| {
            let containers: Vec<Value> = pod
                .containers
                .iter()
                .map(|(name, started, used)| {
                    with(json!({"name": name, "startTime": started.to_string()}), *used)
                })
                .collect();
            with(
                json!({
                    "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
                    "startTime": pod.started.map(|started| started.to_string()),
                    "containers": containers,
                }),
                pod.total,
            )
        })
        .collect();
    // Since when a node that is no machine runs, nobody can say.
    let mut node = json!({"nodeName": node, "startTime": null});
    if let Some(used) = report.and_then(|report| report.node) {
        node = with(node, used);
    }
    json!({"node": node, "pods": pods})
}

fn with(mut stats: Value, used: Used) -> Value {
    let time = used.time.to_string();
    let mut set = |key: &str, fields: &[(&str, u64)]| {
        let mut map = Map::from_iter([("time".to_owned(), Value::from(time.as_str()))]);
        map.extend(fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).into())));
        stats[key] = map.into();
    };
    set("cpu", &[("usageNanoCores", used.nano_cores), ("usageCoreNanoSeconds", used.core_nanoseconds)]);
    set("memory", &[("workingSetBytes", used.bytes)]);
    stats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::ledger::tests::report;

    #[test]
    fn the_summary_is_a_kubelets() {
        insta::assert_json_snapshot!(summary("k3k-dev", Some(&report())));
    }

    #[test]
    fn without_a_report_there_are_no_figures() {
        assert_eq!(
            summary("k3k-dev", None),
            json!({"node": {"nodeName": "k3k-dev", "startTime": null}, "pods": []})
        );
    }
}
