//! What to do about a cluster that is not ready.

use k3k_api::conditions::{READY, find, reason};
use k3k_api::names::ClusterNames;
use k3k_api::v1beta1::Cluster;

/// The next thing to try. None: there is nothing better than to look.
pub(crate) fn fix(cluster: &Cluster, shown: &str) -> Option<String> {
    let ready = cluster.status.as_ref().and_then(|status| find(&status.conditions, READY));
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let kubelets = ready.is_some_and(|ready| ready.message.contains(&ClusterNames(name).kubelet()));
    for_reason(ready.map(|ready| ready.reason.as_str()), kubelets, shown)
}

/// The same from the reason of the Ready condition; `kubelets`: it is about the virtual kubelet's pod.
fn for_reason(reason: Option<&str>, kubelets: bool, cluster: &str) -> Option<String> {
    let again = format!("kubectl k3k delete {cluster}, then create it");
    Some(match reason {
        // Nobody wrote a status at all.
        None => format!("see whether the controller runs: kubectl get pods -n {}", crate::install::NAMESPACE),
        Some(reason::VOLUME_PENDING) => {
            format!("{again} with --storage ephemeral, or with --storage SIZE,class=NAME (kubectl get storageclass)")
        }
        Some(reason::IMAGE_PULL_FAILED) if kubelets => {
            "the nodes cannot get k3k's own image: kubectl k3k install --image IMAGE, with one that they can".to_owned()
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
        Some(reason::VALIDATION_FAILED) => format!("{again} as the message says, or kubectl edit clusters.k3k.io"),
        Some(reason::AGENTS_NOT_READY) => "read what the agents say: kubectl describe and kubectl logs of their pods".to_owned(),
        Some(reason::SERVER_CRASHING) => "read what the server says: kubectl logs of its pod, with --previous".to_owned(),
        Some(reason::PAUSED) => format!("kubectl k3k resume {cluster}"),
        Some(_) => return None,
    })
}
