//! What a nested cluster is given before it is called ready: the rights of its virtual kubelet, and the account of its first pods.

use crate::cluster::build::kubelet::USER;
use k3k_api::labels::{MANAGED_BY, MANAGED_BY_CONTROLLER};
use k3k_api::managers;
use k3k_runtime::apply;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use serde_json::{Value, json};

/// Grants the virtual kubelet its rights. It works as soon as the API server stores anything: the controller is
/// in group system:masters.
pub(super) async fn grant(client: &Client) -> Result<(), kube::Error> {
    let role = parse::<ClusterRole>(cluster_role())?;
    let binding = parse::<ClusterRoleBinding>(cluster_role_binding())?;
    apply::apply(&Api::all(client.clone()), managers::CONTROLLER_NESTED, &role).await?;
    apply::apply(&Api::all(client.clone()), managers::CONTROLLER_NESTED, &binding).await?;
    Ok(())
}

/// Makes the service account `default/default` if the nested controller-manager has not done so yet. It does, a second or two
/// after the API is ready; until then the API server refuses every pod, and "ready" would be a lie to whoever runs one at once.
pub(super) async fn first_account(client: &Client) -> Result<(), kube::Error> {
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some("default".to_owned()),
            namespace: Some("default".to_owned()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    apply::create_if_missing(&Api::namespaced(client.clone(), "default"), &account).await.map(drop)
}

fn parse<K: serde::de::DeserializeOwned>(object: Value) -> Result<K, kube::Error> {
    serde_json::from_value(object).map_err(kube::Error::SerdeError)
}

fn cluster_role() -> Value {
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({ "apiGroups": groups, "resources": resources, "verbs": verbs });
    let read = ["get", "list", "watch"];
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": USER, "labels": { MANAGED_BY: MANAGED_BY_CONTROLLER } },
        "rules": [
            // What pods are made of.
            rule(&[""], &["configmaps", "secrets", "namespaces", "persistentvolumeclaims"], &read),
            // Volumes: what the host provides for claims, and how large it is by now.
            rule(&[""], &["persistentvolumes"], &["get", "list", "watch", "create", "patch", "delete"]),
            rule(&[""], &["persistentvolumeclaims/status"], &["patch"]),
            rule(&["storage.k8s.io"], &["storageclasses"], &read),
            // Pods: run, report, remove. Creating is for mirrors of static pods and not needed.
            rule(&[""], &["pods"], &["get", "list", "watch", "delete", "patch"]),
            rule(&[""], &["pods/status"], &["get", "patch", "update"]),
            // Services: addresses and load balancers come from the host.
            rule(&[""], &["services"], &["get", "list", "watch", "patch", "update"]),
            rule(&[""], &["services/status"], &["patch", "update"]),
            rule(&["discovery.k8s.io"], &["endpointslices"], &read),
            // What the host takes over when the cluster says so: ways in, budgets, isolation.
            rule(&["networking.k8s.io"], &["ingresses", "networkpolicies"], &read),
            rule(&["networking.k8s.io"], &["ingresses/status"], &["patch"]),
            rule(&["policy"], &["poddisruptionbudgets"], &read),
            rule(&["scheduling.k8s.io"], &["priorityclasses"], &["get"]),
            // The node itself, or those that mirror the host's.
            rule(&[""], &["nodes"], &["get", "list", "watch", "create", "patch", "update", "delete"]),
            rule(&[""], &["nodes/status"], &["patch", "update"]),
            rule(&["coordination.k8s.io"], &["leases"], &["get", "create", "patch", "update"]),
            rule(&["", "events.k8s.io"], &["events"], &["create", "patch"]),
            // Tokens of the pods' service accounts.
            rule(&[""], &["serviceaccounts"], &["get"]),
            rule(&[""], &["serviceaccounts/token"], &["create"]),
            // Who calls the virtual kubelet, and whether they may.
            rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
            rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
        ],
    })
}

fn cluster_role_binding() -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({
        "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
        "metadata": { "name": USER, "labels": { MANAGED_BY: MANAGED_BY_CONTROLLER } },
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": USER },
        "subjects": [{ "apiGroup": group, "kind": "User", "name": USER }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_granted_to_one_user_and_hold_no_wildcard() {
        let role: ClusterRole = parse(cluster_role()).unwrap();
        let binding: ClusterRoleBinding = parse(cluster_role_binding()).unwrap();
        assert!(!serde_json::to_string(&role).unwrap().contains('*'));
        let subjects = binding.subjects.unwrap();
        assert_eq!((subjects.len(), subjects[0].kind.as_str(), subjects[0].name.as_str()), (1, "User", USER));
    }
}
