//! Who may call the endpoints directly, as a real API server decides it.

use crate::{Bridge, bridged, create, grant};
use anyhow::{Context, Result};
use http::Request;
use k3k_runtime::certificates::{Leaf, Usage};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use std::time::Duration;

impl Bridge {
    /// A client of our endpoints.
    async fn caller(&self, identity: AuthInfo) -> Result<Client> {
        let authority = json!(k8s_openapi::ByteString(self.server.authority_pem().as_bytes().to_vec()));
        let kubeconfig: Kubeconfig = serde_json::from_value(json!({
            "clusters": [{"name": "kubelet", "cluster": {
                "server": format!("https://{}", self.kubelet), "certificate-authority-data": authority,
            }}],
            "users": [{"name": "caller", "user": {}}],
            "contexts": [{"name": "kubelet", "context": {"cluster": "kubelet", "user": "caller"}}],
            "current-context": "kubelet",
        }))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.auth_info = identity;
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// The caller whom a client certificate names.
    async fn user(&self, name: &str) -> Result<Client> {
        let pair = self.server.issue(&Leaf {
            common_name: name.into(),
            organizations: Vec::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usages: vec![Usage::Client],
            lifetime: Duration::from_secs(3600),
        })?;
        let data = |text: String| json!(k8s_openapi::ByteString(text.into_bytes()));
        let identity = json!({
            "client-certificate-data": data(pair.certificate), "client-key-data": data(pair.key),
        });
        self.caller(serde_json::from_value(identity)?).await
    }
}

/// The code and the JSON of an answer.
async fn ask(client: &Client, request: Request<Vec<u8>>) -> Result<(u16, Value)> {
    let response = client.send(request.map(Into::into)).await?;
    let code = response.status().as_u16();
    let body = response.into_body().collect_bytes().await?;
    Ok((code, serde_json::from_slice(&body).unwrap_or_default()))
}

fn exec(bridge: &Bridge) -> Result<Request<Vec<u8>>> {
    let uri = format!("/exec/{}/web/app?command=id&output=1", bridge.nested);
    let request = Request::post(uri).header("connection", "Upgrade").header("upgrade", "SPDY/3.1");
    Ok(request.body(Vec::new())?)
}

fn pods() -> Result<Request<Vec<u8>>> {
    Ok(Request::get("/pods").body(Vec::new())?)
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn nobody_is_let_in_without_credentials() -> Result<()> {
    bridged(true, async |bridge| {
        let anonymous = bridge.caller(AuthInfo::default()).await?;
        assert_eq!(ask(&anonymous, Request::get("/healthz").body(Vec::new())?).await?.0, 200);
        assert_eq!(ask(&anonymous, pods()?).await?.0, 401);
        assert_eq!(ask(&anonymous, exec(bridge)?).await?.0, 401);
        let liar = AuthInfo { token: Some("made.up.token".to_owned().into()), ..AuthInfo::default() };
        assert_eq!(ask(&bridge.caller(liar).await?, pods()?).await?.0, 401);
        assert!(bridge.host.asked.lock().unwrap().is_empty());
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn rbac_of_the_cluster_decides_for_users() -> Result<()> {
    bridged(true, async |bridge| {
        let client = bridge.server.client().await?;
        let (reader, runner) = (format!("{}-reader", bridge.nested), format!("{}-runner", bridge.nested));
        let user =
            |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
        grant(&client, &reader, &["get"], &["nodes/pods"], &user(&reader)).await?;
        grant(&client, &runner, &["create"], &["nodes/proxy"], &user(&runner)).await?;

        let caller = bridge.user(&reader).await?;
        let (code, list) = ask(&caller, pods()?).await?;
        assert_eq!((code, &list["items"][0]["metadata"]["name"]), (200, &json!("web")));
        let (code, status) = ask(&caller, exec(bridge)?).await?;
        assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
        assert!(bridge.host.asked.lock().unwrap().is_empty());

        let caller = bridge.user(&runner).await?;
        assert_eq!(ask(&caller, exec(bridge)?).await?.0, 101);
        assert_eq!(ask(&caller, pods()?).await?.0, 403);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn rbac_of_the_cluster_decides_for_service_accounts() -> Result<()> {
    bridged(true, async |bridge| {
        let client = bridge.server.client().await?;
        let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &bridge.nested);
        create(api.clone(), &json!({"metadata": {"name": "metrics"}})).await?;
        let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
        let token = api.create_token_request("metrics", &PostParams::default(), &request).await?;
        let token = token.status.and_then(|status| status.token).context("a token")?;
        let identity = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
        let caller = bridge.caller(identity).await?;
        assert_eq!(ask(&caller, pods()?).await?.0, 403);

        let subject = json!({"kind": "ServiceAccount", "name": "metrics", "namespace": bridge.nested});
        grant(&client, &format!("{}-metrics", bridge.nested), &["get"], &["nodes/pods"], &subject).await?;
        // What was refused is remembered for a few seconds.
        k3k_tests::wait::until("the new role counts", async || {
            let (code, _) = ask(&caller, pods()?).await?;
            Ok((code == 200).then_some(()))
        })
        .await
    })
    .await
}
