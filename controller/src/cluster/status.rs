//! What is reported about a cluster. Pure, but for [`publish`].

use super::Context;
use super::build::exposure::{self, Exposure};
use super::build::{Site, kubelet};
use super::error::Error;
use super::etcd;
use super::health::{Health, Report};
use super::observe::Observed;
use super::pause::{self, Verdict};
use super::plan::Workload;
use super::pods::{self, Judgement};
use super::upgrade::Course;
use super::validate::Accepted;
use jiff::Timestamp;
use k3k_api::conditions::{
    self, AGENTS_READY, API_READY, ETCD_READY, EXPOSED, NODE_READY, PAUSED, READY, SERVER_READY, Status,
    UPGRADED, exposed_reason, paused_reason, reason,
};
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
    /// What makes its nodes.
    pub below: Below,
    /// What its API says.
    pub health: Health,
    /// What the servers' etcd says.
    pub etcd: Option<etcd::Outcome>,
    /// What its servers and agents shall run.
    pub upgrade: Option<Course>,
    /// How far it is paused.
    pub pause: Option<pause::Step>,
}

/// The pods, besides the servers', by which a cluster has nodes.
#[derive(Clone, Debug)]
pub enum Below {
    /// Its virtual kubelet's.
    Kubelet(Judgement),
    /// All of its agents'.
    Agents(Judgement),
    /// None in the host.
    Nothing,
}

impl Below {
    fn pods(&self) -> Option<&Judgement> {
        match self {
            Self::Kubelet(pods) | Self::Agents(pods) => Some(pods),
            Self::Nothing => None,
        }
    }
}

/// What a reconcile that went through established.
#[derive(Clone, Debug)]
pub struct Settled {
    facts: ClusterStatus,
    exposure: Exposure,
}

impl Settled {
    /// Collects what goes into the status.
    pub fn new(accepted: &Accepted, observed: &Observed, workload: &Workload, exposure: Exposure) -> Self {
        Self {
            exposure,
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
                endpoint: Some(workload.endpoint.clone()),
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
    let Parts { server, below, health, etcd, upgrade, pause } = parts;
    // What the nested API said last does not hold while its server cannot be running, nor does a node's word while
    // its kubelet cannot.
    let api = if health.api.ok && !server.may_run() { Told::pods(server) } else { Told::report(&health.api) };
    let node = match below {
        Below::Kubelet(kubelet) if health.node.ok && !kubelet.may_run() => Told::pods(kubelet),
        _ => Told::report(&health.node),
    };
    let hopeless = server.hopeless || below.pods().is_some_and(|pods| pods.hopeless);
    let (phase, summary) = match summary(&api, &node, server, below) {
        None => {
            let message = "Cluster successfully provisioned".to_owned();
            (Phase::Ready, Told { ok: true, reason: reason::PROVISIONED.to_owned(), message })
        }
        Some(told) => (if hopeless { Phase::Failed } else { Phase::Provisioning }, told),
    };
    let paused = pause.as_ref().and_then(|step| Told::stopping(&step.verdict));
    let (phase, summary) = paused.clone().map_or((phase, summary), |told| (Phase::Pending, told));
    let mut told = vec![(SERVER_READY, Told::pods(server)), (API_READY, api)];
    if let Below::Agents(agents) = below {
        told.push((AGENTS_READY, Told::pods(agents)));
    }
    if let Some(report) = etcd.as_ref().and_then(|etcd| etcd.report.as_ref()) {
        told.push((ETCD_READY, Told::report(report)));
    }
    if let Some(course) = upgrade
        && (!course.report.ok || conditions::find(&before.conditions, UPGRADED).is_some())
    {
        told.push((UPGRADED, Told::report(&course.report)));
    }
    told.extend([(NODE_READY, node), (READY, summary)]);
    if let Some(paused) = paused.filter(|told| told.reason == reason::PAUSED) {
        // What does not run by request is not reported as broken, part by part.
        let parts = told.iter_mut().filter(|(kind, _)| ![ETCD_READY, UPGRADED].contains(kind));
        parts.for_each(|(_, told)| *told = paused.clone());
    }
    let mut conditions = merged(before, generation, told, now);
    match pause.as_ref().map(|step| Told::pause(&step.verdict)) {
        Some(Some(told)) => conditions = merged_into(&conditions, generation, [(PAUSED, told)], now),
        Some(None) => conditions.retain(|condition| condition.type_ != PAUSED),
        None => {}
    }
    match exposed(settled) {
        Some(told) => conditions = merged_into(&conditions, generation, [(EXPOSED, told)], now),
        None => conditions.retain(|condition| condition.type_ != EXPOSED),
    }
    ClusterStatus {
        phase,
        observed_generation: generation,
        conditions,
        etcd: etcd.as_ref().and_then(|etcd| etcd.status.clone()),
        version: upgrade.as_ref().map_or_else(|| before.version.clone(), |course| course.running.clone()),
        upgrade: upgrade.as_ref().and_then(|course| course.under_way.clone()),
        kubelet_port: before.kubelet_port,
        pods_stopped_until: match pause {
            Some(step) => step.stopped_until.clone(),
            None => before.pods_stopped_until.clone(),
        },
        ..settled.facts.clone()
    }
}

/// Whether the API is reached from outside, if that is wanted.
fn exposed(settled: &Settled) -> Option<Told> {
    match &settled.exposure {
        Exposure::Inside => None,
        Exposure::At { reason, host, port } => {
            let url = exposure::url(host, *port);
            let message = match *reason {
                exposed_reason::INGRESS => format!("{url}, if the Ingress controller passes TLS on"),
                _ => url,
            };
            Some(Told { ok: true, reason: (*reason).to_owned(), message })
        }
        Exposure::Pending { reason, message } => Some(Told::not(reason, message)),
    }
}

/// What keeps the cluster from being ready: the first thing on the way from its volume to its nodes.
fn summary(api: &Told, node: &Told, server: &Judgement, below: &Below) -> Option<Told> {
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
        return match below {
            Below::Kubelet(pods) | Below::Agents(pods) if is_pull_failure(&pods.reason) => {
                told(reason::IMAGE_PULL_FAILED, &pods.message)
            }
            Below::Kubelet(kubelet) if !kubelet.ready => told(reason::KUBELET_NOT_READY, &kubelet.message),
            Below::Agents(agents) if !agents.ready => told(reason::AGENTS_NOT_READY, &agents.message),
            _ => told(reason::NODE_NOT_READY, &node.message),
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

    /// What is to say instead of everything else while a pause begins or lasts.
    fn stopping(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Never | Verdict::Over | Verdict::Refused(_) => None,
            Verdict::Pausing { waits, .. } => Some(Self::not(reason::PAUSING, waits)),
            Verdict::Paused { pods_stopped } => {
                let pods = if *pods_stopped { "" } else { "; tenants' pods run on" };
                let message = format!("the cluster is paused and all of its state is kept{pods}");
                Some(Self::not(reason::PAUSED, &message))
            }
        }
    }

    /// The condition of the pause itself. None if there never was one.
    fn pause(verdict: &Verdict) -> Option<Self> {
        let (ok, reason, message) = match verdict {
            Verdict::Never => return None,
            Verdict::Over => (false, paused_reason::RESUMED, "the pause is over"),
            Verdict::Refused(message) => (false, paused_reason::REFUSED, message.as_str()),
            Verdict::Pausing { stops_pods: true, waits } => {
                (false, paused_reason::STOPPING_PODS, waits.as_str())
            }
            Verdict::Pausing { stops_pods: false, waits } => (false, paused_reason::PAUSING, waits.as_str()),
            Verdict::Paused { pods_stopped: true } => {
                (true, paused_reason::PODS_STOPPED, "nothing of it runs")
            }
            Verdict::Paused { pods_stopped: false } => {
                (true, paused_reason::PODS_KEPT, "only tenants' pods run")
            }
        };
        Some(Self { ok, reason: reason.to_owned(), message: message.to_owned() })
    }

    fn pods(pods: &Judgement) -> Self {
        Self { ok: pods.ready, reason: pods.reason.clone(), message: pods.message.clone() }
    }
}

fn merged<'a>(
    before: &ClusterStatus,
    generation: Option<i64>,
    told: impl IntoIterator<Item = (&'a str, Told)>,
    now: Timestamp,
) -> Vec<Condition> {
    merged_into(&before.conditions, generation, told, now)
}

fn merged_into<'a>(
    before: &[Condition],
    generation: Option<i64>,
    told: impl IntoIterator<Item = (&'a str, Told)>,
    now: Timestamp,
) -> Vec<Condition> {
    // Seconds are what the API stores.
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let new = told.into_iter().map(|(kind, told)| {
        let status = if told.ok { Status::True } else { Status::False };
        conditions::condition(kind, status, &told.reason, told.message, generation, now.clone())
    });
    conditions::merge(before, new)
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
