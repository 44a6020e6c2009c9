//! What is asked: an object, what is done to it, and by whom.

use serde_json::Value;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// A connection to it is opened.
    Connect,
}

/// Who does it, as far as it matters. A ServiceAccount of a tenant's namespace is no proof of anything, as whoever may edit there can have
/// its tokens; so being a virtual kubelet only ever takes rights away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// k3k's own controller.
    Controller,
    /// A part of the host's control plane: its controllers, its scheduler.
    System,
    /// A node of the host.
    Node,
    /// The virtual kubelet of this cluster, in the namespace that the object is in.
    Kubelet {
        /// The cluster's name.
        cluster: String,
    },
    /// Somebody who may change policies.
    Administrator,
    /// Anybody else.
    Other,
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is done.
    pub operation: Operation,
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Plural name of the resource.
    pub resource: &'a str,
    /// Subresource; empty for the object itself.
    pub sub_resource: &'a str,
    /// The object's namespace; empty for objects without one.
    pub namespace: &'a str,
    /// The object's name; may be empty at creation.
    pub name: &'a str,
    /// Who asks.
    pub requester: &'a Requester,
    /// The object as it will be.
    pub object: Option<&'a Value>,
    /// The object as it is.
    pub old: Option<&'a Value>,
}

impl Requester {
    /// Who `user`, a member of `groups`, is to a namespace, when k3k's own parts run in `system_namespace`.
    pub fn of(user: &str, groups: &[String], namespace: &str, system_namespace: &str) -> Self {
        if let Some(account) = user.strip_prefix("system:serviceaccount:") {
            return match account.split_once(':') {
                Some((home, "k3k-controller")) if home == system_namespace => Self::Controller,
                Some(("kube-system", _)) => Self::System,
                Some((home, name)) if home == namespace => match kubelet_of(name) {
                    Some(cluster) => Self::Kubelet { cluster: cluster.to_owned() },
                    None => Self::Other,
                },
                _ => Self::Other,
            };
        }
        match user {
            "system:kube-controller-manager" | "system:kube-scheduler" | "system:apiserver" => Self::System,
            _ if user.starts_with("system:node:") => Self::Node,
            _ if groups.iter().any(|group| group == "system:masters") => Self::Administrator,
            _ => Self::Other,
        }
    }

    /// Whether this is a part of the host, or of k3k outside of tenants' namespaces.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::Controller | Self::System | Self::Administrator)
    }
}

/// The cluster whose virtual kubelet has a ServiceAccount of this name.
pub fn kubelet_of(account: &str) -> Option<&str> {
    account.strip_prefix("k3k-")?.strip_suffix("-kubelet").filter(|cluster| !cluster.is_empty())
}

impl<'a> Question<'a> {
    /// Whether it is about `resource` of `group` itself, not a part of it.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource && self.sub_resource.is_empty()
    }

    /// Whether what is at `pointer` comes or changes. What stays as it was is not looked at again: an object must be able to lose its
    /// finalizers, also after rules have become stricter.
    pub(crate) fn changes(&self, pointer: &str) -> bool {
        let (Some(old), Some(object)) = (self.old, self.object) else { return true };
        old.pointer(pointer) != object.pointer(pointer)
    }

    /// The object as it will be, or as it is, when it is going.
    pub fn either(&self) -> Option<&'a Value> {
        self.object.or(self.old)
    }
}

/// A label of an object.
pub(crate) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

/// An annotation of an object.
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("system:serviceaccount:k3k-system:k3k-controller", Requester::Controller)]
    #[case("system:serviceaccount:t-a:k3k-controller", Requester::Other)]
    #[case("system:serviceaccount:kube-system:statefulset-controller", Requester::System)]
    #[case("system:serviceaccount:t-a:k3k-ca-kubelet", Requester::Kubelet { cluster: "ca".into() })]
    #[case("system:serviceaccount:t-b:k3k-ca-kubelet", Requester::Other)]
    #[case("system:serviceaccount:t-a:k3k--kubelet", Requester::Other)]
    #[case("system:serviceaccount:t-a:default", Requester::Other)]
    #[case("system:node:n1", Requester::Node)]
    #[case("system:kube-scheduler", Requester::System)]
    #[case("jane", Requester::Other)]
    fn who_somebody_is(#[case] user: &str, #[case] expected: Requester) {
        assert_eq!(Requester::of(user, &[], "t-a", "k3k-system"), expected);
    }

    #[test]
    fn masters_are_administrators() {
        let groups = ["system:masters".to_owned()];
        assert_eq!(Requester::of("admin", &groups, "t-a", "k3k-system"), Requester::Administrator);
    }
}
