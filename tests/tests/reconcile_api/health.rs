//! How the controller follows a nested API. The API server of the test stands for the nested one.

use super::*;
use futures::StreamExt;
use k3k_controller::cluster::build::Site;
use k3k_controller::cluster::build::certificates::Authorities;
use k3k_controller::cluster::build::kubelet::USER;
use k3k_controller::cluster::build::mode::Nodes;
use k3k_controller::cluster::health::{Health, Registry, Target};
use k3k_controller::cluster::plan::{Addresses, Shown};
use k3k_runtime::certificates::Authority;
use k3k_tests::ApiServer;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::DeleteParams;
use std::collections::HashSet;

fn site() -> Site {
    Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "1".into() }
}

fn target(server: &ApiServer, authority: impl Fn() -> Result<Authority>) -> Result<Target> {
    let uri: http::Uri = server.url().parse()?;
    let addresses = Addresses {
        api: uri.host().context("a host")?.parse()?,
        api_port: uri.port_u16().context("a port")?,
        shown: Some(Shown { kubelet: "127.0.0.1".parse()?, dns: "127.0.0.1".parse()? }),
    };
    Ok(Target::new(
        &site(),
        Nodes::Shown,
        &addresses,
        Authorities { server: authority()?, client: authority()?, etcd: authority()? },
    ))
}

/// Waits for a change that `accept` likes. Whatever is published comes with a notification.
async fn health(
    registry: &Registry,
    changes: &mut (impl StreamExt<Item = impl Sized> + Unpin),
    accept: impl Fn(&Health) -> bool,
) -> Result<Health> {
    let wait = async {
        loop {
            let health = registry.of(&site().uid);
            if accept(&health) {
                return anyhow::Ok(health);
            }
            changes.next().await.context("the registry is gone")?;
        }
    };
    tokio::time::timeout(wait::LIMIT, wait)
        .await
        .with_context(|| format!("{:?}", registry.of(&site().uid)))?
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn health_follows_the_api_and_its_node() -> Result<()> {
    let server = ApiServer::start().await?;
    let client = server.client().await?;
    let pair = server.authority();
    let (registry, mut changes) = Registry::new();
    registry.follow(&site(), target(&server, || Ok(Authority::from_pem(&pair.certificate, &pair.key)?))?);

    let up = health(&registry, &mut changes, |health| health.api.ok).await?;
    assert!(!up.node.ok);
    // Rights come before readiness, so that the virtual kubelet need not wait.
    Api::<ClusterRole>::all(client.clone()).get(USER).await?;
    Api::<ClusterRoleBinding>::all(client.clone()).get(USER).await?;

    let nodes: Api<Node> = Api::all(client.clone());
    let node = |ready: &str| -> Result<Node> {
        let condition = json!({ "type": "Ready", "status": ready, "reason": "r", "message": "no runtime",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z" });
        Ok(serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "k3k-dev" }, "status": { "conditions": [condition] },
        }))?)
    };
    nodes.create(&PostParams::default(), &node("False")?).await?;
    let known = health(&registry, &mut changes, |health| health.node.reason == "NodeNotReady").await?;
    assert!(known.node.message.contains("no runtime"), "{}", known.node.message);
    nodes.patch_status("k3k-dev", &PatchParams::default(), &Patch::Merge(node("True")?)).await?;
    health(&registry, &mut changes, |health| health.node.ok && health.api.ok).await?;
    nodes.delete("k3k-dev", &DeleteParams::default()).await?;
    health(&registry, &mut changes, |health| health.node.reason == "NodeMissing").await?;

    drop(server);
    let down = health(&registry, &mut changes, |health| !health.api.ok).await?;
    assert_eq!((down.api.reason, down.node.reason), ("Unreachable", "APINotReady"));
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn an_api_of_other_authorities_is_not_trusted() -> Result<()> {
    let server = ApiServer::start().await?;
    let (registry, mut changes) = Registry::new();
    registry.follow(&site(), target(&server, || Ok(Authority::generate("somebody")?))?);
    let health = health(&registry, &mut changes, |health| health.api.reason == "Untrusted").await?;
    assert!(!health.api.ok);
    registry.keep(&HashSet::from([site().uid]));
    assert_eq!(registry.of(&site().uid), health);
    registry.keep(&HashSet::new());
    assert_eq!(registry.of(&site().uid), Health::default());
    Ok(())
}
