//! The webhook as a real API server calls it: registered by the chart, with the rights that the chart gives.

mod keeping;
mod pods;
#[path = "../shared/webhook.rs"]
mod webhook;

use anyhow::{Context, Result, ensure};
use k3k_api::labels;
use k3k_tests::{ApiServer, chart, wait};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::thread::JoinHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use webhook::{ACCOUNT, NAMESPACE, Replica, free_port};

const NAME: &str = "k3k-webhook";
const SECRET: &str = "k3k-webhook-tls";

/// An API server where the chart is installed. The Service is replaced by a URL: nothing routes Services here.
struct Host {
    server: ApiServer,
    port: u16,
}

impl Host {
    async fn start() -> Result<Self> {
        let server = chart::host(NAMESPACE).await?;
        let host = Self { server, port: free_port()? };
        host.install()?;
        Ok(host)
    }

    /// Applies the chart as `kubectl k3k install` does. Again: nothing changes.
    fn install(&self) -> Result<()> {
        webhook::install(&self.server, self.port)
    }

    /// A replica on `port`, with the service account's rights.
    fn replica(&self, identity: &str, port: u16) -> Result<Replica> {
        Replica::start(&self.server, identity, port)
    }

    /// The API server shared by the tests of [`pods`], with a webhook that it asks.
    async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<(Host, Replica)> = OnceCell::const_new();
        let start = async || {
            let host = Host::start().await?;
            let mut replica = host.replica("only", host.port)?;
            replica.wait_until_ready().await?;
            host.wait_until_asked().await?;
            anyhow::Ok((host, replica))
        };
        SHARED.get_or_try_init(start).await.map(|(host, _)| host)
    }

    /// An API server learns of a registration a little after it is written.
    async fn wait_until_asked(&self) -> Result<()> {
        let client = self.server.client().await?;
        cluster_namespace(&client, "asked", None).await?;
        wait::until("a privileged pod is refused", async || {
            let dry = kube::api::PostParams { dry_run: true, ..Default::default() };
            let pods: Api<kube::api::DynamicObject> = pods::api(&client, "asked");
            let pod = serde_json::from_value(pods::pod("p", &json!({"hostPID": true})))?;
            let refused = pods.create(&dry, &pod).await.err().map(|error| error.to_string());
            Ok(refused.filter(|text| text.contains("podSecurity.hostNamespaces")).map(drop))
        })
        .await
    }
}

impl Replica {
    async fn wait_until_ready(&mut self) -> Result<()> {
        let mut last = String::new();
        let ready = wait::until("the webhook is ready", async || {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                let ended = self.thread.take().map(JoinHandle::join);
                anyhow::bail!("the webhook has ended: {ended:?}");
            }
            last = self.readiness().await.unwrap_or_default();
            Ok(last.starts_with("HTTP/1.1 200").then_some(()))
        });
        ready.await.with_context(|| last.clone())
    }

    /// What the readiness probe is told.
    async fn readiness(&self) -> Result<String> {
        self.get("/readyz").await
    }

    async fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Stops it as a signal does, and waits for its end.
    fn stop(mut self) -> Result<()> {
        self.shutdown.cancel();
        let ended = self.thread.take().map(JoinHandle::join);
        ensure!(matches!(ended, Some(Ok(Ok(())))), "{ended:?}");
        Ok(())
    }
}

/// Makes a namespace in which the webhook is asked.
async fn cluster_namespace(client: &Client, name: &str, policy: Option<&str>) -> Result<()> {
    let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(client.clone());
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {labels::CLUSTER_NAMESPACE: "true", labels::POLICY_NAME: policy}},
    });
    let namespace = without_nulls(namespace);
    namespaces.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(namespace)).await?;
    Ok(())
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
        for field in fields.values_mut() {
            *field = without_nulls(field.take());
        }
    }
    value
}

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn registrations(client: &Client) -> Api<ValidatingWebhookConfiguration> {
    Api::all(client.clone())
}
