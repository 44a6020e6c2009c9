//! What the virtual kubelet counts. Labels take few values, whatever tenants do.

use crate::converge::Next;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// How a step ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// The virtual kubelet's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    pod_steps: Family<Outcome, Counter>,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { pod_steps: Family::default() };
        let registry = registry.sub_registry_with_prefix("k3k_kubelet");
        registry.register(
            "pod_steps",
            "Steps that bring a pod and its host pod to agree, by result",
            metrics.pod_steps.clone(),
        );
        metrics
    }

    /// Counts a step for a pod.
    pub fn count(&self, next: &Next) {
        let result = match next {
            Next::Done | Next::After(_) => "ok",
            Next::Retry => "error",
            Next::Refused => "refused",
            Next::NoRoom => "no_room",
        };
        self.pod_steps.get_or_create(&Outcome { result }).inc();
    }
}
