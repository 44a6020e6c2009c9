//! Nested nodes that stand for nodes of the host, one each.

use super::heartbeat::{Error, RENEWAL, RETRY, RETRY_FIRST, SILENCE, renew};
use super::{resources, runtime};
use crate::clients::signed;
use crate::config::Config;
use futures::future::try_join_all;
use k3k_api::host_node::HostNode;
use k3k_api::labels;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep, timeout};

/// Taints of this prefix are the nested cluster's own.
const LIFECYCLE: &str = "node.kubernetes.io/";

/// The Node as it is applied, without its status. `present` is what the nested cluster has under that name.
fn node(host: &HostNode, present: Option<&Node>) -> Value {
    let mut labels: BTreeMap<&str, &str> =
        host.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    // Keys of ours are about the host.
    labels.retain(|key, _| !key.contains("k3k.io/"));
    labels.insert("type", "virtual-kubelet");
    labels.insert("node.kubernetes.io/exclude-from-external-load-balancers", "true");
    labels.insert(labels::MIRRORED_NODE, "true");
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": host.name, "labels": labels}, "spec": {},
    });
    if host.unschedulable {
        node["spec"]["unschedulable"] = true.into();
    }
    if !host.taints.is_empty() {
        // The list is applied as a whole.
        let present = present.and_then(|node| node.spec.as_ref()).and_then(|spec| spec.taints.as_deref());
        let own = present.unwrap_or_default().iter().filter(|taint| taint.key.starts_with(LIFECYCLE));
        node["spec"]["taints"] = json!(own.chain(&host.taints).collect::<Vec<_>>());
    }
    node
}

/// Its status. Its internal address is where the virtual kubelet answers for all nodes.
fn status(config: &Config, host: &HostNode, now: &str) -> Value {
    let mut addresses = vec![
        json!({"type": "InternalIP", "address": config.node_ip.to_string()}),
        json!({"type": "Hostname", "address": host.name}),
    ];
    addresses.extend(host.address.as_ref().map(|ip| json!({"type": "ExternalIP", "address": ip})));
    let conditions: Vec<Value> = host
        .conditions
        .iter()
        .map(|condition| {
            let mut condition = json!(condition);
            condition["lastHeartbeatTime"] = now.into();
            if condition["lastTransitionTime"] == "" {
                condition["lastTransitionTime"] = now.into();
            }
            condition
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": host.name}, "status": {
        "addresses": addresses,
        "capacity": resources(&host.capacity),
        "allocatable": resources(&host.allocatable),
        "conditions": conditions,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.kubelet_port}},
        "nodeInfo": runtime(&host.architecture, &config.version),
    }})
}

/// Keeps one nested node for each node of the host that the controller tells of.
pub struct Mirrored {
    nested: Client,
    config: Config,
    /// What was written last, and the UID of the nested node.
    written: BTreeMap<String, (HostNode, Option<String>)>,
    swept: bool,
}

impl Mirrored {
    /// For the cluster of `config`.
    pub fn new(nested: Client, config: Config) -> Self {
        Self { nested, config, written: BTreeMap::new(), swept: false }
    }

    /// Follows `hosts`, which is None until the controller has told of any, for as long as the nested API can be reached.
    pub async fn keep(mut self, mut hosts: Receiver<Option<Vec<HostNode>>>) {
        if hosts.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let mut heard = Instant::now();
        while heard.elapsed() < SILENCE {
            let wanted = hosts.borrow_and_update().clone().unwrap_or_default();
            let pause = match timeout(RENEWAL, self.agree(&wanted)).await {
                Ok(Ok(())) => {
                    heard = Instant::now();
                    RENEWAL
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the mirrored nodes are out of date; trying again");
                    if self.written.is_empty() { RETRY_FIRST } else { RETRY }
                }
                Err(_) => {
                    tracing::warn!("the nested API does not answer in time; the nodes show no sign of life");
                    RETRY
                }
            };
            tokio::select! {
                changed = hosts.changed() => if changed.is_err() { return },
                () = sleep(pause) => {}
            }
        }
        tracing::warn!(silence = ?SILENCE, "the nested API has been out of reach");
    }

    async fn agree(&mut self, wanted: &[HostNode]) -> Result<(), Error> {
        let gone = |name: &String| wanted.iter().all(|host| host.name != *name);
        if !self.swept {
            let ours = ListParams::default().labels(&format!("{}=true", labels::MIRRORED_NODE));
            let present = self.nodes().list_metadata(&ours).await;
            let present = present.map_err(Error::on("list the mirrored nodes", &self.config.node_name))?;
            // Also the single node, from before the cluster mirrored any.
            let names =
                present.items.iter().map(ResourceExt::name_any).chain([self.config.node_name.clone()]);
            for name in names.filter(|name| gone(name)) {
                remove(&self.nested, &name).await?;
            }
            self.swept = true;
        }
        let left: Vec<String> = self.written.keys().filter(|name| gone(name)).cloned().collect();
        for name in left {
            remove(&self.nested, &name).await?;
            tracing::info!(node = name, "the host node has gone, and so has the nested one");
            self.written.remove(&name);
        }
        let steps = wanted.iter().map(|host| self.one(host));
        for (host, uid) in wanted.iter().zip(try_join_all(steps).await?) {
            self.written.insert(host.name.clone(), (host.clone(), uid));
        }
        Ok(())
    }

    /// Writes one node, if it is not as it should be, and renews its lease. Gives its UID.
    async fn one(&self, host: &HostNode) -> Result<Option<String>, Error> {
        let nodes = self.nodes();
        let error = |action| Error::on(action, &host.name);
        let present = nodes.get_opt(&host.name).await.map_err(error("read the object"))?;
        let uid = present.as_ref().and_then(|node| node.metadata.uid.clone());
        let is_written =
            self.written.get(&host.name).is_some_and(|(written, of)| written == host && *of == uid);
        if is_written && present.is_some() {
            return renew(&self.nested, &host.name, uid.as_deref()).await.map(|()| uid);
        }
        let params = signed::apply();
        let object = node(host, present.as_ref());
        let applied = nodes.patch(&host.name, &params, &Patch::Apply(object)).await;
        let uid = applied.map_err(error("apply the object"))?.metadata.uid;
        let status = status(&self.config, host, &Timestamp::now().to_string());
        let applied = nodes.patch_status(&host.name, &params, &Patch::Apply(status)).await;
        applied.map_err(error("apply the status"))?;
        renew(&self.nested, &host.name, uid.as_deref()).await?;
        tracing::info!(node = host.name, "a node is mirrored");
        Ok(uid)
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.nested.clone())
    }
}

/// Removes nested nodes that mirrored the host's, when the cluster no longer does.
pub(super) async fn sweep(nested: &Client, node: &str) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(nested.clone());
    let ours = ListParams::default().labels(&format!("{}=true", labels::MIRRORED_NODE));
    let present = nodes.list_metadata(&ours).await.map_err(Error::on("list the mirrored nodes", node))?;
    for left in present.items {
        remove(nested, &left.name_any()).await?;
    }
    Ok(())
}

async fn remove(nested: &Client, name: &str) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(nested.clone());
    match nodes.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        result => result.map(drop).map_err(Error::on("remove the object", name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k3k_runtime::scenario::client;

    fn host(name: &str) -> HostNode {
        serde_json::from_value(json!({
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": "z1", "policy.k3k.io/x": "y"},
            "allocatable": {"cpu": "2"}, "capacity": {"cpu": "2"}, "address": "10.0.0.7", "architecture": "amd64",
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }))
        .unwrap()
    }

    #[test]
    fn a_nested_node_is_like_its_host_node() {
        let whole = node(&host("one"), None);
        let labels = &whole["metadata"]["labels"];
        assert_eq!(labels["kubernetes.io/hostname"], "one");
        assert_eq!(labels["topology.kubernetes.io/zone"], "z1");
        assert!(labels.get("policy.k3k.io/x").is_none());
        assert_eq!(whole["spec"], json!({}), "a tenant's own cordon and taints are left alone");
        let mut cordoned = host("one");
        cordoned.unschedulable = true;
        cordoned.taints =
            serde_json::from_value(json!([{"key": "dedicated", "effect": "NoSchedule"}])).unwrap();
        let present = json!({"metadata": {"name": "one"}, "spec": {"taints": [
            {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}, {"key": "old", "effect": "NoSchedule"},
        ]}});
        let whole = node(&cordoned, Some(&serde_json::from_value(present).unwrap()));
        assert_eq!(whole["spec"]["unschedulable"], true);
        let keys: Vec<_> =
            whole["spec"]["taints"].as_array().unwrap().iter().map(|taint| &taint["key"]).collect();
        assert_eq!(keys, ["node.kubernetes.io/not-ready", "dedicated"]);
        serde_json::from_value::<Node>(whole).unwrap();
    }

    #[tokio::test]
    async fn nodes_come_change_and_go() {
        let (nested, mut server) = client();
        let config = super::super::tests::config();
        let mut mirrored = Mirrored::new(nested, config);
        let path = "/api/v1/nodes";
        let serve = async |server: &mut k3k_runtime::scenario::Scenario, present: bool| {
            let read = server.expect("GET", "/api/v1/nodes/one").await;
            if present {
                read.answer(200, &json!({"metadata": {"name": "one", "uid": "u"}}));
            } else {
                read.refuse(404, "NotFound", "not found");
            }
        };
        let write = async |server: &mut k3k_runtime::scenario::Scenario| {
            let call = server.expect("PATCH", "/api/v1/nodes/one?").await;
            call.answer(200, &json!({"metadata": {"name": "one", "uid": "u"}}));
            let call = server.expect("PATCH", "/api/v1/nodes/one/status").await;
            let ready = call.body["status"]["conditions"][0].clone();
            call.answer(200, &json!({"metadata": {"name": "one", "uid": "u"}}));
            ready
        };
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/one";
        let wanted = [host("one")];
        let (agreed, ()) = tokio::join!(mirrored.agree(&wanted), async {
            let call = server.expect("GET", path).await;
            call.answer(200, &json!({"metadata": {}, "items": [{"metadata": {"name": "old"}}]}));
            for left in ["old", "k3k-dev"] {
                server.expect("DELETE", &format!("{path}/{left}")).await.refuse(404, "NotFound", "gone");
            }
            serve(&mut server, false).await;
            let ready = write(&mut server).await;
            assert_eq!(
                (&ready["status"], &ready["lastTransitionTime"]),
                (&json!("False"), &json!("2026-01-01T00:00:00Z"))
            );
            server.expect("PATCH", lease).await.accept();
        });
        agreed.unwrap();
        let (agreed, ()) = tokio::join!(mirrored.agree(&wanted), async {
            serve(&mut server, true).await;
            let call = server.expect("PATCH", lease).await;
            assert_eq!(call.body["metadata"]["ownerReferences"][0]["uid"], "u");
            call.accept();
        });
        agreed.unwrap();
        let mut better = host("one");
        better.conditions[0].status = "True".into();
        let wanted = [better];
        let (agreed, ()) = tokio::join!(mirrored.agree(&wanted), async {
            serve(&mut server, true).await;
            assert_eq!(write(&mut server).await["status"], "True");
            server.expect("PATCH", lease).await.accept();
        });
        agreed.unwrap();
        let (agreed, ()) = tokio::join!(mirrored.agree(&[]), async {
            server
                .expect("DELETE", "/api/v1/nodes/one")
                .await
                .answer(200, &json!({"metadata": {"name": "one"}}));
        });
        agreed.unwrap();
    }
}
