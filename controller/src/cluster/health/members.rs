//! Following nodes that are pods of the cluster, in mode virtual: all that are wanted must be ready, and those whose pods are gone for good
//! are removed, because nobody inside knows that they will not come back.

use super::Report;
use super::nested::judge;
use crate::cluster::build::Site;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::DeleteParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch::Receiver;

/// What the host says of a cluster's nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The nodes that shall be.
    pub wanted: BTreeSet<String>,
    /// The pods that are there, each under the name of its node.
    pub present: BTreeSet<String>,
}

impl Members {
    /// The nodes of so many servers and agents, of which these pods are there.
    pub fn new(site: &Site, servers: i32, agents: i32, present: BTreeSet<String>) -> Self {
        let names = site.names();
        let of = |set: String, count: i32| (0..count).map(move |ordinal| format!("{set}-{ordinal}"));
        Self { wanted: of(names.server(), servers).chain(of(names.agent(), agents)).collect(), present }
    }

    /// Whether the node is of a pod of ours that is gone for good. Other nodes may have joined, and are their owners' matter.
    fn is_stale(&self, site: &Site, node: &str) -> bool {
        let names = site.names();
        let is_ours = [names.server(), names.agent()].iter().any(|set| {
            let ordinal = node.strip_prefix(set.as_str()).and_then(|rest| rest.strip_prefix('-'));
            ordinal.is_some_and(|digits| {
                !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
            })
        });
        is_ours && !self.wanted.contains(node) && !self.present.contains(node)
    }

    /// What the states of the nodes mean.
    fn sum_up(&self, known: &BTreeMap<String, Report>) -> Report {
        let states = self.wanted.iter().map(|name| known.get(name).cloned().unwrap_or_else(|| absent(name)));
        let (ready, others): (Vec<_>, Vec<_>) = states.partition(|state| state.ok);
        match others.first() {
            None if ready.len() == 1 => ready.into_iter().next().unwrap_or_else(unknown),
            None => Report::well("Ready", format!("all {} nodes are ready", ready.len())),
            Some(other) if self.wanted.len() == 1 => other.clone(),
            Some(other) => {
                let (count, of) = (ready.len(), self.wanted.len());
                Report::missing(other.reason, format!("{count} of {of} nodes are ready; {}", other.message))
            }
        }
    }
}

/// Before anything is known.
pub(super) fn unknown() -> Report {
    Report::missing("NodeMissing", "no node of the cluster has registered yet")
}

fn absent(name: &str) -> Report {
    Report::missing("NodeMissing", format!("node {name:?} has not registered yet"))
}

/// Follows the nodes until the watch breaks.
pub(super) async fn follow(
    client: Client,
    site: &Site,
    mut members: Receiver<Option<Members>>,
    report: &impl Fn(Report),
) {
    let nodes: Api<Node> = Api::all(client.clone());
    let mut events = watcher(nodes, watcher::Config::default()).boxed();
    let mut known = BTreeMap::new();
    let mut is_listed = false;
    loop {
        tokio::select! {
            event = events.try_next() => match event {
                Ok(Some(Event::Apply(node) | Event::InitApply(node))) => {
                    let name = node.name_any();
                    known.insert(name.clone(), judge(&node, &name, "its pod"));
                }
                Ok(Some(Event::Delete(node))) => drop(known.remove(&node.name_any())),
                Ok(Some(Event::Init)) => {
                    known.clear();
                    is_listed = false;
                }
                Ok(Some(Event::InitDone)) => is_listed = true,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "the watch on nested nodes broke");
                    return;
                }
            },
            changed = members.changed() => if changed.is_err() {
                return;
            },
        }
        let now = members.borrow_and_update().clone();
        let Some(now) = now.filter(|_| is_listed) else { continue };
        report(now.sum_up(&known));
        let stale: Vec<String> = known.keys().filter(|name| now.is_stale(site, name)).cloned().collect();
        for name in stale {
            tracing::info!(
                cluster = site.name,
                namespace = site.namespace,
                node = name,
                "removing a nested node whose pod is gone"
            );
            if let Err(error) = remove(&client, &name).await {
                tracing::debug!(%error, node = name, "a nested node is not removed; the watch begins anew");
                return;
            }
        }
    }
}

/// Removes a node and what k3s knows it by, so that the name is free.
async fn remove(client: &Client, name: &str) -> Result<(), kube::Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let password = format!("{name}.node-password.k3s");
    gone(secrets.delete(&password, &DeleteParams::default()).await.map(drop))?;
    gone(Api::<Node>::all(client.clone()).delete(name, &DeleteParams::default()).await.map(drop))
}

fn gone(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn site() -> Site {
        Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() }
    }

    fn members(agents: i32, present: &[&str]) -> Members {
        Members::new(&site(), 1, agents, present.iter().map(|name| (*name).to_owned()).collect())
    }

    #[rstest]
    #[case::wanted(1, &[], "k3k-dev-agent-0", false)]
    #[case::scaled_down(1, &[], "k3k-dev-agent-1", true)]
    #[case::still_stopping(1, &["k3k-dev-agent-1"], "k3k-dev-agent-1", false)]
    #[case::server(1, &[], "k3k-dev-server-1", true)]
    #[case::first_server(0, &[], "k3k-dev-server-0", false)]
    #[case::somebody_elses(1, &[], "worker-1", false)]
    #[case::somebody_elses_alike(1, &[], "k3k-dev-agent-x1", false)]
    #[case::of_another_cluster(1, &[], "k3k-dev-agent-2-agent-0", false)]
    #[case::no_ordinal(1, &[], "k3k-dev-agent-", false)]
    fn a_node_is_stale_when_its_pod_will_not_come_back(
        #[case] agents: i32,
        #[case] present: &[&str],
        #[case] node: &str,
        #[case] is_stale: bool,
    ) {
        assert_eq!(members(agents, present).is_stale(&site(), node), is_stale);
    }

    #[test]
    fn all_that_are_wanted_must_be_ready() {
        let well = |name: &str| (name.to_owned(), Report::well("Ready", format!("node {name:?} is ready")));
        let ill = |name: &str| (name.to_owned(), Report::missing("NodeSilent", "it no longer reports"));
        let one = members(0, &[]);
        assert_eq!(one.sum_up(&BTreeMap::new()).message, "node \"k3k-dev-server-0\" has not registered yet");
        assert_eq!(
            one.sum_up(&[well("k3k-dev-server-0")].into()).message,
            "node \"k3k-dev-server-0\" is ready"
        );
        let two = members(1, &[]);
        let report = two.sum_up(&[well("k3k-dev-server-0"), well("other")].into());
        let message = "1 of 2 nodes are ready; node \"k3k-dev-agent-0\" has not registered yet";
        assert_eq!((report.ok, report.message.as_str()), (false, message));
        let report = two.sum_up(&[well("k3k-dev-server-0"), ill("k3k-dev-agent-0")].into());
        assert_eq!(
            (report.reason, report.message.as_str()),
            ("NodeSilent", "1 of 2 nodes are ready; it no longer reports")
        );
        let report = two.sum_up(&[well("k3k-dev-server-0"), well("k3k-dev-agent-0"), ill("other")].into());
        assert_eq!((report.ok, report.message.as_str()), (true, "all 2 nodes are ready"));
    }
}
