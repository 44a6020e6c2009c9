//! What of the host a cluster's tenants may name: the controller, which sees it, tells the virtual kubelet, which does not.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Names of classes of the host, by kind. An object inside says nothing: tenants can make any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Offered {
    /// For Ingresses.
    pub ingress_classes: BTreeSet<String>,
    /// For pods' `runtimeClassName`.
    pub runtime_classes: BTreeSet<String>,
    /// For pods' `priorityClassName`.
    pub priority_classes: BTreeSet<String>,
}
