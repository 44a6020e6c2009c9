//! Saying by which generations of which policies this replica decides, in a Lease of its own. The controller reports a policy as observed
//! when every replica that may be asked has said so; from then on nothing gets in that the new generation refuses.

use crate::lookup::Lookup;
use k3k_api::{labels, managers};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// How long an API server takes at most to write what it has been allowed to: it is the last thing that it does.
const SETTLE: Duration = Duration::from_secs(2);

/// Tells the controller.
pub struct Acknowledge {
    /// How to reach the API server.
    pub client: Client,
    /// Where the Lease is.
    pub namespace: String,
    /// Who this replica is: the name of its pod.
    pub identity: String,
    /// The pod's UID; its Lease goes with it.
    pub uid: Option<String>,
    /// What is known of policies.
    pub lookup: Lookup,
}

impl Acknowledge {
    /// Says what is known, whenever it changes. Ends when nothing more will be known.
    pub async fn run(self) {
        let mut generations: Receiver<BTreeMap<String, i64>> = self.lookup.generations();
        loop {
            let known = generations.borrow_and_update().clone();
            // What was answered by an earlier generation has to be written, too, before this one is said to hold.
            self.lookup.drained().await;
            tokio::time::sleep(SETTLE).await;
            match self.say(&known).await {
                Ok(()) => {
                    if generations.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "saying by which policies this replica decides; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn say(&self, known: &BTreeMap<String, i64>) -> Result<(), kube::Error> {
        let name = labels::webhook_lease(&self.identity);
        let owners: Vec<_> = self
            .uid
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "Pod", "name": self.identity, "uid": uid}))
            .collect();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": name,
                "ownerReferences": owners,
                "labels": {labels::WEBHOOK_REPLICA: "true"},
                "annotations": {labels::POLICY_GENERATIONS: json!(known).to_string()},
            },
            "spec": {"holderIdentity": self.identity},
        });
        let api = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        api.patch(&name, &PatchParams::apply(managers::WEBHOOK).force(), &Patch::Apply(lease)).await.map(drop)
    }
}
