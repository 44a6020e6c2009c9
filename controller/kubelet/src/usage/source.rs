//! The host's `metrics.k8s.io`, in our namespace only.

use super::ledger::{Rate, Sample};
use k3k_api::labels;
use k3k_api::quantity::Quantity;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the host may take. A metrics server gives us 10 s.
const LIMIT: Duration = Duration::from_secs(8);

/// Why the host does not tell what pods use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has no metrics API, the API does not answer, or we may not ask.
    #[error(
        "cannot list the PodMetrics of namespace {namespace} in the host: {source}; see: kubectl get apiservice v1beta1.metrics.k8s.io"
    )]
    List {
        /// The namespace.
        namespace: String,
        /// The cause.
        source: kube::Error,
    },
    /// It takes too long.
    #[error("the host's metrics API did not answer for namespace {namespace} within {LIMIT:?}")]
    Late {
        /// The namespace.
        namespace: String,
    },
}

/// Where figures come from.
#[derive(Clone)]
pub struct Source {
    host: Client,
    namespace: String,
    cluster: String,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Source").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// A `PodMetricsList`, as far as it is needed.
#[derive(Debug, Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    metadata: Named,
    timestamp: Timestamp,
    window: String,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, String>,
}

impl Source {
    /// The pods of `cluster` in `namespace`.
    pub fn new(host: Client, namespace: &str, cluster: &str) -> Self {
        Self { host, namespace: namespace.to_owned(), cluster: cluster.to_owned() }
    }

    /// What the host measured last.
    pub async fn samples(&self) -> Result<Vec<Sample>, Error> {
        let fail = |source| Error::List { namespace: self.namespace.clone(), source };
        // The label's `/`, and the `=` after it, as a query has them.
        let selector = format!("{}%3D{}", labels::CLUSTER_NAME.replace('/', "%2F"), self.cluster);
        let path = format!(
            "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods?labelSelector={selector}",
            self.namespace
        );
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|error| fail(kube::Error::HttpError(error)))?;
        let answer = tokio::time::timeout(LIMIT, self.host.request::<List>(request)).await;
        let list = answer.map_err(|_| Error::Late { namespace: self.namespace.clone() })?.map_err(fail)?;
        Ok(list.items.into_iter().filter_map(sample).collect())
    }
}

/// A pod's figures; None if they cannot be read, which is the same as not having any.
fn sample(item: Item) -> Option<Sample> {
    let window =
        item.window.parse::<SignedDuration>().ok().and_then(|window| Duration::try_from(window).ok());
    let containers = item.containers.into_iter().map(|container| {
        let amount = |name: &str| container.usage.get(name)?.parse::<Quantity>().ok();
        let nano_cores = u64::try_from(amount("cpu")?.to_nanos()).ok()?;
        let bytes = u64::try_from(amount("memory")?.to_integer()).ok()?;
        Some((container.name, Rate { nano_cores, bytes }))
    });
    Some(Sample {
        host_name: item.metadata.name,
        time: item.timestamp,
        window: window?,
        containers: containers.collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k3k_runtime::scenario;
    use serde_json::json;

    #[tokio::test]
    async fn figures_are_read_as_a_metrics_server_gives_them() {
        let (client, mut server) = scenario::client();
        let asked =
            tokio::spawn(async move { Source::new(client, "k3k-dev", "dev").samples().await.unwrap() });
        let path =
            "/apis/metrics.k8s.io/v1beta1/namespaces/k3k-dev/pods?labelSelector=k3k.io%2FclusterName%3Ddev";
        let container =
            |cpu: &str, memory: &str| json!({"name": "c", "usage": {"cpu": cpu, "memory": memory}});
        let item = |name: &str, window: &str, container| {
            json!({"metadata": {"name": name}, "timestamp": "2026-01-01T00:00:10Z", "window": window,
                   "containers": [container]})
        };
        server.expect("GET", path).await.answer(
            200,
            &json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": [
                item("a", "15.012s", container("1234567n", "20Ki")),
                item("b", "1m0s", container("2", "1M")),
                item("c", "15s", container("-1", "1M")),
                item("d", "soon", container("1", "1M")),
            ]}),
        );
        let samples = asked.await.unwrap();
        let read: Vec<_> = samples
            .iter()
            .map(|sample| (sample.host_name.as_str(), sample.window, sample.containers[0].1))
            .collect();
        assert_eq!(
            read,
            [
                ("a", Duration::from_millis(15_012), Rate { nano_cores: 1_234_567, bytes: 20_480 }),
                ("b", Duration::from_secs(60), Rate { nano_cores: 2_000_000_000, bytes: 1_000_000 }),
            ]
        );
        assert_eq!(samples[0].time.as_second(), 1_767_225_610);
    }

    #[tokio::test]
    async fn a_host_without_the_api_is_named() {
        let (client, mut server) = scenario::client();
        let asked = tokio::spawn(async move { Source::new(client, "k3k-dev", "dev").samples().await });
        server.expect("GET", "/apis/metrics").await.refuse(404, "NotFound", "the server could not find it");
        let error = asked.await.unwrap().unwrap_err().to_string();
        assert!(error.contains("k3k-dev") && error.contains("kubectl get apiservice"), "{error}");
    }
}
