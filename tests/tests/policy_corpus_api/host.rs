//! An API server with the CRDs, everything that the cases need, and then the chart and its webhook.

use crate::webhook::{self, NAMESPACE, Replica, free_port};
use anyhow::{Context, Result, ensure};
use http::{HeaderMap, Method, Request, StatusCode};
use k3k_tests::{ApiServer, wait, workspace};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// The group of everybody who tries something: RBAC lets it do nearly everything, so that admission decides.
const TESTERS: &str = "testers";
/// Who may use every policy.
pub(crate) const USER_OF_POLICIES: &str = "jane-of-policies";

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
}

impl Caller {
    /// With the groups that the API server itself gives.
    pub(crate) fn new(user: String, groups: Vec<String>) -> Self {
        let mut all = groups;
        all.push("system:authenticated".to_owned());
        if !all.iter().any(|group| group == "system:masters") {
            all.push(TESTERS.to_owned());
        }
        if let Some((namespace, _)) =
            user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
        {
            all.push("system:serviceaccounts".to_owned());
            all.push(format!("system:serviceaccounts:{namespace}"));
        }
        if user.starts_with("system:node:") {
            all.push("system:nodes".to_owned());
        }
        Self { user, groups: all }
    }
}

/// What the API server says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) warnings: Vec<String>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// The API server, and an administrator of it.
pub(crate) struct Host {
    server: ApiServer,
    pub(crate) admin: Client,
}

impl Host {
    /// With the kinds of the chart, and nothing that asks the webhook or refuses anything.
    pub(crate) async fn start(policies: &[(String, Value)]) -> Result<Self> {
        let server = ApiServer::start().await?;
        let admin = server.client().await?;
        let host = Self { server, admin };
        for name in [NAMESPACE, "t-b"] {
            host.create(
                "/api/v1/namespaces",
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            )
            .await?;
        }
        // A policy that this version does not understand is from another one, whose schema let it through.
        host.kinds(true).await?;
        host.policy("odd", &json!({"images": {"digest": "Sometimes"}})).await?;
        host.kinds(false).await?;
        for (name, spec) in policies {
            host.policy(name, spec).await?;
        }
        host.rights().await?;
        for class in ["tenant-low", "tenant-normal", "host-batch"] {
            host.create(
                "/apis/scheduling.k8s.io/v1/priorityclasses",
                &json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": class}, "value": 0}),
            )
            .await?;
        }
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
                           "provisioner": "example.com/none", "allowVolumeExpansion": true});
        host.create("/apis/storage.k8s.io/v1/storageclasses", &class).await?;
        for class in ["gvisor", "kata", "runc-debug"] {
            host.create(
                "/apis/node.k8s.io/v1/runtimeclasses",
                &json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": class}, "handler": class}),
            )
            .await?;
        }
        Ok(host)
    }

    /// Asks as somebody.
    pub(crate) async fn ask(
        &self,
        caller: Option<&Caller>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if let Some(Caller { user, groups }) = caller {
            request = request.header("Impersonate-User", user);
            for group in groups {
                request = request.header("Impersonate-Group", group);
            }
        }
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        request = request.header("Content-Type", kind).header("Accept", "application/json");
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let response = self.admin.send(request.body(Body::from(bytes))?).await?;
        let status = response.status();
        let warnings = warnings(response.headers());
        let text = response.into_body().collect_bytes().await?;
        let body = serde_json::from_slice(&text)
            .unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(&text)}));
        Ok(Answer { status, warnings, body })
    }

    /// Makes something as the administrator.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.demand(Method::POST, path, Some(object)).await
    }

    /// Asks as the administrator for what has to work.
    pub(crate) async fn demand(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.ask(None, method.clone(), path, body).await?;
        ensure!(answer.status.is_success(), "{method} {path}: {}", answer.message());
        Ok(answer.body)
    }

    async fn policy(&self, name: &str, spec: &Value) -> Result<()> {
        let object = json!({"apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "metadata": {"name": name}, "spec": spec});
        self.create("/apis/k3k.io/v1beta1/virtualclusterpolicies", &object).await.map(drop)
    }

    /// The CRDs as they are, or with policies that may say anything.
    async fn kinds(&self, any: bool) -> Result<()> {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        for entry in std::fs::read_dir(workspace::path("manifests/crds"))? {
            let text = std::fs::read_to_string(entry?.path())?;
            let mut object: Value = serde_saphyr::from_str(&text)?;
            let name = object["metadata"]["name"].as_str().context("a CRD has a name")?.to_owned();
            if any && name.starts_with("virtualclusterpolicies") {
                for version in object["spec"]["versions"].as_array_mut().into_iter().flatten() {
                    version["schema"]["openAPIV3Schema"] =
                        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
                }
            }
            if any {
                self.create(path, &object).await?;
            } else {
                let spec = json!({"spec": object["spec"]});
                self.demand(Method::PATCH, &format!("{path}/{name}"), Some(&spec)).await?;
            }
        }
        for plural in ["virtualclusterpolicies", "clusters"] {
            wait::until("the kinds are served as they should be", async || {
                let path = format!("/apis/k3k.io/v1beta1/namespaces/{NAMESPACE}/clusters?dryRun=All");
                if plural == "clusters" {
                    let cluster = json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": {}});
                    let answer = self.ask(None, Method::POST, &path, Some(&cluster)).await?;
                    return Ok(answer.status.is_success().then_some(()));
                }
                let path = "/apis/k3k.io/v1beta1/virtualclusterpolicies?dryRun=All";
                let odd = json!({"apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "metadata": {"name": "odd-one"},
                                 "spec": {"images": {"digest": "Sometimes"}}});
                let answer = self.ask(None, Method::POST, path, Some(&odd)).await?;
                let done = if any { answer.status.is_success() } else { answer.status == 422 };
                Ok(done.then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    async fn rights(&self) -> Result<()> {
        let groups = [
            "",
            "apps",
            "batch",
            "networking.k8s.io",
            "discovery.k8s.io",
            "policy",
            "coordination.k8s.io",
            "authentication.k8s.io",
            "rbac.authorization.k8s.io",
        ];
        let roles = [
            (
                "testers",
                json!([
                    {"apiGroups": groups, "resources": ["*"], "verbs": ["*"]},
                    {"apiGroups": ["k3k.io"], "resources": ["clusters", "clusters/status"], "verbs": ["*"]},
                    {"apiGroups": ["k3k.io"], "resources": ["virtualclusterpolicies"], "verbs": ["get", "create"]},
                ]),
                json!({"kind": "Group", "name": TESTERS, "apiGroup": "rbac.authorization.k8s.io"}),
            ),
            (
                "users-of-policies",
                json!([{"apiGroups": ["k3k.io"], "resources": ["virtualclusterpolicies"], "verbs": ["use"]}]),
                json!({"kind": "User", "name": USER_OF_POLICIES, "apiGroup": "rbac.authorization.k8s.io"}),
            ),
        ];
        for (name, rules, subject) in roles {
            let group = "rbac.authorization.k8s.io";
            let path = format!("/apis/{group}/v1");
            let role = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
            self.create(&format!("{path}/clusterroles"), &role).await?;
            let binding = json!({
                "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name}, "subjects": [subject],
            });
            self.create(&format!("{path}/clusterrolebindings"), &binding).await?;
        }
        Ok(())
    }

    /// Installs the chart, and starts a webhook on a port of this machine.
    pub(crate) fn install(&self) -> Result<Replica> {
        let port = free_port()?;
        webhook::install(&self.server, port)?;
        Replica::start(&self.server, "only", port)
    }

    /// Takes the webhook out of the registrations: only the API server's own policies are left.
    pub(crate) async fn only_the_floor(&self) -> Result<()> {
        for kind in ["mutating", "validating"] {
            let path =
                format!("/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/k3k-webhook");
            self.demand(Method::DELETE, &path, None).await?;
        }
        Ok(())
    }
}

fn warnings(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all("warning")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}
