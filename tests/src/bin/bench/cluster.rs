//! How long a nested cluster takes, beside the bare server pod that is in it.

use crate::{LIMIT, NAMESPACE, object};
use anyhow::{Context, Result, bail};
use k3k_api::v1beta1::Cluster;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::runtime::wait;
use kube::{Client, Config};
use serde_json::json;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

const SERVER_IMAGE: &str = "rancher/k3s:v1.36.3-k3s1";

/// Time from asking for a pod with nothing but a k3s server to its API being ready.
pub(crate) async fn bare_server(host: &Client, round: usize) -> Result<Duration> {
    let name = format!("bare-{round}");
    let token = "bench-token";
    let api: Api<Pod> = Api::namespaced(host.clone(), NAMESPACE);
    let start = Instant::now();
    let pod = object(json!({"metadata": {"name": name}, "spec": {
        "automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "k3s", "image": SERVER_IMAGE,
            "args": ["server", "--disable-agent", "--disable=servicelb,traefik,metrics-server,local-storage", "--token", token],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        }],
    }}))?;
    api.create(&PostParams::default(), &pod).await?;
    let running = wait::await_condition(api.clone(), &name, |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref()?.pod_ip.as_ref()).is_some()
    });
    let pod = tokio::time::timeout(LIMIT, running).await??.context("the bare server pod went away")?;
    let ip = pod.status.and_then(|status| status.pod_ip).context("no address")?;
    let mut config = Config::new(format!("https://{ip}:6443").parse()?);
    config.accept_invalid_certs = true; // nothing is told to it, and what it says is only timed
    config.auth_info = AuthInfo {
        username: Some("node".into()),
        password: Some(token.to_owned().into()),
        ..AuthInfo::default()
    };
    config.default_retry = false;
    let server = Client::try_from(config)?;
    loop {
        let request = http::Request::get("/v1-k3s/readyz").body(Vec::new())?;
        if server.request_text(request).await.is_ok() {
            break;
        }
        if start.elapsed() > LIMIT {
            bail!("the bare server pod did not become ready");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let elapsed = start.elapsed();
    api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    Ok(elapsed)
}

/// Time from starting `kubectl k3k create` to having used the new cluster through its kubeconfig.
pub(crate) async fn create(host: &Client, name: &str) -> Result<Duration> {
    let start = Instant::now();
    let status = Command::new("kubectl-k3k")
        .args(["create", name, "--storage", "ephemeral", "--no-kubeconfig"])
        .stdout(Stdio::null())
        .status()
        .await?;
    if !status.success() {
        bail!("kubectl k3k create {name} failed");
    }
    let client = nested(name).await?;
    let nodes = Api::<Node>::all(client).list(&ListParams::default()).await?;
    let ready = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    if !nodes.items.iter().any(ready) {
        bail!("{name} was called ready without a ready node");
    }
    let elapsed = start.elapsed();
    let made = Api::<Cluster>::namespaced(host.clone(), &format!("k3k-{name}")).get(name).await?;
    println!(
        "{name}: usable after {:.2} s, phase {:?}",
        elapsed.as_secs_f64(),
        made.status.map(|status| status.phase)
    );
    Ok(elapsed)
}

/// Removes it.
pub(crate) async fn delete(name: &str) -> Result<()> {
    let status = Command::new("kubectl-k3k")
        .args(["delete", name, "--yes"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await?;
    if status.success() { Ok(()) } else { bail!("kubectl k3k delete {name} failed") }
}

/// A client of the cluster, by the kubeconfig that its user gets.
pub(crate) async fn nested(name: &str) -> Result<Client> {
    let output = Command::new("kubectl-k3k").args(["kubeconfig", "get", name]).output().await?;
    let kubeconfig = Kubeconfig::from_yaml(&String::from_utf8(output.stdout)?)?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
}
