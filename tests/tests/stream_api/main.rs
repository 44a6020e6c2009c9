//! kubectl, a real kube-apiserver, our kubelet endpoints, a real kube-apiserver again, and a kubelet of the host that is
//! small enough to read. One API server plays both sides: the tenants' namespaces and the host's.

#![allow(clippy::unwrap_used)] // in functions that tests call

mod access;
mod host_kubelet;
mod pass_through;

use anyhow::{Context, Result};
use host_kubelet::HostKubelet;
use k3k_kubelet::admission::{Admission, Key};
use k3k_kubelet::cache::Cache;
use k3k_kubelet::server::{Directory, HostPod, Parts, State, serve};
use k3k_kubelet::usage::Usage;
use k3k_kubelet::usage::{ledger::Running, source::Source};
use k3k_runtime::certificates::{self, Leaf};
use k3k_runtime::tls::{ClientAuth, ServerCertificate, TlsListener, server_config};
use k3k_tests::{ApiServer, in_namespace};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

/// The feature by which a node says that it takes WebSockets as they come.
const WEBSOCKETS: &str = "ExtendWebSocketsToKubelet";
/// What a tenant calls the pod that every test talks to.
const POD: &str = "web";

/// Both sides, ready. The nested pod `web` runs on a node of ours, its copy on the host's kubelet.
struct Bridge {
    server: &'static ApiServer,
    /// The tenant's namespace; the host's is `{nested}-host`.
    nested: String,
    kubelet: SocketAddr,
    host: Arc<HostKubelet>,
}

/// Runs `test` with pods whose nodes take WebSockets, or, as before Kubernetes 1.36, do not.
async fn bridged(websockets: bool, test: impl AsyncFnOnce(&Bridge) -> Result<()>) -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = ApiServer::shared().await?;
    let client = server.client().await?;
    in_namespace(&client, async |nested| {
        let shutdown = CancellationToken::new();
        let _stop = shutdown.clone().drop_guard();
        let bridge = Bridge::start(server, &client, nested, websockets, shutdown).await?;
        test(&bridge).await
    })
    .await
}

impl Bridge {
    async fn start(
        server: &'static ApiServer,
        client: &Client,
        nested: &str,
        websockets: bool,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let host_namespace = format!("{nested}-host");
        create::<Namespace>(Api::all(client.clone()), &json!({"metadata": {"name": host_namespace}})).await?;
        let host = Arc::new(HostKubelet::default());
        let host_port = host.clone().serve(server).await?;
        let host_node = format!("{nested}-metal");
        node(client, &host_node, host_port, websockets).await?;
        let host_pod = format!("{POD}-{nested}-c0ffee");
        pod(client, &host_namespace, &host_pod, &host_node).await?;

        // The rights that the controller gives to a virtual kubelet in its host namespace.
        let user = format!("{host_namespace}-kubelet");
        let rules = json!([
            {"apiGroups": [""], "resources": ["pods/exec", "pods/attach", "pods/portforward"], "verbs": ["get", "create"]},
            {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        ]);
        let role = json!({"metadata": {"name": "kubelet"}, "rules": rules});
        create::<Role>(Api::namespaced(client.clone(), &host_namespace), &role).await?;
        let binding = json!({
            "metadata": {"name": "kubelet"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "kubelet"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        create::<RoleBinding>(Api::namespaced(client.clone(), &host_namespace), &binding).await?;

        let node_name = format!("{nested}-node");
        let streaming = server.client_as(&user, None).await?;
        let usage = Usage::new(Source::new(streaming.clone(), &host_namespace, nested));
        let directory = Arc::new(Pods { nested: nested.to_owned(), host_namespace, host_pod });
        let state = State::new(Parts {
            host: streaming,
            nested: server.client().await?,
            node: node_name.clone(),
            directory,
            usage,
            registry: Arc::default(),
            admission: Admission::new(nested, Key::default(), Cache::default()),
        });
        let pair = server.issue(&serving_leaf())?;
        let certificate = ServerCertificate::from_pem(&pair.certificate, &pair.key)?;
        let auth = ClientAuth::Optional { ca_pem: server.authority_pem().to_owned() };
        let config = server_config(&certificate, auth, &[b"http/1.1"])?;
        let listener = TlsListener::bind((Ipv4Addr::LOCALHOST, 0).into(), config).await?;
        let kubelet = listener.local_addr()?;
        tokio::spawn(serve(listener, Arc::new(state), shutdown));
        node(client, &node_name, kubelet.port(), websockets).await?;
        pod(client, nested, POD, &node_name).await?;
        pod(client, nested, "ghost", &node_name).await?;
        Ok(Self { server, nested: nested.to_owned(), kubelet, host })
    }

    /// `kubectl` in the tenant's namespace; it ends when it is dropped. `websockets` are kubectl's own settings.
    fn start_kubectl(&self, websockets: bool, arguments: &[&str]) -> Result<Child> {
        let setting = if websockets { "true" } else { "false" };
        let mut command = tokio::process::Command::from(self.server.kubectl()?);
        command
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", setting)
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", setting)
            .args(["--namespace", &self.nested])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().context("starting kubectl")
    }

    /// [`Self::start_kubectl`], fed with `input` and awaited.
    async fn kubectl(&self, websockets: bool, input: &str, arguments: &[&str]) -> Result<Output> {
        let mut child = self.start_kubectl(websockets, arguments)?;
        let mut stdin = child.stdin.take().context("standard input")?;
        let feed = async move { stdin.write_all(input.as_bytes()).await };
        let ended = async { tokio::join!(feed, child.wait_with_output()) };
        let (_, output) =
            tokio::time::timeout(k3k_tests::wait::LIMIT, ended).await.context("kubectl did not end")?;
        output.context("waiting for kubectl")
    }
}

/// What we run: one pod.
struct Pods {
    nested: String,
    host_namespace: String,
    host_pod: String,
}

impl Directory for Pods {
    fn locate(&self, namespace: &str, name: &str, _: Option<&str>) -> Option<HostPod> {
        (namespace == self.nested && name == POD)
            .then(|| HostPod { namespace: self.host_namespace.clone(), name: self.host_pod.clone() })
    }

    fn list(&self) -> Vec<Value> {
        vec![json!({"metadata": {"namespace": self.nested, "name": POD}})]
    }

    fn running(&self) -> Vec<Running> {
        Vec::new()
    }
}

fn serving_leaf() -> Leaf {
    Leaf {
        common_name: "kubelet".into(),
        organizations: Vec::new(),
        dns_names: Vec::new(),
        ip_addresses: vec![Ipv4Addr::LOCALHOST.into()],
        usages: vec![certificates::Usage::Server],
        lifetime: Duration::from_secs(3600),
    }
}

/// A node that the API server finds at `port` of this machine.
async fn node(client: &Client, name: &str, port: u16, websockets: bool) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    create(api.clone(), &json!({"metadata": {"name": name}})).await?;
    let mut status = json!({
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    });
    if websockets {
        status["declaredFeatures"] = json!([WEBSOCKETS]);
    }
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(name, &PatchParams::default(), &patch).await.context("the node's status")?;
    Ok(())
}

/// A pod with one container, `app`, bound to `node`.
async fn pod(client: &Client, namespace: &str, name: &str, node: &str) -> Result<()> {
    let spec = json!({"nodeName": node, "containers": [{"name": "app", "image": "app"}]});
    create::<Pod>(
        Api::namespaced(client.clone(), namespace),
        &json!({"metadata": {"name": name}, "spec": spec}),
    )
    .await?;
    // kubectl attaches to and forwards from running pods only.
    let status = json!({"status": {"phase": "Running"}});
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .context("the pod's status")?;
    Ok(())
}

async fn create<K>(api: Api<K>, object: &Value) -> Result<K>
where
    K: kube::Resource + Clone + std::fmt::Debug,
    K: k8s_openapi::serde::Serialize + k8s_openapi::serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object.clone())?;
    api.create(&PostParams::default(), &object).await.context("creating a part of the bridge")
}

/// Lets `subject` do `verbs` on `resources` in the whole cluster. `name` is the role's and must be new.
async fn grant(
    client: &Client,
    name: &str,
    verbs: &[&str],
    resources: &[&str],
    subject: &Value,
) -> Result<()> {
    let rules = json!([{"apiGroups": [""], "resources": resources, "verbs": verbs}]);
    let role = json!({"metadata": {"name": name}, "rules": rules});
    create::<ClusterRole>(Api::all(client.clone()), &role).await?;
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [subject],
    });
    create::<ClusterRoleBinding>(Api::all(client.clone()), &binding).await?;
    Ok(())
}
