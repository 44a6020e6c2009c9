//! How we sign what we write, so that each field's owner is known.

use k3k_api::managers;
use kube::api::{PatchParams, PostParams};

/// For server-side apply.
pub fn apply() -> PatchParams {
    PatchParams::apply(managers::KUBELET).force()
}

/// For a merge or JSON patch.
pub fn patch() -> PatchParams {
    PatchParams { field_manager: Some(managers::KUBELET.to_owned()), ..PatchParams::default() }
}

/// For a new object.
pub fn create() -> PostParams {
    PostParams { field_manager: Some(managers::KUBELET.to_owned()), ..PostParams::default() }
}
