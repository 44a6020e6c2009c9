//! What a pod needs to be a node of the nested cluster: in mode virtual, servers and agents alike.
//!
//! k3s brings containerd, a kubelet and kube-proxy. They need the container's privileges, and places of their own for what a node keeps
//! outside k3s' data.

use super::over;
use k3k_api::v1beta1::{ClusterSpec, VirtualClusterPolicySpec};
use k8s_openapi::api::core::v1::{PodSecurityContext, SecurityContext};
use serde_json::{Value, json};

/// Key of the nodes' password in the Secret of the agents' configuration.
pub const PASSWORD_KEY: &str = "node-password";
/// Where k3s keeps what a node proves with that it is the one that used its name before.
const PASSWORD_FILE: &str = "/etc/rancher/node/password";
/// Port of a node's kubelet.
pub const KUBELET_PORT: i32 = 10250;

/// Goes before k3s, in the shell of k3s' image, and is replaced by it, so that signals and exit codes are k3s' own.
///
/// On cgroup v2 a privileged container sees the whole tree of the host. There the nested kubelet would take the host's pods for strangers
/// and remove them; so it is told to keep below its own pod. On v1, and where the container has a tree of its own, the root is the pod's.
const START: &str = r#"[ -s /etc/machine-id ] || printf %s "$POD_NAME" | md5sum | cut -c1-32 >/etc/machine-id
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  own=$(cut -d: -f3 /proc/self/cgroup)
  pod=${own%/*}
  [ -z "$pod" ] || set -- "$@" "--kubelet-arg=cgroup-root=$pod" "--kubelet-arg=kubelet-cgroups=$pod/k3s"
fi
exec /bin/k3s "$@"
"#;

/// The command before `args` of k3s.
pub fn command() -> Value {
    json!(["/bin/sh", "-c", START, "k3s"])
}

/// Volumes of a node beside k3s' data. `secret` holds the nodes' password.
pub fn volumes(secret: &str) -> Vec<Value> {
    let items = json!([{ "key": PASSWORD_KEY, "path": "password" }]);
    vec![
        json!({ "name": "var-lib-cni", "emptyDir": {} }),
        json!({ "name": "var-lib-kubelet", "emptyDir": {} }),
        json!({ "name": "node-password", "secret": { "secretName": secret, "items": items, "defaultMode": 0o400 } }),
    ]
}

/// Where they are mounted.
pub fn mounts() -> Vec<Value> {
    vec![
        json!({ "name": "var-lib-cni", "mountPath": "/var/lib/cni" }),
        json!({ "name": "var-lib-kubelet", "mountPath": "/var/lib/kubelet" }),
        // One for all nodes of the cluster: a pod that comes without data takes up its node again, where with a password of its own it
        // would be refused. The cluster's token, which each of them has as well, opens more.
        json!({ "name": "node-password", "mountPath": PASSWORD_FILE, "subPath": "password", "readOnly": true }),
    ]
}

/// The container's privileges: the Cluster's fields, or the policy's, over ours. What k3s cannot run with is refused before, see
/// [`conflict`].
pub fn security_context(spec: &ClusterSpec, policy: Option<&VirtualClusterPolicySpec>) -> Value {
    let imposed = policy.and_then(|policy| policy.security_context.as_ref());
    over(json!({ "privileged": true }), imposed.or(spec.security_context.as_ref()))
}

/// The pod's.
pub fn pod_security_context(spec: &ClusterSpec) -> Value {
    over(json!({}), spec.pod_security_context.as_ref())
}

/// The first field with which a container cannot be a node, and why.
pub fn conflict(context: &SecurityContext) -> Option<(&'static str, &'static str)> {
    let drops = context.capabilities.as_ref().and_then(|capabilities| capabilities.drop.as_ref());
    let conflicts = [
        (
            "privileged",
            context.privileged == Some(false),
            "containerd and the kubelet in it mount, and make devices and cgroups",
        ),
        (
            "allowPrivilegeEscalation",
            context.allow_privilege_escalation == Some(false),
            "a privileged container may always do that",
        ),
        (
            "readOnlyRootFilesystem",
            context.read_only_root_filesystem == Some(true),
            "k3s writes below /etc and /var",
        ),
        (
            "capabilities.drop",
            drops.is_some_and(|drops| !drops.is_empty()),
            "containerd and the kubelet in it need them",
        ),
        ("runAsNonRoot", context.run_as_non_root == Some(true), NOT_ROOT),
        ("runAsUser", context.run_as_user.is_some_and(|user| user != 0), NOT_ROOT),
    ];
    conflicts.into_iter().find_map(|(field, is_so, reason)| is_so.then_some((field, reason)))
}

/// The same for a pod.
pub fn pod_conflict(context: &PodSecurityContext) -> Option<(&'static str, &'static str)> {
    let conflicts = [
        ("runAsNonRoot", context.run_as_non_root == Some(true)),
        ("runAsUser", context.run_as_user.is_some_and(|user| user != 0)),
    ];
    conflicts.into_iter().find_map(|(field, is_so)| is_so.then_some((field, NOT_ROOT)))
}

const NOT_ROOT: &str = "k3s' agent is root in its container";
