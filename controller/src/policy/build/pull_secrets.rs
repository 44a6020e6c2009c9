//! Leave for the webhook to read the namespace's pull secrets, where it has to ask registries in tenants' names. It has none elsewhere.

use super::{Kind, Manifest, Owner};
use k3k_api::v1beta1::VirtualClusterPolicySpec;
use k3k_api::v1beta1::policy::DigestRule;
use serde_json::json;

/// The ClusterRole that is bound. The chart makes it.
const ROLE: &str = "k3k-webhook-pull-secrets";
/// The webhook's ServiceAccount.
const ACCOUNT: &str = "k3k-webhook";

/// The RoleBinding, if the policy has digests resolved. `system` is the namespace of k3k's own parts.
pub fn role_binding(
    owner: &Owner,
    namespace: &str,
    spec: &VirtualClusterPolicySpec,
    system: &str,
) -> Option<Manifest> {
    let digest = spec.images.as_ref().and_then(|images| images.digest);
    (digest == Some(DigestRule::Resolve)).then(|| {
        let mut manifest = Manifest::bare(owner, namespace, Kind::RoleBinding, "pull-secrets");
        manifest.object["roleRef"] =
            json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE });
        manifest.object["subjects"] =
            json!([{ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": system }]);
        manifest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_only_where_digests_are_resolved() {
        let owner = Owner { name: "gold".into(), uid: "p".into() };
        let of = |images| {
            let spec = serde_json::from_value(json!({ "images": images })).unwrap();
            role_binding(&owner, "t", &spec, "k3k-system")
        };
        let binding = of(json!({ "digest": "Resolve" })).unwrap();
        assert_eq!(binding.object["subjects"][0]["namespace"], "k3k-system");
        assert_eq!(binding.object["roleRef"]["name"], ROLE);
        assert!(binding.object.get("spec").is_none());
        assert!(of(json!({ "digest": "Require" })).is_none() && of(json!(null)).is_none());
    }
}
