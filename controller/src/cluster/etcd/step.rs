//! One look at the etcd of a cluster: ask, decide, act.

use super::client::{Access, Connection};
use super::decide::{Action, Answer, Decision, Member, Server, World, decide, quorum};
use super::message::MemberListResponse;
use crate::cluster::build::server::DATA_VOLUME;
use crate::cluster::build::{Kind, Site, server, service};
use crate::cluster::error::Error;
use crate::cluster::health::Report;
use crate::cluster::plan::Servers;
use crate::cluster::{Context, pods};
use futures::future::join_all;
use k3k_api::conditions;
use k3k_api::labels::{self, component};
use k3k_api::v1beta1::{Cluster, EtcdMember, EtcdStatus, Storage};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, ResourceExt as _};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// How soon to look again while something is on its way that no watch shows.
const SOON: Duration = Duration::from_secs(2);

/// What a look brought.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The servers that there shall be now.
    pub servers: Servers,
    /// What is known of etcd, for the status. None while a single server stores otherwise.
    pub status: Option<EtcdStatus>,
    /// How it is, for the condition. None if there is nothing new to say.
    pub report: Option<Report>,
    /// When to look again.
    pub again: Option<Duration>,
}

/// The reason while the servers are paused.
const PAUSED: &str = "Paused";

impl Outcome {
    /// Why the servers cannot be stopped just now without harm to their etcd. Who joins, leaves or is unknown to a majority might not be found
    /// again at another address.
    pub fn unfit_for_pause(&self) -> Option<String> {
        if !self.servers.etcd {
            return None;
        }
        match &self.report {
            Some(report) if report.ok || ["MemberDown", PAUSED].contains(&report.reason) => None,
            Some(report) => Some(format!("etcd must be well first: {}", report.message)),
            None => Some("waiting until etcd has been asked".to_owned()),
        }
    }
}

/// Whether the servers have not found one another yet since a pause.
fn was_paused(cluster: &Cluster) -> bool {
    let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let told = conditions::find(conditions, conditions::ETCD_READY);
    told.is_some_and(|told| [PAUSED, "Starting"].contains(&told.reason.as_str()))
}

/// Looks at the cluster's etcd and brings its members a step further.
pub async fn step(context: &Context, site: &Site, cluster: &Cluster) -> Result<Outcome, Error> {
    let known = cluster.status.as_ref().and_then(|status| status.etcd.clone());
    let set = context.caches.owned(site, Kind::StatefulSet, &site.names().server());
    let present = set.as_ref().and_then(|set| server::present_replicas(set));
    let noted = set.as_ref().and_then(|set| set.annotations().get(labels::ETCD_CLUSTER).cloned());
    let cluster_id = known.as_ref().map(|known| known.cluster_id.clone()).or(noted);
    let desired = u32::try_from(cluster.spec.servers()).unwrap_or(1).max(1);
    if desired == 1 && cluster_id.is_none() && present.unwrap_or(1) <= 1 {
        return Ok(Outcome { servers: Servers::single(), status: None, report: None, again: None });
    }
    // More than one server never begins: the others join the first when that has begun.
    let begun = cluster_id.is_some() || present.is_some_and(|present| present > 1);
    let present = present.unwrap_or(1).max(1);
    let servers = |replicas, cluster_id| Servers { replicas, etcd: true, cluster_id };
    let as_it_is = |report, cluster_id: Option<String>| Outcome {
        servers: servers(if begun { present } else { 1 }, cluster_id),
        status: known.clone(),
        report,
        again: Some(SOON),
    };
    if set.as_ref().is_some_and(|set| server::is_paused(set)) {
        // Nobody can be asked, and nobody has left: all of them come back.
        let report = Report::missing(PAUSED, "the servers are paused, and their members stay");
        return Ok(Outcome { again: None, ..as_it_is(Some(report), cluster_id) });
    }
    let is_etcd = set.as_ref().is_some_and(|set| server::has_etcd(set));
    let Some(authorities) = context.health.authorities(&site.uid).filter(|_| is_etcd) else {
        // We may have begun just now ourselves, and say nothing new of what was begun before.
        let report = (!begun).then(|| Report::missing("Starting", "the first server has not begun yet"));
        return Ok(as_it_is(report, cluster_id));
    };
    let access = Access::new(&authorities.etcd)
        .map_err(|message| Error::Build { what: "the certificate for etcd".to_owned(), message })?;

    let servers_there = volumes(context, site, cluster).await?;
    let asked = join_all(servers_there.into_iter().map(|pod| ask(&access, pod))).await;
    let list = list(&asked, cluster_id.as_deref()).await;
    let Some(list) = list else {
        let report = match &known {
            Some(_) if was_paused(cluster) => {
                let message = format!("the servers start after the pause: {}", words(&asked));
                Report::missing("Starting", message)
            }
            Some(known) => unreachable(site, cluster, known, &asked),
            None => Report::missing("Starting", format!("the first server is starting: {}", words(&asked))),
        };
        return Ok(as_it_is(Some(report), cluster_id));
    };
    let id = list.header.as_ref().map(|header| header.cluster_id).unwrap_or_default();
    let world = world(site, (desired, present), known.as_ref(), &asked, list);
    let status = status(id, &world);
    let decision = decide(&world);
    let done = act(context, site, &asked, &world, &decision).await;
    let report = match done {
        Ok(()) => report(&world, &decision),
        Err(message) => Report::missing("ChangeRefused", message),
    };
    let went_well = report.reason != "ChangeRefused";
    let replicas = if went_well { decision.replicas } else { present };
    let unsettled = !report.ok || !decision.actions.is_empty() || replicas != present;
    Ok(Outcome {
        servers: servers(replicas, Some(status.cluster_id.clone())),
        status: Some(status),
        report: Some(report),
        again: unsettled.then_some(SOON),
    })
}

/// A server pod with what it said.
struct Asked {
    server: Server,
    cluster: Option<u64>,
    connection: Result<Connection, String>,
}

/// The server pods, with the UID of what holds the data of each.
async fn volumes(context: &Context, site: &Site, cluster: &Cluster) -> Result<Vec<Server>, Error> {
    let all = context.caches.server_pods(site);
    let server = |pod: &Pod, volume| Server {
        name: pod.name_any(),
        address: pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse::<IpAddr>().ok()),
        volume,
        ready: pods::is_ready(pod),
        answers: None,
    };
    if cluster.spec.persistence() == Storage::Ephemeral {
        return Ok(all.iter().map(|pod| server(pod, pod.uid())).collect());
    }
    let claims: Api<PartialObjectMeta<PersistentVolumeClaim>> =
        Api::namespaced(context.client.clone(), &site.namespace);
    let ours = format!("{}={},{}={}", labels::CLUSTER, site.name, labels::COMPONENT, component::SERVER);
    let claims = claims.list_metadata(&ListParams::default().labels(&ours)).await;
    let claims = claims
        .map_err(|source| Error::Read { what: "the servers' PersistentVolumeClaims".to_owned(), source })?;
    let uids: BTreeMap<String, Option<String>> =
        claims.iter().map(|claim| (claim.name_any(), claim.uid())).collect();
    let volume = |pod: &Pod| uids.get(&format!("{DATA_VOLUME}-{}", pod.name_any())).cloned().flatten();
    Ok(all.iter().map(|pod| server(pod, volume(pod))).collect())
}

async fn ask(access: &Access, mut server: Server) -> Asked {
    let Some(address) = server.address else {
        return Asked { server, cluster: None, connection: Err("it has no address yet".to_owned()) };
    };
    let asked = async {
        let mut connection = access.connect(address).await?;
        let status = connection.status().await?;
        Ok((connection, status))
    };
    match asked.await {
        Ok((connection, status)) => {
            let header = status.header.unwrap_or_default();
            let votes = !status.is_learner && status.leader != 0;
            server.answers = Some(Answer { id: header.member_id, votes });
            Asked { server, cluster: Some(header.cluster_id), connection: Ok(connection) }
        }
        Err(error) => Asked { server, cluster: None, connection: Err(error) },
    }
}

/// The members, from one that knows of a majority, of the cluster that was begun once.
async fn list(asked: &[Asked], cluster_id: Option<&str>) -> Option<MemberListResponse> {
    for one in asked {
        let (Ok(connection), Some(answer), Some(cluster)) =
            (&one.connection, one.server.answers, one.cluster)
        else {
            continue;
        };
        if !answer.votes || cluster_id.is_some_and(|begun| begun != hex(cluster)) {
            continue;
        }
        let mut connection = connection.clone();
        // One that was removed and has not noticed yet speaks for nobody.
        if let Ok(list) = connection.members().await
            && list.members.iter().any(|member| member.id == answer.id)
        {
            return Some(list);
        }
    }
    None
}

fn world(
    site: &Site,
    (desired, present): (u32, u32),
    known: Option<&EtcdStatus>,
    asked: &[Asked],
    list: MemberListResponse,
) -> World {
    let id = list.header.as_ref().map(|header| header.cluster_id).unwrap_or_default();
    let members = list.members.into_iter().map(|member| Member {
        id: member.id,
        name: member.name,
        urls: member.peer_urls,
        learner: member.is_learner,
    });
    let members: Vec<Member> = members.collect();
    let servers: Vec<Server> = asked
        .iter()
        .map(|one| {
            let mut server = one.server.clone();
            // What another etcd says of itself says nothing of this one.
            server.answers = server.answers.filter(|_| one.cluster == Some(id));
            server
        })
        .collect();
    // A member that answers has its data where it answers; of the others holds what was seen last.
    let mut volumes: BTreeMap<u64, String> = BTreeMap::new();
    for member in known.iter().flat_map(|known| &known.members) {
        if let (Ok(id), Some(volume)) = (u64::from_str_radix(&member.id, 16), &member.volume) {
            volumes.insert(id, volume.clone());
        }
    }
    for server in &servers {
        if let (Some(answer), Some(volume)) = (server.answers, &server.volume) {
            volumes.insert(answer.id, volume.clone());
        }
    }
    volumes.retain(|id, _| members.iter().any(|member| member.id == *id));
    let names = site.names();
    let domain = service::headless_domain(site);
    World { desired, present, set: names.server(), domain, servers, members, volumes }
}

fn status(id: u64, world: &World) -> EtcdStatus {
    let members = world.members.iter().map(|member| EtcdMember {
        server: member.pod().unwrap_or_default().to_owned(),
        id: hex(member.id),
        volume: world.volumes.get(&member.id).cloned(),
        learner: member.learner,
    });
    let mut members: Vec<EtcdMember> = members.collect();
    members.sort_by(|a, b| (&a.server, &a.id).cmp(&(&b.server, &b.id)));
    EtcdStatus { cluster_id: hex(id), members }
}

async fn act(
    context: &Context,
    site: &Site,
    asked: &[Asked],
    world: &World,
    decision: &Decision,
) -> Result<(), String> {
    for action in &decision.actions {
        tracing::info!(
            cluster = site.name,
            namespace = site.namespace,
            ?action,
            "changing the members of etcd"
        );
        by_any(asked, world, action).await.map_err(|error| match action {
            Action::Remove { id, .. } => format!("etcd does not remove member {}: {error}", hex(*id)),
            Action::Update { id, .. } => format!("etcd does not readdress member {}: {error}", hex(*id)),
        })?;
        if let Action::Remove { id, why } = action {
            context.events.member_removed(site, &hex(*id), why).await;
        }
    }
    Ok(())
}

/// Asks one voting member after the other, until one does it. Each judges by its own connections whether a majority would be left, and
/// one that was made anew may take others for away that are not. Whom it is about is not asked, nor who was removed before and has not
/// noticed yet: they could agree to it and be gone before they have told the others.
async fn by_any(asked: &[Asked], world: &World, action: &Action) -> Result<(), String> {
    let mut refused = Err("nobody votes".to_owned());
    for one in asked {
        let (Ok(connection), Some(answer)) = (&one.connection, one.server.answers) else { continue };
        let mut connection = connection.clone();
        refused = match action {
            _ if !answer.votes || !world.members.iter().any(|member| member.id == answer.id) => continue,
            Action::Remove { id, .. } if *id == answer.id => continue,
            Action::Remove { id, .. } => connection.remove(*id).await,
            Action::Update { id, urls } => connection.update(*id, urls.clone()).await,
        };
        if refused.is_ok() {
            break;
        }
    }
    refused
}

fn report(world: &World, decision: &Decision) -> Report {
    let voters = world.members.iter().filter(|member| !member.learner).count();
    let learners = world.members.len() - voters;
    let answers = |member: &&Member| {
        let mut answers = world.servers.iter().filter_map(|server| server.answers);
        answers.any(|answer| answer.id == member.id)
    };
    let down: Vec<&str> =
        world.members.iter().filter(|member| !answers(member)).map(|member| member.name.as_str()).collect();
    if let Some(waits) = &decision.waits {
        return Report::missing("Waiting", waits.clone());
    }
    if decision.replicas < world.present {
        let message = format!("{voters} members vote; server {} goes", decision.replicas);
        return Report::missing("ScalingDown", message);
    }
    if learners > 0 || voters < world.desired as usize || decision.replicas > world.present {
        let message = format!(
            "{voters} of {} members vote, {learners} learn what the others know: servers join one after the other, which takes up to half a minute each",
            world.desired
        );
        return Report::missing("Joining", message);
    }
    if !down.is_empty() {
        let message = format!(
            "{voters} members vote, of which {} do not answer: {}; {} must. `kubectl get pods` tells why",
            down.len(),
            down.join(", "),
            quorum(voters)
        );
        return Report::missing("MemberDown", message);
    }
    Report::well("Healthy", format!("{voters} members vote"))
}

/// No majority answers.
fn unreachable(site: &Site, cluster: &Cluster, known: &EtcdStatus, asked: &[Asked]) -> Report {
    let ephemeral = cluster.spec.persistence() == Storage::Ephemeral;
    let kept = known
        .members
        .iter()
        .any(|member| member.volume.is_none() || asked.iter().any(|one| one.server.volume == member.volume));
    if ephemeral && !kept && !asked.is_empty() {
        let message = format!(
            "all server pods were made anew, and the data went with the old ones, as spec.persistence is ephemeral. Delete the cluster and create it again: kubectl k3k delete {} --namespace {}",
            site.name, site.namespace
        );
        return Report::missing("DataLost", message);
    }
    let voters = known.members.iter().filter(|member| !member.learner).count();
    let message = format!(
        "no majority of the {voters} voting members answers ({} must): {}. Nothing is lost while the servers' volumes are there, and the cluster goes on when the pods run: kubectl get pods,pvc --namespace {} --selector {}={} tells what keeps them",
        quorum(voters),
        words(asked),
        site.namespace,
        labels::CLUSTER,
        site.name
    );
    Report::missing("QuorumLost", message)
}

fn words(asked: &[Asked]) -> String {
    if asked.is_empty() {
        return "there is no server pod".to_owned();
    }
    let word = |one: &Asked| match (&one.connection, one.server.answers) {
        (Err(error), _) => format!("{}: {error}", one.server.name),
        (Ok(_), Some(Answer { votes: true, .. })) => format!("{} has a leader", one.server.name),
        (Ok(_), _) => format!("{} runs and knows no leader", one.server.name),
    };
    asked.iter().map(word).collect::<Vec<_>>().join("; ")
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}
