//! An API server with the CRDs, the chart's RBAC and one running controller, which the tests of one program share.

use crate::NAMESPACE;
use anyhow::Result;
use clap::Parser;
use k3k_controller::args::Args;
use k3k_controller::metrics::Metrics;
use k3k_tests::{ApiServer, chart, wait};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::conditions::is_crd_established;
use kube::{Client, Config, ResourceExt};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

const ACCOUNT: &str = "system:serviceaccount:k3k-system:k3k-controller";

/// A client of it, as its administrator.
pub(crate) async fn client() -> Result<Client> {
    static HOST: OnceCell<ApiServer> = OnceCell::const_new();
    let start = async || {
        let server = chart::host(NAMESPACE).await?;
        let client = server.client().await?;
        for crd in k3k_api::crds() {
            let api: Api<CustomResourceDefinition> = Api::all(client.clone());
            wait::wait_for(api, &crd.name_any(), is_crd_established()).await?;
        }
        let mut rbac = chart::objects(NAMESPACE)?;
        rbac.retain(|object| {
            object["apiVersion"].as_str().is_some_and(|version| version.starts_with("rbac.authorization"))
        });
        chart::apply(&server, &rbac)?;
        run(Kubeconfig::read_from(server.kubeconfig(ACCOUNT, Some("system:serviceaccounts"))?)?)?;
        anyhow::Ok(server)
    };
    HOST.get_or_try_init(start).await?.client().await
}

/// The controller, on a thread of its own until the process ends: tests come and go with their runtimes.
fn run(kubeconfig: Kubeconfig) -> Result<()> {
    let args = Args::try_parse_from(["k3k-controller", "--namespace", NAMESPACE])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let config =
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            let client = Client::try_from(config).unwrap();
            let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
            let shutdown = CancellationToken::new();
            let (name, until) = ("test".to_owned(), shutdown.clone());
            tokio::join!(
                k3k_controller::reconcile_clusters(
                    &args,
                    client.clone(),
                    metrics.clone(),
                    name.clone(),
                    shutdown
                ),
                k3k_controller::reconcile_policies(&args, client.clone(), metrics.clone(), name, until),
            );
        });
    });
    Ok(())
}
