use super::*;
use http::{Request, Response};
use k3k_runtime::lease::{Lease, LeaseParams};
use k3k_runtime::scenario;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::client::Body;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tower::service_fn;

/// A fenced client of a server that takes everything.
fn fenced(tenure: &Tenure) -> Client {
    let service = service_fn(|_: Request<Body>| async {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
        Ok::<_, tower::BoxError>(Response::new(Body::from(body.to_string().into_bytes())))
    });
    ClientBuilder::new(service, "default").with_layer(&Fence(tenure.clone())).build()
}

#[tokio::test(start_paused = true)]
async fn a_frozen_leader_that_wakes_up_reads_and_does_not_write() {
    let tenure = Tenure::default();
    let objects: Api<ConfigMap> = Api::default_namespaced(fenced(&tenure));
    let write = async || objects.create(&PostParams::default(), &ConfigMap::default()).await;
    assert!(write().await.is_err(), "nobody leads yet");
    let (client, mut server) = scenario::client();
    let params = LeaseParams {
        namespace: "k3k-dev".into(),
        name: "k3k-dev-kubelet".into(),
        identity: "a".into(),
        duration: Duration::from_secs(15),
        owner: None,
    };
    let mut lease = Lease::spawn_noting(client, params, tenure.clone(), CancellationToken::new());
    server.expect("GET", "/apis/coordination.k8s.io").await.refuse(404, "NotFound", "not found");
    server.expect("POST", "/apis/coordination.k8s.io").await.accept();
    lease.acquired().await.unwrap();
    write().await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    let error = write().await.unwrap_err();
    assert!(format!("{error:?}").contains("NotLeading"), "{error:?}");
    objects.get("c").await.unwrap();
}
