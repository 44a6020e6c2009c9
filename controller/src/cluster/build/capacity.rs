//! What the virtual node offers: the allocatable resources of the host's nodes, cut by the quota of the namespace.

use k3k_api::quantity::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// Resources by name.
pub type Resources = BTreeMap<String, Quantity>;

/// Sum of the nodes' allocatable resources. Quantities that nobody can read are left out.
pub fn sum<'a>(nodes: impl Iterator<Item = &'a Resources>) -> Resources {
    let mut total: BTreeMap<&str, Amount> = BTreeMap::new();
    for (name, quantity) in nodes.flatten() {
        let Ok(amount) = Amount::try_from(quantity) else { continue };
        let sum = match total.get(name.as_str()) {
            Some(before) => before.checked_add(amount),
            None => Some(amount),
        };
        if let Some(sum) = sum {
            total.insert(name, sum);
        }
    }
    total.into_iter().map(|(name, amount)| (name.to_owned(), amount.into())).collect()
}

/// `capacity` cut to the hard limits of quotas. A quota on requests or limits of a resource bounds the resource.
pub fn limited<'a>(mut capacity: Resources, quotas: impl Iterator<Item = &'a Resources>) -> Resources {
    for (key, limit) in quotas.flatten() {
        let name = ["requests.", "limits.", "count/"]
            .iter()
            .find_map(|prefix| key.strip_prefix(prefix))
            .unwrap_or(key);
        let Some(offered) = capacity.get(name) else { continue };
        if let (Ok(limited), Ok(offered)) = (Amount::try_from(limit), Amount::try_from(offered))
            && limited < offered
        {
            capacity.insert(name.to_owned(), limit.clone());
        }
    }
    capacity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(pairs: &[(&str, &str)]) -> Resources {
        pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
    }

    #[test]
    fn nodes_add_up() {
        let nodes = [
            resources(&[("cpu", "1500m"), ("memory", "1Gi"), ("pods", "110")]),
            resources(&[("cpu", "1"), ("memory", "1Mi"), ("pods", "110"), ("example.com/gpu", "1")]),
        ];
        let want = [("cpu", "2500m"), ("memory", "1025Mi"), ("pods", "220"), ("example.com/gpu", "1")];
        assert_eq!(sum(nodes.iter()), resources(&want));
    }

    #[test]
    fn the_smallest_quota_bounds() {
        let capacity = resources(&[("cpu", "8"), ("memory", "16Gi"), ("pods", "110")]);
        let quotas = [
            resources(&[("limits.cpu", "4"), ("requests.cpu", "2"), ("count/pods", "20"), ("secrets", "1")]),
            resources(&[("limits.memory", "32Gi"), ("pods", "10")]),
        ];
        let want = [("cpu", "2"), ("memory", "16Gi"), ("pods", "10")];
        assert_eq!(limited(capacity, quotas.iter()), resources(&want));
    }
}
