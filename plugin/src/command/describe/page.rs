//! The page, from what was observed. Pure.

use super::Observed;
use crate::command::create::{fix, short};
use crate::command::get::summary;
use crate::command::pause;
use crate::install::rollout;
use crate::output::{age, table};
use k3k_api::conditions::{self, READY, UPGRADED};
use k3k_api::labels::{COMPONENT, component};
use k3k_api::v1beta1::{Cluster, Mode, Storage};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How many of the latest events are shown.
const EVENTS: usize = 8;

/// The page.
pub(super) fn render(observed: &Observed, now: jiff::Timestamp) -> String {
    let cluster = &observed.cluster;
    let mut text = headline(cluster, now);
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |key: &str, value: String| rows.push(vec![key.to_owned(), value]);

    let status = cluster.status.clone().unwrap_or_default();
    let ready = conditions::find(&status.conditions, READY);
    let message = ready.map(|ready| ready.message.as_str()).filter(|message| !message.is_empty());
    add(
        "Status",
        message.map_or_else(|| summary(cluster), |message| format!("{}: {message}", summary(cluster))),
    );
    let upgraded = conditions::find(&status.conditions, UPGRADED);
    if let Some(upgraded) = upgraded.filter(|upgraded| upgraded.status != "True") {
        add("Upgrade", format!("{}: {}", upgraded.reason, upgraded.message));
    }
    if let Some(since) = pause::since(cluster) {
        let name = cluster.metadata.name.as_deref().unwrap_or_default();
        let shown = short(name, cluster.metadata.namespace.as_deref().unwrap_or_default());
        add("Paused", format!("since {since}; kubectl k3k resume {shown}"));
    }
    if let Some(endpoint) = &status.endpoint {
        add("API", endpoint.clone());
    }
    let mode = cluster.spec.mode();
    for (title, part, is_part) in [
        ("Servers", component::SERVER, true),
        ("Kubelet", component::KUBELET, mode == Mode::Shared),
        ("Agents", component::AGENT, mode == Mode::Virtual),
    ] {
        let pods: Vec<String> =
            observed.pods.iter().filter(|pod| label(pod, COMPONENT) == Some(part)).map(pod_line).collect();
        many(&mut add, title, pods, is_part.then_some("none"));
    }
    if mode == Mode::Hcp {
        add("Workers", super::super::join::next(cluster));
    }
    // Elsewhere they are out of the host's sight.
    if let Some(tenants) = observed.tenants.filter(|_| mode == Mode::Shared) {
        add("Tenant pods", tenants.to_string());
    }
    let storage = match cluster.spec.persistence() {
        Storage::Ephemeral => "ephemeral: gone with the server pod".to_owned(),
        Storage::Dynamic { size, class } => {
            format!(
                "{} per server, {}",
                size.0,
                class.map_or_else(|| "default class".to_owned(), |class| format!("class {class}"))
            )
        }
    };
    add("Storage", storage);
    let volumes = observed.volumes.iter().map(|volume| {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
        format!("{}  {phase}", volume.metadata.name.as_deref().unwrap_or_default())
    });
    many(&mut add, "Volumes", volumes.collect(), None);
    let ranges: Vec<String> =
        [("pods", &status.cluster_cidr), ("services", &status.service_cidr), ("dns", &status.cluster_dns)]
            .into_iter()
            .filter_map(|(what, range)| range.as_ref().map(|range| format!("{what} {range}")))
            .collect();
    if !ranges.is_empty() {
        add("Network", ranges.join(", "));
    }
    if let Some(policy) = &status.policy_name {
        add("Policy", policy.clone());
    }
    let others = status.conditions.iter().filter(|condition| !has_line(condition)).map(|condition| {
        format!("{} {}: {} {}", condition.type_, condition.status, condition.reason, condition.message)
    });
    many(&mut add, "Conditions", others.map(|line| line.trim_end().to_owned()).collect(), None);
    many(&mut add, "Events", events(&observed.events, cluster, now), None);
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    if ready.is_none_or(|ready| ready.status != "True")
        && cluster.metadata.deletion_timestamp.is_none()
        && let Some(fix) = fix(cluster, &short(name, namespace))
    {
        add("Hint", fix);
    }
    text.push_str(&table::render(None, &rows));
    text
}

/// Whether the condition has a line of its own.
fn has_line(condition: &Condition) -> bool {
    condition.type_ == READY || condition.type_ == UPGRADED && condition.status != "True"
}

fn headline(cluster: &Cluster, now: jiff::Timestamp) -> String {
    let metadata = &cluster.metadata;
    let version = cluster
        .status
        .as_ref()
        .and_then(|status| status.version.clone())
        .or_else(|| cluster.spec.version.clone());
    let version = version.map_or_else(String::new, |version| format!(" · K3s {version}"));
    format!(
        "{} ({}) · {}{version} · created {} ago\n",
        metadata.name.as_deref().unwrap_or_default(),
        metadata.namespace.as_deref().unwrap_or_default(),
        cluster.spec.mode(),
        age::since(metadata.creation_timestamp.as_ref(), now),
    )
}

/// One row for the first line, further rows without a title.
fn many(add: &mut impl FnMut(&str, String), title: &str, lines: Vec<String>, none: Option<&str>) {
    if let (true, Some(none)) = (lines.is_empty(), none) {
        add(title, none.to_owned());
    }
    for (index, line) in lines.into_iter().enumerate() {
        add(if index == 0 { title } else { "" }, line);
    }
}

fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// `k3k-dev-server-0  ready  10.42.1.9  node-3`, or what is wrong with it.
fn pod_line(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    if let Some(trouble) = rollout::trouble(pod) {
        return trouble;
    }
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let state = match (pod.metadata.deletion_timestamp.is_some(), ready) {
        (true, _) => "terminating",
        (false, true) => "ready",
        (false, false) => "not ready",
    };
    let restarts: i32 =
        status.container_statuses.iter().flatten().map(|container| container.restart_count).sum();
    let restarts = if restarts > 0 { format!("  {restarts} restarts") } else { String::new() };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    format!("{name}  {state}  {}  {node}{restarts}", status.pod_ip.as_deref().unwrap_or("-"))
        .trim_end()
        .to_owned()
}

/// The latest events about the cluster and the objects that bear its name.
fn events(events: &[Event], cluster: &Cluster, now: jiff::Timestamp) -> Vec<String> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let prefix = format!("k3k-{name}-");
    let volume = format!("-{prefix}server-");
    let about = |event: &&Event| {
        let object = &event.involved_object;
        let object_name = object.name.as_deref().unwrap_or_default();
        (object.kind.as_deref() == Some("Cluster") && object_name == name)
            || object_name.starts_with(&prefix)
            || object_name.contains(&volume)
    };
    let time = |event: &Event| {
        let series =
            event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
        series
            .or(event.last_timestamp.as_ref().map(|time| time.0))
            .or(event.event_time.as_ref().map(|time| time.0))
            .or(event.metadata.creation_timestamp.as_ref().map(|time| time.0))
    };
    let mut all: Vec<&Event> = events.iter().filter(about).collect();
    all.sort_by_key(|event| time(event));
    let first = all.len().saturating_sub(EVENTS);
    all[first..]
        .iter()
        .map(|event| {
            let ago = time(event).map_or_else(
                || "?".to_owned(),
                |time| {
                    age::short(std::time::Duration::try_from(now.duration_since(time)).unwrap_or_default())
                },
            );
            format!(
                "{ago} ago  {} {}  {}/{}: {}",
                event.type_.as_deref().unwrap_or("Normal"),
                event.reason.as_deref().unwrap_or_default(),
                event.involved_object.kind.as_deref().unwrap_or_default().to_ascii_lowercase(),
                event.involved_object.name.as_deref().unwrap_or_default(),
                event.message.as_deref().unwrap_or_default().trim(),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn observed(ready: &str, reason: &str, message: &str) -> Observed {
        let pod = |name: &str, part: &str, state: serde_json::Value| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {COMPONENT: part}},
                "spec": {"nodeName": "node-3", "containers": []},
                "status": {"podIP": "10.42.1.9", "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true,
                        "restartCount": 1, "state": state}]},
            }))
            .expect("pod")
        };
        Observed {
            cluster: serde_json::from_value(json!({
                "apiVersion": "k3k.io/v1beta1", "kind": "Cluster",
                "metadata": {"name": "dev", "namespace": "k3k-dev", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {},
                "status": {"phase": "Ready", "version": "v1.36.3+k3s1", "endpoint": "https://10.43.0.7",
                    "clusterCIDR": "10.42.0.0/16", "serviceCIDR": "10.43.0.0/16",
                    "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": message,
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            }))
            .expect("cluster"),
            pods: vec![
                pod("k3k-dev-server-0", "server", json!({"running": {}})),
                pod("k3k-dev-kubelet-5d-x", "kubelet", json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}})),
            ],
            volumes: vec![serde_json::from_value(json!({
                "metadata": {"name": "varlibrancherk3s-k3k-dev-server-0"}, "status": {"phase": "Bound"}})).expect("claim")],
            events: ["k3k-dev-server-0", "other"].into_iter().map(|name| serde_json::from_value(json!({
                "metadata": {}, "involvedObject": {"kind": "Pod", "name": name}, "type": "Normal",
                "reason": "Started", "message": "Started container\n", "lastTimestamp": "2026-01-01T00:01:00Z"}))
                .expect("event")).collect(),
            tenants: Some(4),
        }
    }

    #[test]
    fn a_healthy_cluster() {
        let now = "2026-01-01T00:05:00Z".parse().expect("time");
        insta::assert_snapshot!(render(&observed("True", "Provisioned", ""), now));
    }

    #[test]
    fn a_virtual_cluster_with_its_agents() {
        let now = "2026-01-01T00:05:00Z".parse().expect("time");
        let mut observed = observed("True", "Provisioned", "");
        observed.cluster.spec =
            serde_json::from_value(json!({"mode": "virtual", "agents": 1})).expect("spec");
        let pod = &mut observed.pods[1];
        pod.metadata.name = Some("k3k-dev-agent-0".to_owned());
        pod.metadata.labels = Some([(COMPONENT.to_owned(), "agent".to_owned())].into());
        insta::assert_snapshot!(render(&observed, now));
    }

    #[test]
    fn a_control_plane_alone_says_what_workers_need() {
        let now = "2026-01-01T00:05:00Z".parse().expect("time");
        let mut observed = observed("True", "Provisioned", "");
        observed.cluster.spec = serde_json::from_value(json!({"mode": "hcp"})).expect("spec");
        observed.pods.pop();
        insta::assert_snapshot!(render(&observed, now));
    }

    #[test]
    fn an_upgrade_has_a_line() {
        let now = "2026-01-01T00:05:00Z".parse().expect("time");
        let mut observed = observed("True", "Provisioned", "");
        let told = json!({"type": "Upgraded", "status": "False", "reason": "Upgrading", "lastTransitionTime": "2026-01-01T00:00:00Z",
            "message": "1 of 3 servers run v1.36.3-k3s1; waiting: k3k-dev-server-1 is replaced next"});
        if let Some(status) = &mut observed.cluster.status {
            status.conditions.push(serde_json::from_value(told).expect("condition"));
        }
        let page = render(&observed, now);
        let line = page.lines().find(|line| line.starts_with("Upgrade"));
        assert!(line.is_some_and(|line| line.contains("Upgrading: 1 of 3 servers run")), "{page}");
        assert!(!page.contains("Upgraded False"), "once is enough: {page}");
    }

    #[test]
    fn a_cluster_in_trouble_comes_with_a_hint() {
        let now = "2026-01-01T00:05:00Z".parse().expect("time");
        insta::assert_snapshot!(render(
            &observed("False", "ImagePullFailed", "the image cannot be pulled"),
            now
        ));
    }
}
