//! What is reported about a cluster. Pure, but for [`publish`].

use super::Context;
use super::build::{Site, kubelet};
use super::error::Error;
use super::etcd;
use super::health::{Health, Report};
use super::observe::Observed;
use super::plan::Workload;
use super::pods::{self, Judgement};
use super::validate::Accepted;
use jiff::Timestamp;
use k3k_api::conditions::{self, API_READY, ETCD_READY, NODE_READY, READY, SERVER_READY, Status, reason};
use k3k_api::managers;
use k3k_api::v1beta1::{
    AppliedPolicy, Cluster, ClusterSpec, ClusterStatus, GROUP, Phase, VERSION, VirtualClusterPolicySpec,
};
use k3k_runtime::apply;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Api;
use kube::api::PartialObjectMeta;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// The states of a cluster's parts.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Its server pods.
    pub server: Judgement,
    /// Its virtual kubelet's pods.
    pub kubelet: Judgement,
    /// What its API says.
    pub health: Health,
    /// What the servers' etcd says.
    pub etcd: Option<etcd::Outcome>,
}

/// What a reconcile that went through established.
#[derive(Clone, Debug)]
pub struct Settled {
    facts: ClusterStatus,
}

impl Settled {
    /// Collects what goes into the status.
    pub fn new(accepted: &Accepted, observed: &Observed, workload: &Workload, endpoint: String) -> Self {
        Self {
            facts: ClusterStatus {
                host_version: Some(observed.host_version.clone()),
                cluster_cidr: Some(accepted.cluster_cidr.clone()),
                service_cidr: Some(accepted.service_cidr.clone()),
                cluster_dns: Some(workload.cluster_dns.clone()),
                tls_sans: workload.tls_sans.clone(),
                policy_name: observed.policy_name.clone(),
                policy: observed.policy_name.clone().zip(observed.policy.as_ref()).map(|(name, policy)| {
                    AppliedPolicy {
                        name,
                        priority_class: policy.default_priority_class.clone(),
                        node_selector: imposed_selector(policy),
                        server_affinity: policy.default_server_affinity.clone(),
                        agent_affinity: policy.default_agent_affinity.clone(),
                        sync: policy.sync.clone(),
                        runtime_class_name: policy.runtime_class_name.clone(),
                        security_context: policy.security_context.clone(),
                        host_users: policy.host_users,
                        ..AppliedPolicy::default()
                    }
                }),
                endpoint: Some(endpoint),
                version: Some(accepted.version.clone()),
                ..ClusterStatus::default()
            },
        }
    }
}

/// Labels of nodes that the policy imposes: its default, and what it requires whatever else is said.
fn imposed_selector(policy: &VirtualClusterPolicySpec) -> BTreeMap<String, String> {
    kubelet::node_selector(&ClusterSpec::default(), Some(policy))
}

/// How long a cluster is usable before it is given what nobody waits for.
pub const SETTLING: Duration = Duration::from_secs(5);

/// Whether the cluster has been usable for [`SETTLING`].
pub fn has_settled(status: &ClusterStatus, now: Timestamp) -> bool {
    let ready = conditions::find(&status.conditions, READY).filter(|ready| ready.status == "True");
    ready.is_some_and(|ready| {
        Duration::try_from(now.duration_since(ready.last_transition_time.0)).is_ok_and(|age| age >= SETTLING)
    })
}

/// The status after a reconcile that went through.
pub fn settled(
    before: &ClusterStatus,
    generation: Option<i64>,
    settled: &Settled,
    parts: &Parts,
    now: Timestamp,
) -> ClusterStatus {
    let Parts { server, kubelet, health, etcd } = parts;
    // What the nested API said last does not hold while its server cannot be running, nor does a node's word while
    // its kubelet cannot.
    let api = if health.api.ok && !server.may_run() { Told::pods(server) } else { Told::report(&health.api) };
    let node =
        if health.node.ok && !kubelet.may_run() { Told::pods(kubelet) } else { Told::report(&health.node) };
    let hopeless = server.hopeless || kubelet.hopeless;
    let (phase, summary) = match summary(&api, &node, server, kubelet) {
        None => {
            let message = "Cluster successfully provisioned".to_owned();
            (Phase::Ready, Told { ok: true, reason: reason::PROVISIONED.to_owned(), message })
        }
        Some(told) => (if hopeless { Phase::Failed } else { Phase::Provisioning }, told),
    };
    let told = [(SERVER_READY, Told::pods(server)), (API_READY, api), (NODE_READY, node), (READY, summary)];
    let mut conditions = merged(before, generation, told, now);
    if let Some(report) = etcd.as_ref().and_then(|etcd| etcd.report.as_ref()) {
        let before = ClusterStatus { conditions, ..ClusterStatus::default() };
        conditions = merged(&before, generation, [(ETCD_READY, Told::report(report))], now);
    }
    ClusterStatus {
        phase,
        observed_generation: generation,
        conditions,
        etcd: etcd.as_ref().and_then(|etcd| etcd.status.clone()),
        kubelet_port: before.kubelet_port,
        ..settled.facts.clone()
    }
}

/// What keeps the cluster from being ready: the first thing on the way from its volume to its node.
fn summary(api: &Told, node: &Told, server: &Judgement, kubelet: &Judgement) -> Option<Told> {
    let told = |reason: &str, message: &str| Some(Told::not(reason, message));
    if !api.ok {
        return match server.reason.as_str() {
            _ if server.ready => told(reason::API_NOT_READY, &api.message),
            "Unschedulable" if server.message.contains("PersistentVolumeClaim") => {
                told(reason::VOLUME_PENDING, &server.message)
            }
            "Unschedulable" => told(reason::SERVER_UNSCHEDULABLE, &server.message),
            pods::REFUSED => told(reason::SERVER_REFUSED, &server.message),
            word if is_pull_failure(word) => told(reason::IMAGE_PULL_FAILED, &server.message),
            "CrashLoopBackOff" | "Restarting" | "RunContainerError" => {
                told(reason::SERVER_CRASHING, &server.message)
            }
            _ => told(reason::SERVER_STARTING, &server.message),
        };
    }
    if !node.ok {
        return match kubelet.reason.as_str() {
            word if is_pull_failure(word) => told(reason::IMAGE_PULL_FAILED, &kubelet.message),
            _ if kubelet.ready => told(reason::NODE_NOT_READY, &node.message),
            _ => told(reason::KUBELET_NOT_READY, &kubelet.message),
        };
    }
    None
}

fn is_pull_failure(reason: &str) -> bool {
    matches!(
        reason,
        "ErrImagePull"
            | "ImagePullBackOff"
            | "ErrImageNeverPull"
            | "InvalidImageName"
            | "RegistryUnavailable"
    )
}

/// The status after a reconcile that failed. What was known stays.
pub fn failed(
    before: &ClusterStatus,
    generation: Option<i64>,
    error: &Error,
    now: Timestamp,
) -> ClusterStatus {
    let (phase, word) = error.verdict();
    with_ready(before, generation, phase, Told::not(word, &error.to_string()), now)
}

/// The status of a cluster that is being deleted.
pub fn terminating(
    before: &ClusterStatus,
    generation: Option<i64>,
    message: &str,
    now: Timestamp,
) -> ClusterStatus {
    with_ready(before, generation, Phase::Terminating, Told::not(reason::TERMINATING, message), now)
}

fn with_ready(
    before: &ClusterStatus,
    generation: Option<i64>,
    phase: Phase,
    told: Told,
    now: Timestamp,
) -> ClusterStatus {
    let conditions = merged(before, generation, [(READY, told)], now);
    ClusterStatus { phase, observed_generation: generation, conditions, ..before.clone() }
}

/// A condition in the making.
#[derive(Clone, Debug)]
struct Told {
    ok: bool,
    reason: String,
    message: String,
}

impl Told {
    fn not(reason: &str, message: &str) -> Self {
        Self { ok: false, reason: reason.to_owned(), message: message.to_owned() }
    }

    fn report(report: &Report) -> Self {
        Self { ok: report.ok, reason: report.reason.to_owned(), message: report.message.clone() }
    }

    fn pods(pods: &Judgement) -> Self {
        Self { ok: pods.ready, reason: pods.reason.clone(), message: pods.message.clone() }
    }
}

fn merged<const N: usize>(
    before: &ClusterStatus,
    generation: Option<i64>,
    told: [(&str, Told); N],
    now: Timestamp,
) -> Vec<Condition> {
    // Seconds are what the API stores.
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let new = told.into_iter().map(|(kind, told)| {
        let status = if told.ok { Status::True } else { Status::False };
        conditions::condition(kind, status, &told.reason, told.message, generation, now.clone())
    });
    conditions::merge(&before.conditions, new)
}

/// Writes the status if it differs from the one that the cluster has, and tells of transitions.
pub async fn publish(
    context: &Context,
    site: &Site,
    before: &ClusterStatus,
    after: &ClusterStatus,
) -> Result<(), Error> {
    if before == after {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Cluster",
        // With the UID, a cluster that is gone is not brought back.
        "metadata": { "name": site.name, "namespace": site.namespace, "uid": site.uid },
        "status": after,
    });
    // Only the metadata of the answer is read: an object that does not fit the schema is reported on as well.
    let clusters: Api<PartialObjectMeta<Cluster>> = Api::namespaced(context.client.clone(), &site.namespace);
    match apply::apply_status(&clusters, managers::CONTROLLER, &site.name, patch).await {
        Ok(_) => {
            context.events.transition(site, before, after).await;
            Ok(())
        }
        // It is gone: there is nobody to tell.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(Error::Write { what: format!("the status of Cluster {:?}", site.name), source }),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
