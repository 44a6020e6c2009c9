//! What a cluster can be whose nodes join from outside.

use super::invalid;
use crate::cluster::error::Error;
use k3k_api::v1beta1::ClusterSpec;

/// What the cluster's owner says of nodes is for those who run them, and is refused rather than passed over. Upstream takes `agents`
/// in this mode and makes none.
pub(super) fn nodes(spec: &ClusterSpec) -> Result<(), Error> {
    let elsewhere = "in mode hcp workers are run elsewhere, with flags of their own: `kubectl k3k join` prints how one joins";
    if spec.servers() > 1 {
        let message = format!(
            "{} servers cannot be in mode hcp: a worker keeps its connection with the one that the exposed address leads to, and logs and exec come over it, so the others would not reach the worker; use 1",
            spec.servers()
        );
        return Err(Error::NotSupported { field: "spec.servers", message });
    }
    for (field, is_set) in [
        ("spec.agents", spec.agents() > 0),
        ("spec.agentArgs", !spec.agent_args.is_empty()),
        ("spec.agentEnvs", !spec.agent_envs.is_empty()),
        ("spec.mirrorHostNodes", spec.mirror_host_nodes()),
    ] {
        if is_set {
            return Err(invalid(field, elsewhere));
        }
    }
    Ok(())
}
