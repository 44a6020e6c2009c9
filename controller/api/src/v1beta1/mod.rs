//! `k3k.io/v1beta1`: [`Cluster`] and [`VirtualClusterPolicy`].
//!
//! Field names, defaults, enums and rules are upstream K3k's, so that its manifests apply unchanged. Fields that
//! were not set are not serialised: whoever applies one of these objects owns only what it said.

// KubeSchema repeats each struct, as it is, inside a function; and these comments are what `kubectl explain`
// shows, where backticks would be noise.
#![expect(unreachable_pub, clippy::doc_markdown)]

mod certificates;
mod cluster;
mod crd;
mod expose;
mod pause;
mod persistence;
pub mod policy;
mod secret_mount;
mod status;
mod sync;

pub use certificates::{CredentialSource, CredentialSources, CustomCas};
pub use cluster::{Addon, Cluster, ClusterSpec, Mode};
pub use crd::crds;
pub use expose::{Expose, IngressExposure, LoadBalancerExposure, NodePortExposure};
pub use pause::{Pause, TenantPods};
pub use persistence::{DEFAULT_STORAGE_SIZE, Persistence, Storage};
pub use policy::{
    PodSecurityLevel, VirtualClusterPolicy, VirtualClusterPolicySpec, VirtualClusterPolicyStatus,
};
pub use secret_mount::{MountRole, SecretMount};
pub use status::{AppliedPolicy, ClusterStatus, EtcdMember, EtcdStatus, Phase, UpgradeStatus};
pub use sync::{IngressSync, PriorityClassSync, ResourceSync, SyncConfig, SyncedKind};

/// Group of the custom resources.
pub const GROUP: &str = "k3k.io";
/// Version of the custom resources.
pub const VERSION: &str = "v1beta1";
