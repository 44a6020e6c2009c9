//! Where a pod's files may come from.

use super::Finding;
use super::view::{Fault, Pod, quoted};
use crate::pod::view::Volume;

/// No files of the node: Pod Security Standards, Baseline, "HostPath Volumes" (v1.0).
pub const HOST_PATH: &str = "podSecurity.hostPath";
/// Only volumes that others provision or the kubelet fills: Pod Security Standards, Restricted, "Volume Types" (v1.0).
/// hostPath, which it forbids, too, is left to [`HOST_PATH`].
pub const VOLUME_TYPES: &str = "podSecurity.volumeTypes";

const ALLOWED_TYPES: &str = "only configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, \
                             projected and secret volumes";

const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const FORBIDDEN: [&str; 20] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

pub(super) fn pod(pod: &Pod<'_>, found: &mut Vec<Finding>) {
    for (index, volume) in pod.spec().volumes.iter().enumerate() {
        if let Some(source) = &volume.host_path {
            let fault = Fault::baseline(HOST_PATH, "no path of the node");
            let text = format!("{} (volume {})", quoted(&source.path), quoted(&volume.name));
            found.push(fault.in_pod(format!("spec.volumes[{index}].hostPath.path"), text));
        }
        if pod.restricted {
            found.extend(types(index, volume));
        }
    }
}

fn types(index: usize, volume: &Volume<'_>) -> Vec<Finding> {
    let name = quoted(&volume.name);
    let fault =
        |path: String, found: String| Fault::restricted(VOLUME_TYPES, ALLOWED_TYPES).in_pod(path, found);
    let has = |kinds: &[&str]| volume.sources.iter().any(|source| kinds.contains(source));
    let forbidden = volume.sources.iter().filter(|source| FORBIDDEN.contains(source));
    let mut found: Vec<Finding> = forbidden
        .map(|source| fault(format!("spec.volumes[{index}].{source}"), format!("set (volume {name})")))
        .collect();
    // The API server gives an emptyDir to a volume that says nothing, so this one says what we do not know.
    if found.is_empty() && !has(&ALLOWED) && volume.host_path.is_none() {
        let text = format!("of an unknown type (volume {name})");
        found.push(fault(format!("spec.volumes[{index}]"), text));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, FORBIDDEN};
    use std::collections::BTreeSet;

    /// A kind of volume that Kubernetes gains must be put in its place here.
    #[test]
    fn every_kind_of_the_schema_is_allowed_or_forbidden() {
        let schema = schemars::schema_for!(k8s_openapi::api::core::v1::Volume);
        let properties = schema.get("properties").and_then(|all| all.as_object()).unwrap();
        let known: BTreeSet<&str> =
            ALLOWED.into_iter().chain(FORBIDDEN).chain(["name", "hostPath"]).collect();
        assert_eq!(properties.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
    }
}
