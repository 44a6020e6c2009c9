use super::fixture::Fixture;
use serde_json::{Value, json};

const TOKEN: [(&str, &str); 1] = [("Authorization", "Bearer metrics-token")];

/// What `path` answers to a metrics server.
async fn text(at: &Fixture, path: &str) -> String {
    let mut caller = at.connect(None).await;
    caller.send("GET", path, &TOKEN).await;
    let head = caller.head().await;
    assert_eq!(head.code, 200, "{path}");
    let length: usize = head.get("content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    tokio::io::AsyncReadExt::read_exact(&mut caller.io, &mut body).await.unwrap();
    String::from_utf8(body).unwrap()
}

fn pod_metrics() -> Value {
    let item = |name: &str| {
        json!({
            "metadata": {"name": name, "namespace": "k3k-dev"}, "timestamp": "2026-01-01T00:01:00Z", "window": "10s",
            "containers": [{"name": "app", "usage": {"cpu": "250m", "memory": "3Mi"}}],
        })
    };
    json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {},
           "items": [item("web-shop-dev-c0ffee"), item("k3k-dev-server-0")]})
}

#[tokio::test]
async fn figures_are_those_of_the_tenants_pods_alone() {
    let at = Fixture::start().await;
    *at.host.pod_metrics.lock().unwrap() = Some(pod_metrics());
    let resource = text(&at, "/metrics/resource").await;
    let line = "container_cpu_usage_seconds_total{container=\"app\",namespace=\"shop\",pod=\"web\"} 2.500000000 1767225660000\n";
    assert!(resource.contains(line), "{resource}");
    assert!(resource.contains("\nnode_memory_working_set_bytes 3145728 1767225660000\n"), "{resource}");
    assert!(resource.contains("\nscrape_error 0\n") && !resource.contains("server-0"), "{resource}");
    let summary: Value = serde_json::from_str(&text(&at, "/stats/summary").await).unwrap();
    assert_eq!(summary["pods"][0]["podRef"], json!({"name": "web", "namespace": "shop", "uid": "u1"}));
    assert_eq!(summary["node"]["cpu"]["usageNanoCores"], 250_000_000);
    let asked: Vec<String> = at.host.requests.lock().unwrap().iter().map(|(_, uri, _)| uri.clone()).collect();
    assert_eq!(
        asked,
        ["/apis/metrics.k8s.io/v1beta1/namespaces/k3k-dev/pods?labelSelector=k3k.io%2FclusterName%3Ddev"],
        "once for both"
    );
}

#[tokio::test]
async fn a_host_that_tells_nothing_is_an_error_and_no_zeroes() {
    let at = Fixture::start().await;
    let resource = text(&at, "/metrics/resource").await;
    assert!(resource.contains("\nscrape_error 1\n") && !resource.contains("cpu"), "{resource}");
    let summary: Value = serde_json::from_str(&text(&at, "/stats/summary").await).unwrap();
    assert_eq!((&summary["pods"], summary["node"].get("cpu")), (&json!([]), None));
}

#[tokio::test]
async fn own_metrics_are_served() {
    let at = Fixture::start().await;
    let own = text(&at, "/metrics").await;
    assert!(own.contains("k3k_kubelet_pod_steps_total{result=\"ok\"} 1"), "{own}");
    assert!(at.host.requests.lock().unwrap().is_empty());
}
