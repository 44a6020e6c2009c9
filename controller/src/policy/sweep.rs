//! Taking back what was made of policies where none asks for it any more: the namespace was unbound or bound to another,
//! or the policy is gone.

use super::Context;
use super::apply;
use super::build::Kind;
use super::caches::{bound_to, controller_uid, our_labels};
use super::error::Error;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{DynamicObject, PartialObjectMeta};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long to wait after a failure, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// The UID of the policy in force in each namespace.
pub type InForce = BTreeMap<String, String>;

/// Whether an object was made of a policy that is not in force where it lies. What belongs to no policy is nobody's to take.
pub fn is_stray(object: &DynamicObject, in_force: &InForce) -> bool {
    let namespace = object.namespace().unwrap_or_default();
    controller_uid(object).is_some_and(|uid| in_force.get(&namespace).is_none_or(|policy| policy != uid))
}

/// Whether a namespace has labels of ours that no policy asks for.
pub fn has_stray_labels(namespace: &PartialObjectMeta<Namespace>, in_force: &InForce) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
        && !in_force.contains_key(&namespace.name_any())
        && !our_labels(namespace).is_empty()
}

fn in_force(context: &Context) -> InForce {
    let namespaces = context.caches.namespaces.state();
    let bound = namespaces.iter().filter_map(|namespace| {
        let policy = context.caches.policy(bound_to(namespace)?)?;
        Some((namespace.name_any(), policy.uid()?))
    });
    bound.collect()
}

async fn sweep(context: &Context) -> Result<(), Error> {
    let in_force = in_force(context);
    let mut failure = None;
    let stray: Vec<(Kind, Arc<DynamicObject>)> = context
        .caches
        .owned
        .iter()
        .flat_map(|(kind, store)| {
            let stray = store.state_filter(|object| is_stray(object, &in_force));
            stray.into_iter().map(|object| (*kind, object))
        })
        .collect();
    for (kind, object) in stray {
        failure = apply::delete(&context.client, kind, &object).await.err().or(failure);
    }
    for namespace in
        context.caches.namespaces.state_filter(|namespace| has_stray_labels(namespace, &in_force))
    {
        failure = apply::labels(&context.client, &namespace, &BTreeMap::new()).await.err().or(failure);
    }
    failure.map_or(Ok(()), Err)
}

/// Sweeps whenever `changed` says that bindings may have changed. Never ends.
pub async fn run(context: &Context, changed: &Notify) {
    context.caches.ready().await;
    let mut pause = PAUSES.0;
    loop {
        match sweep(context).await {
            Ok(()) => {
                pause = PAUSES.0;
                changed.notified().await;
            }
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot take back what was made of policies");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn in_force() -> InForce {
        BTreeMap::from([("t".to_owned(), "gold".to_owned())])
    }

    #[rstest]
    #[case("t", json!([{ "apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "name": "g", "uid": "gold", "controller": true }]), false)]
    #[case("t", json!([{ "apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "name": "g", "uid": "tin", "controller": true }]), true)]
    #[case("u", json!([{ "apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "name": "g", "uid": "gold", "controller": true }]), true)]
    #[case("u", json!([{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "g", "uid": "gold", "controller": true }]), false)]
    #[case("u", json!([]), false)]
    fn strays(#[case] namespace: &str, #[case] owners: Value, #[case] want: bool) {
        let object = json!({ "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": { "name": "k3k-g", "namespace": namespace, "ownerReferences": owners } });
        assert_eq!(is_stray(&serde_json::from_value(object).unwrap(), &in_force()), want);
    }

    #[rstest]
    #[case("t", "k3k-policy-controller", false)]
    #[case("u", "k3k-policy-controller", true)]
    #[case("u", "kubectl", false)]
    fn labels(#[case] name: &str, #[case] manager: &str, #[case] want: bool) {
        let namespace = json!({ "metadata": { "name": name,
            "labels": { "pod-security.kubernetes.io/enforce": "baseline" },
            "managedFields": [{ "manager": manager, "operation": "Apply",
                "fieldsV1": { "f:metadata": { "f:labels": { "f:pod-security.kubernetes.io/enforce": {} } } } }] } });
        assert_eq!(has_stray_labels(&serde_json::from_value(namespace).unwrap(), &in_force()), want);
    }
}
