//! That a cluster does not run for a while.

use super::{ClusterSpec, Mode, Storage};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pause. That the field is there is the pause, and to take it away is the resume: one declarative fact, which a
/// repository can hold, and which a tool that applies the object again and again neither starts nor ends by itself.
/// It is an object and not a switch, so that what shall be otherwise while it lasts has a place.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// What becomes of tenants' pods in mode shared. Stop: they end, and run again after the pause, as after a restart
    /// of their node. Keep: they run on, and nobody changes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Stop"))]
    pub tenant_pods: Option<TenantPods>,
}

/// What becomes of tenants' pods while a cluster is paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TenantPods {
    /// They end, and run again afterwards.
    #[default]
    Stop,
    /// They run on.
    Keep,
}

impl Pause {
    /// What becomes of tenants' pods; they stop if the object does not say.
    pub fn tenant_pods(self) -> TenantPods {
        self.tenant_pods.unwrap_or_default()
    }

    /// Why a cluster like this cannot be paused so, if it cannot.
    pub fn refusal(self, spec: &ClusterSpec) -> Option<&'static str> {
        if spec.persistence() == Storage::Ephemeral {
            return Some(
                "spec.persistence is ephemeral: the cluster's state is in its server pods and would be lost with them",
            );
        }
        (self.tenant_pods() == TenantPods::Keep && spec.mode() == Mode::Virtual).then_some(
            "in mode virtual tenants' pods run inside the servers and agents that a pause stops, so they cannot be kept",
        )
    }
}
