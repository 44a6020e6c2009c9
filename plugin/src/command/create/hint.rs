//! What to do about a cluster that is not ready.

use k3k_api::conditions::reason;

/// The next thing to try for a reason of the Ready condition. None: there is nothing better than to look.
pub(crate) fn fix(reason: Option<&str>, cluster: &str) -> Option<String> {
    let again = format!("kubectl k3k delete {cluster}, then create it");
    Some(match reason {
        // Nobody wrote a status at all.
        None => format!("see whether the controller runs: kubectl get pods -n {}", crate::install::NAMESPACE),
        Some(reason::VOLUME_PENDING) => {
            format!("{again} with --storage ephemeral, or with --storage SIZE,class=NAME (kubectl get storageclass)")
        }
        Some(reason::IMAGE_PULL_FAILED) => {
            format!("{again} with a --version that your registry has, such as v1.33.1-k3s1")
        }
        Some(reason::SERVER_UNSCHEDULABLE) => {
            "free resources on the nodes, or loosen --node-selector (kubectl describe nodes)".to_owned()
        }
        Some(reason::SERVER_REFUSED) => {
            "look at the quota and the admission rules of the namespace (kubectl describe quota)".to_owned()
        }
        Some(reason::POLICY_MISSING) => {
            "create the VirtualClusterPolicy, or remove the label policy.k3k.io/policy-name from the namespace"
                .to_owned()
        }
        Some(reason::VALIDATION_FAILED) => format!("kubectl edit clusters.k3k.io for {cluster}, or {again}"),
        Some(reason::SERVER_CRASHING) => "read what the server says: kubectl logs of its pod, with --previous".to_owned(),
        Some(_) => return None,
    })
}
