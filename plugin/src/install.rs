//! What `install` puts into the host, and how it gets there.

pub(crate) mod apply;
pub(crate) mod chart;
pub(crate) mod kinds;
pub(crate) mod rollout;
pub(crate) mod values;

/// Default namespace of the controller and the webhook.
pub(crate) const NAMESPACE: &str = "k3k-system";
/// Name of the controller's Deployment.
pub(crate) const CONTROLLER: &str = "k3k-controller";
/// Name of the webhook's Deployment.
pub(crate) const WEBHOOK: &str = "k3k-webhook";

/// The manifests as they were when the plugin was built.
pub(crate) mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}
