//! Registration of the node, and the Lease by which the nested cluster knows that we live (KEP-589).

use super::mirrored::sweep;
use super::{node, status};
use crate::clients::signed;
use crate::config::{Config, Files};
use futures::FutureExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch};
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// A kubelet's usual rhythm: a lease of 40 s, renewed every 10 s.
const LEASE: Duration = Duration::from_secs(40);
pub(super) const RENEWAL: Duration = Duration::from_secs(10);
/// Pauses after a failure: before the first success, when somebody waits for the node, and later.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(500);
pub(super) const RETRY: Duration = Duration::from_secs(2);
/// After how long without an answer another may try instead.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// Why the node is not registered or its lease not renewed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} of node {node} in the nested cluster: {source}")]
pub struct Error {
    action: &'static str,
    node: String,
    source: kube::Error,
}

impl Error {
    pub(super) fn on(action: &'static str, node: &str) -> impl FnOnce(kube::Error) -> Self + use<> {
        let node = node.to_owned();
        move |source| Self { action, node, source }
    }
}

/// Keeps one node registered and alive.
pub struct Heartbeat {
    nested: Client,
    files: Files,
    config: Config,
    host_ip: Option<IpAddr>,
    since: String,
    owner: Option<String>,
}

impl Heartbeat {
    /// For the node of `config`; `host_ip` is where its node ports are reached from outside.
    pub fn new(nested: Client, files: Files, config: Config, host_ip: Option<IpAddr>) -> Self {
        Self { nested, files, config, host_ip, since: Timestamp::now().to_string(), owner: None }
    }

    /// Creates or updates the Node, its status and its Lease.
    pub async fn register(&mut self) -> Result<(), Error> {
        if self.owner.is_none() {
            sweep(&self.nested, &self.config.node_name).await?;
        }
        let nodes: Api<Node> = Api::all(self.nested.clone());
        let params = signed::apply();
        let name = self.config.node_name.clone();
        let error = |action| {
            let node = name.clone();
            move |source| Error { action, node, source }
        };
        let node = nodes
            .patch(&name, &params, &Patch::Apply(node(&self.config)))
            .await
            .map_err(error("apply the object"))?;
        self.owner = node.metadata.uid;
        // A new leader is not a new state of the node.
        if let Some(since) = ready_since(node.status.as_ref()) {
            self.since = since;
        }
        let status = status(&self.config, self.host_ip, &self.since, &Timestamp::now().to_string());
        nodes.patch_status(&name, &params, &Patch::Apply(status)).await.map_err(error("apply the status"))?;
        self.renew().await
    }

    async fn renew(&self) -> Result<(), Error> {
        renew(&self.nested, &self.config.node_name, self.owner.as_deref()).await
    }

    /// Registers the node and renews its lease, for as long as the nested API can be reached. Ends when it could not for so long
    /// that the lease would lapse, were there not time for another to take over. When the controller has written another capacity,
    /// or someone has removed the node, it is registered anew.
    pub async fn beat(mut self) {
        let mut heard = Instant::now();
        let mut registered = false;
        while heard.elapsed() < SILENCE {
            let answer = if registered { self.renew_or_register().boxed() } else { self.register().boxed() };
            match tokio::time::timeout(RENEWAL, answer).await {
                Ok(Ok(())) => {
                    if !registered {
                        tracing::info!("the node is registered");
                    }
                    (registered, heard) = (true, Instant::now());
                    tokio::time::sleep(RENEWAL).await;
                    continue;
                }
                Ok(Err(error)) => tracing::warn!(%error, "the node shows no sign of life; trying again"),
                Err(_) => {
                    tracing::warn!("the nested API does not answer in time; the node shows no sign of life");
                }
            }
            tokio::time::sleep(if registered { RETRY } else { RETRY_FIRST }).await;
        }
        tracing::warn!(silence = ?SILENCE, "the nested API has been out of reach");
    }

    async fn renew_or_register(&mut self) -> Result<(), Error> {
        match Config::load(&self.files.config) {
            Ok(config) if config != self.config => {
                tracing::info!("the configuration changed; the node is registered anew");
                self.config = config;
                self.register().await
            }
            Err(error) => {
                tracing::warn!(%error, "the configuration cannot be read; going on with the one in use");
                self.renew().await
            }
            Ok(_) if self.is_gone().await => self.register().await,
            Ok(_) => self.renew().await,
        }
    }

    async fn is_gone(&self) -> bool {
        let nodes: Api<Node> = Api::all(self.nested.clone());
        matches!(nodes.get_metadata_opt(&self.config.node_name).await, Ok(None))
    }
}

/// Since when the node has been Ready, if it is.
fn ready_since(status: Option<&NodeStatus>) -> Option<String> {
    let conditions = status?.conditions.as_deref()?;
    let ready =
        conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(ready.last_transition_time.as_ref()?.0.to_string())
}

/// Renews the lease of node `name`, which goes with that node.
pub(super) async fn renew(nested: &Client, name: &str, uid: Option<&str>) -> Result<(), Error> {
    let leases: Api<Lease> = Api::namespaced(nested.clone(), "kube-node-lease");
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {
            "holderIdentity": name, "leaseDurationSeconds": LEASE.as_secs(),
            "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        },
    });
    if let Some(uid) = uid {
        lease["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]);
    }
    let params = signed::apply();
    let renewed = leases.patch(name, &params, &Patch::Apply(lease)).await;
    renewed.map(drop).map_err(Error::on("renew the lease", name))
}
