//! The kinds of objects that make up an installation.

use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

/// Group, version, kind, plural, and whether it lives in a namespace: in the order of application. Rights come
/// before what uses them, and everything before the registration that makes the host ask for it.
const KINDS: &[(&str, &str, &str, &str, bool)] = &[
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("", "v1", "Namespace", "namespaces", false),
    ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", false),
    ("", "v1", "ServiceAccount", "serviceaccounts", true),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true),
    ("", "v1", "ConfigMap", "configmaps", true),
    ("", "v1", "Secret", "secrets", true),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("", "v1", "Service", "services", true),
    ("apps", "v1", "Deployment", "deployments", true),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
    ),
];

/// All kinds in the order of application, each with whether it lives in a namespace.
pub(crate) fn all() -> impl DoubleEndedIterator<Item = (ApiResource, bool)> {
    KINDS.iter().map(|(group, version, kind, plural, namespaced)| {
        (ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural), *namespaced)
    })
}

/// The resource of an object, and whether it lives in a namespace.
pub(crate) fn of(object: &Value) -> Option<(ApiResource, bool)> {
    all().find(|(resource, _)| {
        object["apiVersion"].as_str() == Some(resource.api_version.as_str())
            && object["kind"].as_str() == Some(resource.kind.as_str())
    })
}

/// The place of an object in the order of application.
pub(crate) fn rank(object: &Value) -> usize {
    KINDS.iter().position(|(_, _, kind, ..)| object["kind"].as_str() == Some(kind)).unwrap_or(KINDS.len())
}
