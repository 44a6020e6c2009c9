//! How many servers may be taken away on purpose, when a node is drained.

use super::{Kind, Manifest, Site, service};
use k3k_api::labels::component;
use serde_json::json;

/// The budget of `servers` servers: a majority stays. Two have none to spare, and a node that could never be drained would be worse than
/// an API that is away for a moment.
pub fn budget(site: &Site, servers: u32) -> Manifest {
    let spare = (servers.saturating_sub(1) / 2).max(1);
    let body = json!({ "spec": {
        "maxUnavailable": spare, "selector": { "matchLabels": service::server_selector(site) },
        // A server that is not ready votes for nothing and holds up nobody.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }});
    Manifest::new(site, Kind::PodDisruptionBudget, site.names().server(), component::SERVER, body)
}
