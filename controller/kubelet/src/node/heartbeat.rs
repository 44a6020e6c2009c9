//! Registration of the node, and the Lease by which the nested cluster knows that we live (KEP-589).

use super::{node, status};
use crate::config::{Config, Files};
use k3k_api::managers;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;

/// A kubelet's usual rhythm: a lease of 40 s, renewed every 10 s.
const LEASE: Duration = Duration::from_secs(40);
const RENEWAL: Duration = Duration::from_secs(10);

/// Why the node is not registered or its lease not renewed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} of node {node} in the nested cluster: {source}")]
pub struct Error {
    action: &'static str,
    node: String,
    source: kube::Error,
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
        let nodes: Api<Node> = Api::all(self.nested.clone());
        let params = PatchParams::apply(managers::KUBELET).force();
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
        let status = status(&self.config, self.host_ip, &self.since, &Timestamp::now().to_string());
        nodes.patch_status(&name, &params, &Patch::Apply(status)).await.map_err(error("apply the status"))?;
        self.renew().await
    }

    async fn renew(&self) -> Result<(), Error> {
        let name = &self.config.node_name;
        let leases: Api<Lease> = Api::namespaced(self.nested.clone(), "kube-node-lease");
        let mut lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": "kube-node-lease"},
            "spec": {
                "holderIdentity": name, "leaseDurationSeconds": LEASE.as_secs(),
                "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            },
        });
        if let Some(uid) = &self.owner {
            lease["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]);
        }
        let params = PatchParams::apply(managers::KUBELET).force();
        leases.patch(name, &params, &Patch::Apply(lease)).await.map(drop).map_err(|source| Error {
            action: "renew the lease",
            node: name.clone(),
            source,
        })
    }

    /// Renews the lease for ever. When the controller has written another capacity, or someone has removed the node, it is
    /// registered anew.
    pub async fn beat(mut self) {
        let mut ticks = tokio::time::interval(RENEWAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let result = match Config::load(&self.files.config) {
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
            };
            if let Err(error) = result {
                tracing::warn!(%error, "the node shows no sign of life; trying again");
            }
        }
    }

    async fn is_gone(&self) -> bool {
        let nodes: Api<Node> = Api::all(self.nested.clone());
        matches!(nodes.get_metadata_opt(&self.config.node_name).await, Ok(None))
    }
}
