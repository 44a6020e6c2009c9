//! Our evaluator of the Pod Security Standards, held against the API server's own admission: for thousands of pods the
//! two say the same, for the same reasons. Pods that the API server finds invalid never get as far, and do not count.
//!
//! `K3K_PSS_SEED` repeats or varies the random pods, `K3K_PSS_PODS` says how many there are.

mod pods;
mod values;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use futures::{StreamExt, TryStreamExt};
use k3k_api::v1beta1::PodSecurityLevel;
use k3k_policy::pod::Subject;
use k3k_policy::pod_security;
use k3k_tests::ApiServer;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const LEVELS: [PodSecurityLevel; 2] = [PodSecurityLevel::Baseline, PodSecurityLevel::Restricted];
const DEFAULT_SEED: u64 = 20_261_121;
const DEFAULT_PODS: usize = 600;
/// How many pods are judged at a time.
const AT_ONCE: usize = 4;

/// What the API server gives as its reason, with the rule that finds the same.
const REASONS: [(&str, &str); 18] = [
    ("privileged", pod_security::PRIVILEGED),
    ("host namespaces", pod_security::HOST_NAMESPACES),
    ("hostPath volumes", pod_security::HOST_PATH),
    ("hostPort", pod_security::HOST_PORTS),
    ("hostProcess", pod_security::HOST_PROCESS),
    ("probe or lifecycle host", pod_security::HOST_PROBES),
    ("non-default capabilities", pod_security::CAPABILITIES),
    ("unrestricted capabilities", pod_security::CAPABILITIES),
    ("procMount", pod_security::PROC_MOUNT),
    ("forbidden sysctls", pod_security::SYSCTLS),
    ("seLinuxOptions", pod_security::SE_LINUX),
    ("forbidden AppArmor profile", pod_security::APP_ARMOR),
    ("forbidden AppArmor profiles", pod_security::APP_ARMOR),
    ("seccompProfile", pod_security::SECCOMP),
    ("restricted volume types", pod_security::VOLUME_TYPES),
    ("allowPrivilegeEscalation != false", pod_security::ALLOW_PRIVILEGE_ESCALATION),
    ("runAsNonRoot != true", pod_security::RUN_AS_NON_ROOT),
    ("runAsUser=0", pod_security::RUN_AS_USER),
];

type Rules = BTreeSet<&'static str>;

/// Both verdicts, which agreed, on one pod: the rules it breaks at each of [`LEVELS`].
type Agreed = [Rules; 2];

/// How one write is sent to a namespace.
enum Write<'a> {
    Create(&'a Value),
    Debug { pod: &'a str, containers: &'a Value },
}

struct Judge {
    client: Client,
}

/// How many pods were judged, and how.
#[derive(Debug, Default)]
struct Tally {
    judged: usize,
    allowed: [usize; 2],
    rules: Rules,
}

impl Judge {
    async fn new() -> Result<Self> {
        let client = ApiServer::shared().await?.client().await?;
        let namespaces = Api::<Namespace>::all(client.clone());
        for level in [PodSecurityLevel::Privileged, LEVELS[0], LEVELS[1]] {
            let name = namespace(level);
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {
                "pod-security.kubernetes.io/enforce": level.as_str(),
                "pod-security.kubernetes.io/enforce-version": "latest",
            }}});
            namespaces.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await?;
        }
        Ok(Self { client })
    }

    fn pods(&self, level: PodSecurityLevel) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        Api::namespaced_with(self.client.clone(), &namespace(level), &resource)
    }

    async fn rehearse(
        &self,
        level: PodSecurityLevel,
        write: &Write<'_>,
    ) -> Result<kube::Result<DynamicObject>> {
        let pods = self.pods(level);
        Ok(match write {
            Write::Create(pod) => {
                let params = PostParams { dry_run: true, ..PostParams::default() };
                pods.create(&params, &serde_json::from_value((*pod).clone())?).await
            }
            Write::Debug { pod, containers } => {
                let params = PatchParams { dry_run: true, ..PatchParams::default() };
                let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": containers}}));
                pods.patch_subresource("ephemeralcontainers", pod, &params, &patch).await
            }
        })
    }

    /// Sends `write` to a namespace of each level and compares, for the pod as its author `sent` it and as the API server
    /// has it after filling in what was left out. None when it is invalid.
    async fn compare(&self, write: Write<'_>, sent: &Value) -> Result<Option<Agreed>> {
        let admitted = match self.rehearse(PodSecurityLevel::Privileged, &write).await? {
            Ok(object) => serde_json::to_value(object)?,
            Err(kube::Error::Api(status)) if status.code == 422 => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("privileged: {sent}")),
        };
        let mut agreed = Agreed::default();
        for (level, agreed) in LEVELS.into_iter().zip(&mut agreed) {
            let mut theirs = match self.rehearse(level, &write).await? {
                Ok(_) => Rules::new(),
                Err(error) => reasons(&error).with_context(|| format!("{}: {sent}", level.as_str()))?,
            };
            let denied = !theirs.is_empty();
            if has_ports_of_nodes_network(&admitted["spec"]) {
                theirs.remove(pod_security::HOST_PORTS); // one reason is enough for us
            }
            for (which, pod) in [("sent", sent), ("admitted", &admitted)] {
                let ours = judge(pod, level)?;
                ensure!(
                    ours == theirs && denied != ours.is_empty(),
                    "{} as {which}: we find {ours:?}, the API server {theirs:?}: {pod}",
                    level.as_str()
                );
            }
            *agreed = theirs;
        }
        Ok(Some(agreed))
    }

    /// Compares pods, one result for each.
    async fn compare_all(&self, pods: &[Value]) -> Result<Vec<Option<Agreed>>> {
        let comparisons = pods.iter().map(async |pod| self.compare(Write::Create(pod), pod).await);
        futures::stream::iter(comparisons).buffered(AT_ONCE).try_collect().await
    }
}

impl Tally {
    fn add(&mut self, agreed: Option<&Agreed>) {
        let Some(agreed) = agreed else { return };
        self.judged += 1;
        for (rules, allowed) in agreed.iter().zip(&mut self.allowed) {
            *allowed += usize::from(rules.is_empty());
            self.rules.extend(rules);
        }
    }
}

fn namespace(level: PodSecurityLevel) -> String {
    format!("pss-{}", level.as_str())
}

/// Whether all ports are those that any pod in the node's network has.
fn has_ports_of_nodes_network(spec: &Value) -> bool {
    let lists = ["containers", "initContainers"].into_iter().filter_map(|list| spec[list].as_array());
    let mut ports = lists.flatten().filter_map(|container| container["ports"].as_array()).flatten();
    spec["hostNetwork"] == json!(true) && ports.all(|port| port["hostPort"] == port["containerPort"])
}

/// The rules that we say `pod` breaks.
fn judge(pod: &Value, level: PodSecurityLevel) -> Result<Rules> {
    let findings = pod_security::check(&Subject::pod(pod)?, level);
    ensure!(findings.iter().all(|finding| pod_security::RULES.contains(&finding.rule)), "{findings:?}");
    // Under Restricted the API server counts hostPath among the types of volumes.
    let same = |rule| match level {
        PodSecurityLevel::Restricted if rule == pod_security::HOST_PATH => pod_security::VOLUME_TYPES,
        _ => rule,
    };
    Ok(findings.into_iter().map(|finding| same(finding.rule)).collect())
}

/// The rules that the API server says are broken: `violates PodSecurity "level": reason (detail), reason (detail)`.
fn reasons(error: &kube::Error) -> Result<Rules> {
    let kube::Error::Api(status) = error else { bail!("{error}") };
    let (_, list) = status.message.split_once("violates PodSecurity \"").context(status.message.clone())?;
    let (_, list) = list.split_once(":latest\": ").context(status.message.clone())?;
    let mut depth = 0;
    let bare: String = list
        .chars()
        .filter(|character| {
            depth += i32::from(*character == '(');
            let inside = depth > 0;
            depth -= i32::from(*character == ')');
            !inside
        })
        .collect();
    let rule = |reason: &str| {
        let known = REASONS.iter().find(|(known, _)| *known == reason.trim());
        known.map(|(_, rule)| *rule).with_context(|| format!("{reason:?} in {list}"))
    };
    bare.split(',').map(rule).collect()
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn every_value_alone_is_judged_as_the_api_server_does() -> Result<()> {
    let (names, pods): (Vec<String>, Vec<Value>) = pods::one_value_each().into_iter().unzip();
    let (mut tally, mut never) = (Tally::default(), names.iter().collect::<BTreeSet<_>>());
    for (name, agreed) in names.iter().zip(Judge::new().await?.compare_all(&pods).await?) {
        tally.add(agreed.as_ref());
        if agreed.is_some() {
            never.remove(name);
        }
    }
    eprintln!("{} made, {tally:?}", pods.len());
    ensure!(never.is_empty(), "valid in no pod, so not compared: {never:?}");
    let all: Rules = pod_security::RULES.iter().copied().collect();
    ensure!(tally.rules == all, "not seen: {:?}", &all - &tally.rules);
    ensure!(tally.judged > 500 && tally.allowed.iter().all(|allowed| *allowed > 50), "{tally:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn random_pods_are_judged_as_the_api_server_does() -> Result<()> {
    let seed = number("K3K_PSS_SEED")?.unwrap_or(DEFAULT_SEED);
    let wanted = number("K3K_PSS_PODS")?.unwrap_or(DEFAULT_PODS);
    eprintln!("K3K_PSS_SEED={seed}");
    let (judge, mut rng) = (Judge::new().await?, Rng::with_seed(seed));
    let (mut tally, mut made) = (Tally::default(), 0);
    while tally.judged < wanted {
        ensure!(made < 5 * wanted + 500, "too many are invalid: {tally:?}");
        let batch: Vec<Value> = (0..100).map(|_| pods::random(&mut rng)).collect();
        made += batch.len();
        let agreed = judge.compare_all(&batch).await.with_context(|| format!("K3K_PSS_SEED={seed}"))?;
        for agreed in &agreed {
            tally.add(agreed.as_ref());
        }
    }
    eprintln!("{made} made, {tally:?}");
    ensure!(tally.allowed.iter().all(|allowed| *allowed > wanted / 20 && *allowed < wanted), "{tally:?}");
    Ok(())
}

/// Containers that join a pod later are judged with all of it.
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn debug_containers_are_judged_as_the_api_server_does() -> Result<()> {
    let seed = number("K3K_PSS_SEED")?.unwrap_or(DEFAULT_SEED);
    eprintln!("K3K_PSS_SEED={seed}");
    let (judge, mut rng) = (Judge::new().await?, Rng::with_seed(seed));
    let mut tally = Tally::default();
    for (name, pod) in pods::hosts() {
        for level in [PodSecurityLevel::Privileged, LEVELS[0], LEVELS[1]] {
            let object = serde_json::from_value(pod.clone())?;
            judge.pods(level).create(&PostParams::default(), &object).await.with_context(|| name)?;
        }
        for containers in pods::debuggers(&mut rng) {
            let mut whole = pod.clone();
            whole["spec"]["ephemeralContainers"] = containers.clone();
            let write = Write::Debug { pod: name, containers: &containers };
            let agreed =
                judge.compare(write, &whole).await.with_context(|| format!("K3K_PSS_SEED={seed}"))?;
            tally.add(agreed.as_ref());
        }
    }
    eprintln!("{tally:?}");
    ensure!(tally.judged > 100 && tally.allowed.iter().all(|allowed| *allowed > 10), "{tally:?}");
    Ok(())
}

/// A number from the environment.
fn number<T: std::str::FromStr>(name: &str) -> Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    std::env::var(name).ok().map(|text| text.parse().with_context(|| format!("{name}={text}"))).transpose()
}
