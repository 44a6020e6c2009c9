//! The task that follows one nested cluster.

use super::classes::{self, Classes};
use super::members::{self, Members};
use super::{Health, Report, access, admission, endpoints, priority_classes};
use crate::cluster::build::certificates::Authorities;
use crate::cluster::build::mode::Nodes;
use crate::cluster::build::outside::Advertised;
use crate::cluster::build::{Site, base64};
use crate::cluster::plan::Addresses;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::TryStreamExt as _;
use k3k_api::labels::MIRRORED_NODE;
use k3k_api::managers;
use k3k_api::v1beta1::SyncConfig;
use k3k_runtime::certificates::{Leaf, Pair, Usage};
use k8s_openapi::api::core::v1::Node;
use kube::config::AuthInfo;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config, ResourceExt as _};
use std::collections::BTreeMap;
use std::error::Error as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, timeout};
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

/// Longest wait for an answer to `/readyz`.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a starting server is asked at short intervals.
const STARTING: Duration = Duration::from_secs(120);

/// How long our certificate is valid. The next connection brings a new one.
const IDENTITY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Where a nested API is and who signs there.
#[derive(Clone)]
pub struct Target {
    endpoint: String,
    address: SocketAddr,
    nodes: Nodes,
    node: String,
    mirrors: bool,
    authorities: Arc<Authorities>,
    /// Where the nested API server asks about pods.
    pub(super) admission: Option<String>,
    /// Where workers outside are told that the API is.
    advertised: Option<Advertised>,
    site: Site,
    sync: SyncConfig,
    host: Option<Client>,
}

impl Target {
    /// The API of `site`, whose nodes come about like this.
    pub fn new(site: &Site, nodes: Nodes, addresses: &Addresses, authorities: Authorities) -> Self {
        Self {
            endpoint: addresses.endpoint(),
            address: (addresses.api, addresses.api_port).into(),
            nodes,
            node: site.names().node(),
            mirrors: false,
            authorities: Arc::new(authorities),
            admission: None,
            advertised: None,
            site: site.clone(),
            sync: SyncConfig::default(),
            host: None,
        }
    }

    /// The same, with what of the host is offered inside, and what of inside is copied to the host.
    #[must_use]
    pub fn exchanging(self, sync: SyncConfig, host: Client) -> Self {
        Self { sync, host: Some(host), ..self }
    }

    /// The same, with this URL at which the nested API server asks the virtual kubelet about pods.
    #[must_use]
    pub fn asking(self, admission: Option<String>) -> Self {
        Self { admission, ..self }
    }

    /// The same, whose workers are told that the API is there.
    #[must_use]
    pub fn advertising(self, advertised: Option<Advertised>) -> Self {
        Self { advertised, ..self }
    }

    /// Certificate of the authority behind the nested API server and the virtual kubelet.
    pub(super) fn server_ca(&self) -> &str {
        self.authorities.server.certificate_pem()
    }

    /// The authorities that sign there.
    pub(super) fn authorities(&self) -> Arc<Authorities> {
        self.authorities.clone()
    }

    /// The same, with nodes that mirror the host's if `mirrors`.
    #[must_use]
    pub fn mirroring(self, mirrors: bool) -> Self {
        Self { mirrors, ..self }
    }

    /// Selects the nodes of the virtual kubelet.
    fn shown(&self) -> watcher::Config {
        let all = watcher::Config::default();
        if self.mirrors {
            all.labels(&format!("{MIRRORED_NODE}=true"))
        } else {
            all.fields(&format!("metadata.name={}", self.node))
        }
    }

    /// A new certificate of ours.
    fn identity(&self) -> Result<Pair, String> {
        let leaf = Leaf {
            common_name: managers::CONTROLLER.to_owned(),
            organizations: vec!["system:masters".to_owned()],
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usages: vec![Usage::Client],
            lifetime: IDENTITY_LIFETIME,
        };
        self.authorities.client.issue(&leaf).map_err(|error| error.to_string())
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let certificates = |target: &Self| {
            let Authorities { server, client, .. } = &*target.authorities;
            (server.certificate_pem().to_owned(), client.certificate_pem().to_owned())
        };
        self.endpoint == other.endpoint
            && self.nodes == other.nodes
            && self.node == other.node
            && self.mirrors == other.mirrors
            && self.admission == other.admission
            && self.advertised == other.advertised
            && self.sync == other.sync
            && certificates(self) == certificates(other)
    }
}

/// What a cluster is followed by besides its own API.
pub(super) struct Surroundings {
    /// Its server pods have changed.
    pub(super) recheck: Arc<Notify>,
    /// The host's classes.
    pub(super) classes: Classes,
    /// Its nodes, as the host knows them.
    pub(super) members: Receiver<Option<Members>>,
}

/// Follows the cluster until the task is aborted.
pub(super) async fn follow(
    target: Target,
    surroundings: Surroundings,
    publish: impl Fn(&dyn Fn(&mut Health)) + Send + 'static,
) {
    let Surroundings { recheck, classes, members } = surroundings;
    let report_api = |report: Report| {
        publish(&|health: &mut Health| {
            if !report.ok {
                health.node = Report::missing("APINotReady", "unknown while the nested API does not answer");
            } else if !health.api.ok {
                health.node = before_any(&target);
            }
            health.api = report.clone();
        });
    };
    let is_well = tokio::sync::watch::Sender::new(false);
    let report_node = |report: Report| {
        is_well.send_if_modified(|was| std::mem::replace(was, report.ok) != report.ok);
        publish(&move |health: &mut Health| health.node = report.clone());
    };
    loop {
        let client = until_ready(&target, &recheck, &report_api).await;
        tokio::select! {
            () = follow_nodes(client.clone(), &target, members.clone(), &report_node) => {}
            () = classes::offer(client.clone(), classes.clone(), &target.sync) => {}
            () = admission::keep(client.clone(), &target, is_well.subscribe()) => {}
            () = endpoints::keep(client.clone(), target.advertised.as_ref()) => {}
            () = copy_priorities(&target, client, classes.clone()) => {}
            () = recheck.notified() => {}
        }
    }
}

async fn copy_priorities(target: &Target, nested: Client, classes: Classes) {
    match target.host.clone() {
        Some(host) => priority_classes::copy(nested, host, &target.site, classes, &target.sync).await,
        None => std::future::pending().await,
    }
}

/// Asks until the API says that it is ready. Short intervals while a server may be starting, longer ones later; a
/// change of the server pods starts over.
async fn until_ready(target: &Target, recheck: &Notify, report: &impl Fn(Report)) -> Client {
    let intervals = |longest| {
        let builder =
            ExponentialBuilder::default().with_min_delay(Duration::from_millis(50)).with_factor(1.5);
        builder.with_max_delay(longest).without_max_times().build()
    };
    loop {
        let client = match client(target) {
            Ok(client) => client,
            Err(message) => {
                report(Report::missing("NoClient", message));
                recheck.notified().await;
                continue;
            }
        };
        let begun = Instant::now();
        let (mut soon, mut later) =
            (intervals(Duration::from_millis(250)), intervals(Duration::from_secs(5)));
        let mut granted = false;
        loop {
            match ask(target, &client, &mut granted).await {
                Ok(()) => {
                    report(Report::well("Ready", "the nested API answers and is ready"));
                    return client;
                }
                Err(reason) => report(reason),
            }
            let delay = if begun.elapsed() < STARTING { soon.next() } else { later.next() };
            tokio::select! {
                () = sleep(delay.unwrap_or(PATIENCE)) => {}
                () = recheck.notified() => break,
            }
        }
    }
}

/// One question. Grants the virtual kubelet's rights first: the sooner it has them, the sooner there is a node.
async fn ask(target: &Target, client: &Client, granted: &mut bool) -> Result<(), Report> {
    if !*granted {
        knock(target).await?;
        if target.nodes.are_shown() {
            answer(access::grant(client)).await?;
        }
        answer(access::first_account(client)).await?;
        // Whoever joins at once is told this address, not the server pod's.
        if let Some(advertised) = &target.advertised {
            answer(endpoints::write(client, advertised)).await?;
        }
        *granted = true;
    }
    let request = http::Request::get("/readyz").body(Vec::new());
    let request = request.map_err(|error| Report::missing("NoClient", error.to_string()))?;
    answer(client.request_text(request)).await?;
    Ok(())
}

/// Whether anything listens. Cheaper, and quieter in our log, than a request that fails.
async fn knock(target: &Target) -> Result<(), Report> {
    let closed = || Report::missing("Unreachable", "nothing answers at the nested API's address yet");
    match timeout(PATIENCE, TcpStream::connect(target.address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(closed()),
    }
}

async fn answer<T>(question: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Report> {
    // That a starting server fails is what we ask for; the client need not write each time to the log.
    let question = question.with_subscriber(NoSubscriber::default());
    match timeout(PATIENCE, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(Report::missing("NoAnswer", "the nested API does not answer in time")),
    }
}

/// A failure in words that stay the same while its cause does.
fn describe(error: &kube::Error) -> Report {
    if let kube::Error::Api(status) = error {
        return match status.code {
            401 | 403 => Report::missing(
                "Unauthorized",
                "the nested API does not accept the cluster's own certificates; was its data made with other ones?",
            ),
            _ => Report::missing("Starting", "the nested API is starting"),
        };
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    tracing::debug!(error = text, "nested API");
    if text.contains("certificate") {
        return Report::missing(
            "Untrusted",
            "who answers at the nested API's address cannot prove to be it: its certificate is not signed by the cluster's authority",
        );
    }
    Report::missing("Unreachable", "nothing answers at the nested API's address yet")
}

/// A client of the nested API that trusts only the cluster's authority.
fn client(target: &Target) -> Result<Client, String> {
    let identity = target.identity()?;
    let endpoint =
        target.endpoint.parse().map_err(|error| format!("the URL {:?}: {error}", target.endpoint))?;
    let mut config = Config::new(endpoint);
    config.root_cert = Some(vec![certificate_der(target.authorities.server.certificate_pem())?]);
    config.auth_info = serde_json::from_value::<AuthInfo>(serde_json::json!({
        "client-certificate-data": base64(&identity.certificate), "client-key-data": base64(&identity.key),
    }))
    .map_err(|error| error.to_string())?;
    config.connect_timeout = Some(PATIENCE);
    config.proxy_url = None;
    // We ask again ourselves.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| error.to_string())
}

/// The DER of a PEM certificate.
fn certificate_der(pem: &str) -> Result<Vec<u8>, String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let der =
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("the server CA: {error}"))?;
    Ok(der.to_vec())
}

/// What is known of nodes when nothing is.
fn before_any(target: &Target) -> Report {
    match target.nodes {
        Nodes::Shown => absent(&target.node),
        Nodes::Pods => members::unknown(),
        Nodes::Outside => joined_from_outside(),
    }
}

/// The cluster's owner brings the nodes, and may have none yet.
fn joined_from_outside() -> Report {
    Report::well("NotFollowed", "workers join from outside: kubectl k3k join prints how")
}

/// Follows the nodes until the watch breaks.
async fn follow_nodes(
    client: Client,
    target: &Target,
    members: Receiver<Option<Members>>,
    report: &impl Fn(Report),
) {
    match target.nodes {
        Nodes::Shown => follow_shown(client, target, report).await,
        Nodes::Pods => members::follow(client, &target.site, members, report).await,
        Nodes::Outside => {
            report(joined_from_outside());
            std::future::pending::<()>().await;
        }
    }
}

/// Follows the nodes of the virtual kubelet. One that is well is enough.
async fn follow_shown(client: Client, target: &Target, report: &impl Fn(Report)) {
    let mut events = pin!(watcher(Api::<Node>::all(client), target.shown()));
    let mut known = BTreeMap::new();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Apply(node) | Event::InitApply(node))) => {
                let name = node.name_any();
                known.insert(name.clone(), judge(&node, &name, "the virtual kubelet"));
            }
            Ok(Some(Event::Delete(node))) => drop(known.remove(&node.name_any())),
            Ok(Some(Event::Init)) => {
                known.clear();
                continue;
            }
            Ok(Some(Event::InitDone)) => {}
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "the watch on nested nodes broke");
                return;
            }
        }
        let best = known.values().find(|node| node.ok).or_else(|| known.values().next());
        report(best.cloned().unwrap_or_else(|| absent(&target.node)));
    }
}

fn absent(name: &str) -> Report {
    Report::missing("NodeMissing", format!("the virtual kubelet has not registered node {name:?} yet"))
}

/// The state of a node that `runner` makes.
pub(super) fn judge(node: &Node, name: &str, runner: &str) -> Report {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    match conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(ready) if ready.status == "True" => Report::well("Ready", format!("node {name:?} is ready")),
        Some(ready) if ready.status == "Unknown" => {
            Report::missing("NodeSilent", format!("node {name:?} no longer reports: is {runner} running?"))
        }
        Some(ready) => {
            let detail = ready
                .message
                .as_deref()
                .filter(|message| !message.is_empty())
                .unwrap_or("it gives no reason");
            Report::missing("NodeNotReady", format!("node {name:?} is not ready: {detail}"))
        }
        None => Report::missing("NodeNotReady", format!("node {name:?} has not reported its state yet")),
    }
}

#[cfg(test)]
#[path = "nested_tests.rs"]
mod tests;
