//! A budget that two clusters of one tenant share, with the host's own quota controller.

use crate::{Policy, host};
use anyhow::{Result, ensure};
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::json;

const POLICY: &str = "e2e-budget";
/// Two control planes and their resolvers take eight.
const PODS: u64 = 13;

/// What the shares allow together, and what they say is in use.
fn dealt_out() -> Result<(u64, u64)> {
    let fields = "jsonpath={range .items[*]}{.spec.hard.pods} {.status.used.pods}\n{end}";
    let told = host(&["get", "resourcequotas", "-A", "-l", "policy.k3k.io/tenant=e2e-tenant", "-o", fields])?;
    let mut sums = (0, 0);
    for line in told.lines() {
        let (hard, used) = line.split_once(' ').unwrap_or((line, ""));
        sums.0 += hard.parse::<u64>().unwrap_or(u64::MAX / 4);
        sums.1 += used.parse::<u64>().unwrap_or_default();
    }
    ensure!(sums.0 <= PODS, "more is given than there is: {told}");
    ensure!(sums.1 <= PODS, "more is in use than there is: {told}");
    Ok(sums)
}

fn ready(cluster: &NestedCluster) -> Result<u64> {
    dealt_out()?;
    let told = cluster.run(&["get", "deployment", "fill", "-o", "jsonpath={.status.readyReplicas}"])?;
    Ok(told.parse().unwrap_or_default())
}

fn fill(cluster: &NestedCluster, replicas: u32) -> Result<()> {
    cluster.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "fill"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "fill"}},
        "template": {"metadata": {"labels": {"app": "fill"}}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "docker.io/library/busybox:1.36", "command": ["sleep", "3600"]}],
        }},
    }}))
}

#[test]
#[ignore = "needs the lab: make test"]
fn two_clusters_of_a_tenant_never_use_more_than_their_budget() -> Result<()> {
    let _policy = Policy::apply(
        POLICY,
        &json!({"disableNetworkPolicy": true, "tenancy": {"tenant": "e2e-tenant"},
            "resources": {"perTenant": {"pods": PODS.to_string()}}}),
    )?;
    let flags = ["--storage", "ephemeral", "--policy", POLICY];
    let one = NestedCluster::create_with("e2e-budget-1", &flags)?;
    let two = NestedCluster::create_with("e2e-budget-2", &flags)?;
    dealt_out()?;

    fill(&one, 10)?;
    fill(&two, 10)?;
    eventually("the budget is used up", dealt_out, |(_, used)| *used == PODS)?;
    // Who did not get in is told so inside, by the pod itself and by an Event.
    let waiting = "jsonpath={.items[*].status.containerStatuses[*].state.waiting}";
    for cluster in [&one, &two] {
        let pods = || cluster.run(&["get", "pods", "-l", "app=fill", "-o", waiting]);
        eventually("a pod says why it waits", pods, |told| {
            told.contains("HostAdmissionDenied") && told.contains("exceeded quota")
        })?;
        let events = || {
            let denied = ["get", "events", "--field-selector", "reason=HostAdmissionDenied"];
            cluster.run(&[&denied[..], &["-o", "jsonpath={.items[*].message}"]].concat())
        };
        eventually("an Event says why", events, |told| told.contains("exceeded quota"))?;
    }

    // What one gives up, the other gets.
    let before = ready(&two)?;
    one.run(&["scale", "deployment", "fill", "--replicas=0"])?;
    eventually("there is room for more", || ready(&two), |now| *now > before)?;
    dealt_out().map(drop)
}
