//! Where volumes come from.

use super::{Role, Subject};
use crate::policy::Policy;
use crate::rules;
use crate::violation::{Violation, any_of};
use k3k_api::v1beta1::policy::VolumeType;
use serde_json::Value;

/// Every source that this version of Kubernetes knows, with the type that policies call it by. Those without one are never for tenants:
/// they carry the credentials of nodes and clouds, or were taken out of Kubernetes.
const SOURCES: &[(&str, Option<VolumeType>)] = &[
    ("configMap", Some(VolumeType::ConfigMap)),
    ("secret", Some(VolumeType::Secret)),
    ("emptyDir", Some(VolumeType::EmptyDir)),
    ("projected", Some(VolumeType::Projected)),
    ("downwardAPI", Some(VolumeType::DownwardAPI)),
    ("persistentVolumeClaim", Some(VolumeType::PersistentVolumeClaim)),
    ("ephemeral", Some(VolumeType::Ephemeral)),
    ("csi", Some(VolumeType::Csi)),
    ("image", Some(VolumeType::Image)),
    ("hostPath", Some(VolumeType::HostPath)),
];

/// Volume sources: known ones, of types that the policy names, and csi only with its drivers.
pub(super) fn check(subject: &Subject<'_>, policy: &Policy, role: Role<'_>) -> Vec<Violation> {
    if role == Role::ControlPlane {
        return Vec::new();
    }
    let volumes = subject.raw.pointer("/spec/volumes").and_then(Value::as_array);
    let mut found = Vec::new();
    for (index, volume) in volumes.into_iter().flatten().enumerate() {
        let sources = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| *key != "name" && !value.is_null());
        for (source, value) in sources {
            let field = format!("spec.volumes[{index}].{source}");
            let known = SOURCES.iter().find(|(name, _)| name == source);
            let Some((_, Some(kind))) = known else {
                let message = format!("{field} is a volume that pods in a cluster's namespace cannot have");
                found.push(Violation::new(rules::UNKNOWN, field, message));
                continue;
            };
            let types = &policy.pod_security.volume_types;
            let is_listed = types.is_empty() || types.contains(kind);
            if !is_listed {
                let names: Vec<String> = types.iter().map(|kind| format!("{kind:?}")).collect();
                let allowed = format!("only volumes of type {}", any_of(&names));
                found.push(Violation::of(
                    rules::ALLOWED_VOLUMES,
                    field.clone(),
                    &format!("a volume of type {kind:?}"),
                    &policy.title(),
                    &allowed,
                ));
            }
            match kind {
                VolumeType::Csi if is_listed => found.extend(driver(value, &field, policy)),
                VolumeType::Ephemeral => {
                    let template = value.get("volumeClaimTemplate").unwrap_or(&Value::Null);
                    let prefix = format!("{field}.volumeClaimTemplate.");
                    found.extend(crate::objects::claim_spec(template, &prefix, policy));
                }
                _ => {}
            }
        }
    }
    found
}

/// The driver of a csi volume.
fn driver(volume: &Value, field: &str, policy: &Policy) -> Option<Violation> {
    let driver = volume.get("driver").and_then(Value::as_str).unwrap_or_default();
    let drivers = &policy.pod_security.csi_drivers;
    if drivers.iter().any(|allowed| allowed == driver) {
        return None;
    }
    let allowed = if drivers.is_empty() {
        "no csi volumes".to_owned()
    } else {
        format!("the drivers {}", any_of(drivers))
    };
    let field = format!("{field}.driver");
    Some(Violation::of(rules::ALLOWED_VOLUMES, field, &format!("{driver:?}"), &policy.title(), &allowed))
}

#[cfg(test)]
mod tests {
    use super::SOURCES;
    use k8s_openapi::api::core::v1::Volume;

    /// A source that Kubernetes gains must be classified here before it can be used.
    #[test]
    fn every_source_of_the_schema_is_known_or_refused() {
        let schema = schemars::schema_for!(Volume);
        let properties = schema.get("properties").and_then(|all| all.as_object()).unwrap();
        let refused: Vec<&String> = properties
            .keys()
            .filter(|key| *key != "name" && !SOURCES.iter().any(|(source, _)| source == key))
            .collect();
        insta::assert_compact_json_snapshot!(refused);
    }
}
