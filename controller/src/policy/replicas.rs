//! The replicas of the webhook: by which generation of which policy each decides. Each says so in a Lease of its own; which there are, is in the
//! EndpointSlices of their Service.

use k3k_api::labels;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::Store;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of them.
pub struct Replicas {
    /// What they say.
    pub leases: Store<PartialObjectMeta<Lease>>,
    /// Which there are.
    pub slices: Store<EndpointSlice>,
}

impl Replicas {
    /// Waits for the first list of each.
    pub async fn ready(&self) {
        let _ = self.leases.wait_until_ready().await;
        let _ = self.slices.wait_until_ready().await;
    }

    /// The replicas that may be asked and do not decide by `generation` of `policy` yet.
    pub fn behind(&self, policy: &str, generation: i64) -> Vec<String> {
        let said: BTreeMap<String, BTreeMap<String, i64>> =
            self.leases.state().iter().map(|lease| (lease.name_any(), generations(lease))).collect();
        let slices = self.slices.state();
        let there = slices.iter().flat_map(|slice| pods(slice)).collect();
        behind(&there, &said, policy, generation)
    }
}

/// The pods behind a slice. One that is not ready any more may still be answering.
fn pods(slice: &EndpointSlice) -> impl Iterator<Item = String> {
    slice.endpoints.iter().flatten().filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone())
}

fn generations(lease: &PartialObjectMeta<Lease>) -> BTreeMap<String, i64> {
    let said = lease.annotations().get(labels::POLICY_GENERATIONS);
    said.and_then(|said| serde_json::from_str(said).ok()).unwrap_or_default()
}

/// Those of `there` that have not said that they decide by `generation` of `policy`, or by a later one. `said` is by the names of Leases.
fn behind(
    there: &BTreeSet<String>,
    said: &BTreeMap<String, BTreeMap<String, i64>>,
    policy: &str,
    generation: i64,
) -> Vec<String> {
    let decides = |pod: &String| {
        let said = said.get(&labels::webhook_lease(pod)).and_then(|said| said.get(policy));
        said.is_some_and(|said| *said >= generation)
    };
    there.iter().filter(|pod| !decides(pod)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_behind_until_it_says_otherwise() {
        let there = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let of = |generation| BTreeMap::from([("gold".to_owned(), generation)]);
        let mut said =
            BTreeMap::from([("policies-a".to_owned(), of(3)), ("policies-gone".to_owned(), of(1))]);
        assert_eq!(behind(&there, &said, "gold", 3), ["b"]);
        said.insert("policies-b".to_owned(), of(2));
        assert_eq!(behind(&there, &said, "gold", 3), ["b"]);
        said.insert("policies-b".to_owned(), of(4));
        assert!(behind(&there, &said, "gold", 3).is_empty());
        assert_eq!(behind(&there, &said, "tin", 1), ["a", "b"]);
    }
}
