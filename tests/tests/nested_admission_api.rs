//! A real API server as a nested one, our kubelet endpoints, and the controller that introduces the two to each other.

#![allow(clippy::unwrap_used)] // in functions that tests call

use anyhow::{Context, Result, ensure};
use k3k_api::told_policy::{self, ToldPolicy};
use k3k_controller::cluster::build::Site;
use k3k_controller::cluster::build::certificates::Authorities;
use k3k_controller::cluster::build::mode::Nodes;
use k3k_controller::cluster::build::{kubelet, policy};
use k3k_controller::cluster::health::{Registry, Target};
use k3k_controller::cluster::plan::{Addresses, Shown};
use k3k_kubelet::admission::{Admission, Key};
use k3k_kubelet::cache::Cache;
use k3k_kubelet::server::{Directory, HostPod, Parts, State, serve};
use k3k_kubelet::usage::{Usage, ledger::Running, source::Source};
use k3k_runtime::certificates::{self, Authority, Leaf};
use k3k_runtime::tls::{ClientAuth, ServerCertificate, TlsListener, server_config};
use k3k_tests::{ApiServer, wait};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::Event;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Nothing runs here.
struct Nothing;

impl Directory for Nothing {
    fn locate(&self, _: &str, _: &str, _: Option<&str>) -> Option<HostPod> {
        None
    }

    fn list(&self) -> Vec<Value> {
        Vec::new()
    }

    fn running(&self) -> Vec<Running> {
        Vec::new()
    }
}

/// The endpoints of a virtual kubelet that is told by `told`. Returns their port.
async fn endpoints(server: &ApiServer, told: &Cache, shutdown: CancellationToken) -> Result<u16> {
    let client = server.client().await?;
    let key = Key::default();
    key.set(Some(KEY));
    let state = State::new(Parts {
        host: client.clone(),
        nested: client.clone(),
        node: "k3k-dev".into(),
        directory: Arc::new(Nothing),
        usage: Usage::new(Source::new(client, "k3k-dev", "dev")),
        registry: Arc::default(),
        admission: Admission::new("dev", key, told.clone()),
    });
    let pair = server.issue(&Leaf {
        common_name: "k3k-dev".into(),
        organizations: Vec::new(),
        dns_names: Vec::new(),
        ip_addresses: vec![Ipv4Addr::LOCALHOST.into()],
        usages: vec![certificates::Usage::Server],
        lifetime: Duration::from_secs(3600),
    })?;
    let certificate = ServerCertificate::from_pem(&pair.certificate, &pair.key)?;
    let auth = ClientAuth::Optional { ca_pem: server.authority_pem().to_owned() };
    let config = server_config(&certificate, auth, &[b"http/1.1"])?;
    let listener = TlsListener::bind((Ipv4Addr::LOCALHOST, 0).into(), config).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(serve(listener, Arc::new(state), shutdown));
    Ok(port)
}

fn site() -> Site {
    Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "1".into() }
}

/// Tells the virtual kubelet what the controller would.
fn tell(told: &Cache, version: &str, what: &ToldPolicy) {
    let mut object = policy::config_map(&site(), what).object;
    object["apiVersion"] = "v1".into();
    object["kind"] = "ConfigMap".into();
    object["metadata"]["resourceVersion"] = version.into();
    assert!(object["data"][told_policy::KEY].is_string());
    told.take(&Event::Apply(serde_json::from_value(object).unwrap()));
}

fn container(privileged: bool) -> Value {
    json!({"name": "c", "image": "busybox", "securityContext": {"privileged": privileged}})
}

fn pod(name: &str, privileged: bool) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": name}, "spec": {"containers": [container(privileged)]}}),
    )
    .unwrap()
}

fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

/// What is said against a privileged pod; nothing if it is admitted.
async fn objection(client: &Client) -> Result<Option<String>> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    match pods.create(&dry_run(), &pod("privileged", true)).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Some(status.message)),
        Err(error) => Err(error.into()),
    }
}

/// What kubectl says on standard error when `manifest` is applied.
fn applied(server: &ApiServer, manifest: &Value) -> Result<String> {
    let mut file = tempfile::NamedTempFile::with_suffix(".json")?;
    std::io::Write::write_all(&mut file, manifest.to_string().as_bytes())?;
    let output = server.kubectl()?.arg("apply").arg("-f").arg(file.path()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

fn deployment(name: &str, privileged: bool) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"}, "spec": {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container(privileged)]}},
    }})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)] // kubectl is waited for while the endpoints answer
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_tenant_hears_at_once_what_the_host_would_refuse() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = ApiServer::start().await?;
    let client = server.client().await?;
    let (told, shutdown) = (Cache::default(), CancellationToken::new());
    let port = endpoints(&server, &told, shutdown.clone()).await?;

    // The controller introduces them to each other when there is a node.
    let uri: http::Uri = server.url().parse()?;
    let here = Ipv4Addr::LOCALHOST.into();
    let addresses = Addresses {
        api: uri.host().context("a host")?.parse()?,
        api_port: uri.port_u16().context("a port")?,
        shown: Some(Shown { kubelet: here, dns: here }),
    };
    let pair = server.authority();
    let authority = || Authority::from_pem(&pair.certificate, &pair.key);
    let authorities = Authorities { server: authority()?, client: authority()?, etcd: authority()? };
    let url = kubelet::admission_url(here, KEY).replace(":10250/", &format!(":{port}/"));
    let (registry, _changes) = Registry::new();
    registry.follow(&site(), Target::new(&site(), Nodes::Shown, &addresses, authorities).asking(Some(url)));
    let nodes: Api<Node> = Api::all(client.clone());
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "k3k-dev"}, "status": {"conditions": [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let first =
        wait::until("the configuration", async || Ok(configurations.get_opt("k3k-policy").await?)).await?;

    // Nothing has been told yet, so the host alone decides.
    assert_eq!(objection(&client).await?, None);
    tell(&told, "1", &ToldPolicy::Default);
    let message = wait::until("the API server asks", async || objection(&client).await).await?;
    assert!(message.contains("policy.k3k.io") && message.contains("privileged"), "{message}");
    let took = Instant::now();
    assert!(objection(&client).await?.is_some());
    assert!(took.elapsed() < Duration::from_secs(2), "{:?}", took.elapsed());

    // Good ones pass, and debugging is judged as well.
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("plain", false)).await?;
    let mut debugger = container(true);
    debugger["name"] = "debugger".into();
    let debug = Patch::Strategic(json!({"spec": {"ephemeralContainers": [debugger]}}));
    let refused = pods.patch_ephemeral_containers("plain", &PatchParams::default(), &debug).await;
    assert!(refused.unwrap_err().to_string().contains("privileged"));
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    pods.patch("plain", &PatchParams::default(), &label).await?;

    // Templates are never refused.
    let said = applied(&server, &deployment("bad", true))?;
    assert!(said.contains("Warning: ") && said.contains("spec.template.spec.containers[0]"), "{said}");
    assert_eq!(applied(&server, &deployment("good", false))?, "");
    let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [container(true)]}}});
    let said = applied(
        &server,
        &json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "bad", "namespace": "default"},
            "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": job}},
        }),
    )?;
    assert!(said.contains("spec.jobTemplate.spec.template.spec.containers[0]"), "{said}");

    // Another policy holds at once, without anybody's restart.
    let lax = serde_json::from_value(json!({"podSecurityAdmissionLevel": "privileged"}))?;
    tell(&told, "2", &policy::told("lax", 1, &lax, "dev"));
    assert_eq!(objection(&client).await?, None);
    tell(&told, "3", &ToldPolicy::Missing);
    assert_eq!(objection(&client).await?, None, "the host says it");
    tell(&told, "4", &ToldPolicy::Default);
    assert!(objection(&client).await?.is_some());

    // What a tenant does to it is put right, in time.
    let fail = Patch::Strategic(json!({"webhooks": [{"name": "policy.k3k.io", "failurePolicy": "Fail"}]}));
    configurations.patch("k3k-policy", &PatchParams::default(), &fail).await?;
    let is_right = async || {
        let found = configurations.get_opt("k3k-policy").await?;
        let policy =
            |found: &ValidatingWebhookConfiguration| found.webhooks.as_ref()?[0].failure_policy.clone();
        Ok(found.filter(|found| policy(found).as_deref() == Some("Ignore")))
    };
    wait::until("it does not hold tenants up", is_right).await?;
    configurations.delete("k3k-policy", &DeleteParams::default()).await?;
    let again = wait::until("it comes back", is_right).await?;
    assert_ne!(again.uid(), first.uid());
    wait::until("the API server asks again", async || objection(&client).await).await?;

    // Without a virtual kubelet the host alone decides.
    shutdown.cancel();
    wait::until("nobody answers", async || Ok(objection(&client).await?.is_none().then_some(()))).await?;
    pods.create(&PostParams::default(), &pod("late", true)).await?;
    Ok(())
}
