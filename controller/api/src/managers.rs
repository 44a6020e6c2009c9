//! Field managers for server-side apply: one per writer, so that a conflict names who is on the other side.

/// The controller, for everything it makes in the host.
pub const CONTROLLER: &str = "k3k-controller";
/// The controller, for what it makes inside a nested cluster (its virtual kubelet's RBAC).
pub const CONTROLLER_NESTED: &str = "k3k-controller-nested";
/// The controller, for what it makes of a policy in the host. Not [`CONTROLLER`]: both write labels of the same namespaces,
/// and each takes back only its own.
pub const POLICY: &str = "k3k-policy-controller";
/// The controller, for what it counts of objects that break policies.
pub const AUDIT: &str = "k3k-policy-audit";
/// The controller, for what decides in the webhook's registrations whether its silence is taken for consent.
pub const BREAK_GLASS: &str = "k3k-break-glass";
/// The virtual kubelet, for the host copies of tenants' objects and for nested nodes.
pub const KUBELET: &str = "k3k-kubelet";
/// The webhook, for its certificate and the `caBundle` of its registration.
pub const WEBHOOK: &str = "k3k-webhook";
/// `kubectl k3k`, for clusters and policies.
pub const PLUGIN: &str = "kubectl-k3k";
/// `kubectl k3k install`.
pub const INSTALL: &str = "kubectl-k3k-install";
