//! Where a pod's files may come from.

use super::Finding;
use super::view::{Fault, Pod, quoted};
use k8s_openapi::api::core::v1::Volume;

/// No files of the node: Pod Security Standards, Baseline, "HostPath Volumes" (v1.0).
pub const HOST_PATH: &str = "podSecurity.hostPath";
/// Only volumes that others provision or the kubelet fills: Pod Security Standards, Restricted, "Volume Types" (v1.0).
/// hostPath, which it forbids, too, is left to [`HOST_PATH`].
pub const VOLUME_TYPES: &str = "podSecurity.volumeTypes";

const ALLOWED_TYPES: &str = "only configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, \
                             projected and secret volumes";

pub(super) fn pod(pod: &Pod<'_>, found: &mut Vec<Finding>) {
    for (index, volume) in pod.spec.volumes.iter().flatten().enumerate() {
        if let Some(source) = &volume.host_path {
            let fault = Fault::baseline(HOST_PATH, "no path of the node");
            let text = format!("{:?} (volume {:?})", source.path, volume.name);
            found.push(fault.in_pod(format!("spec.volumes[{index}].hostPath.path"), text));
        }
        if pod.restricted {
            found.extend(types(index, volume));
        }
    }
}

fn types(index: usize, volume: &Volume) -> Vec<Finding> {
    // A version of Kubernetes that adds a kind of volume does not compile until it is put in its place.
    let Volume {
        name,
        config_map,
        csi,
        downward_api,
        empty_dir,
        ephemeral,
        image,
        persistent_volume_claim,
        projected,
        secret,
        host_path,
        aws_elastic_block_store,
        azure_disk,
        azure_file,
        cephfs,
        cinder,
        fc,
        flex_volume,
        flocker,
        gce_persistent_disk,
        git_repo,
        glusterfs,
        iscsi,
        nfs,
        photon_persistent_disk,
        portworx_volume,
        quobyte,
        rbd,
        scale_io,
        storageos,
        vsphere_volume,
    } = volume;
    let fault =
        |path: String, found: String| Fault::restricted(VOLUME_TYPES, ALLOWED_TYPES).in_pod(path, found);
    let forbidden = [
        ("awsElasticBlockStore", aws_elastic_block_store.is_some()),
        ("azureDisk", azure_disk.is_some()),
        ("azureFile", azure_file.is_some()),
        ("cephfs", cephfs.is_some()),
        ("cinder", cinder.is_some()),
        ("fc", fc.is_some()),
        ("flexVolume", flex_volume.is_some()),
        ("flocker", flocker.is_some()),
        ("gcePersistentDisk", gce_persistent_disk.is_some()),
        ("gitRepo", git_repo.is_some()),
        ("glusterfs", glusterfs.is_some()),
        ("iscsi", iscsi.is_some()),
        ("nfs", nfs.is_some()),
        ("photonPersistentDisk", photon_persistent_disk.is_some()),
        ("portworxVolume", portworx_volume.is_some()),
        ("quobyte", quobyte.is_some()),
        ("rbd", rbd.is_some()),
        ("scaleIO", scale_io.is_some()),
        ("storageos", storageos.is_some()),
        ("vsphereVolume", vsphere_volume.is_some()),
    ];
    let mut found: Vec<Finding> = forbidden
        .into_iter()
        .filter(|(_, set)| *set)
        .map(|(source, _)| {
            fault(format!("spec.volumes[{index}].{source}"), format!("set (volume {})", quoted(name)))
        })
        .collect();
    let allowed = config_map.is_some()
        || csi.is_some()
        || downward_api.is_some()
        || empty_dir.is_some()
        || ephemeral.is_some()
        || image.is_some()
        || persistent_volume_claim.is_some()
        || projected.is_some()
        || secret.is_some();
    // The API server gives an emptyDir to a volume that says nothing, so this one says what we do not know.
    if found.is_empty() && !allowed && host_path.is_none() {
        let text = format!("of an unknown type (volume {})", quoted(name));
        found.push(fault(format!("spec.volumes[{index}]"), text));
    }
    found
}
