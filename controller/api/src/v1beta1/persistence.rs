//! Where the servers keep their data.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Size of a server's volume when the object does not say.
pub const DEFAULT_STORAGE_SIZE: &str = "2G";

/// Where the servers keep their data.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Persistence {
    /// dynamic: a volume per server. Anything else, usually ephemeral: the data is lost with the pod.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "dynamic"))]
    pub kind: Option<String>,

    /// StorageClass of the volumes. Default: the host's default class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,

    /// Size of each volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = DEFAULT_STORAGE_SIZE))]
    #[x_kube(validation = ("self == oldSelf", "storageRequestSize is immutable"))]
    pub storage_request_size: Option<Quantity>,
}

/// [`Persistence`] with its defaults applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    /// A volume claim per server.
    Dynamic {
        /// The claim's StorageClass; the host's default if none.
        class: Option<String>,
        /// The claim's size.
        size: Quantity,
    },
    /// An emptyDir.
    Ephemeral,
}

impl Persistence {
    /// What the object means: no type is `dynamic`, and a type nobody knows is ephemeral, as in upstream.
    pub fn effective(self) -> Storage {
        if self.kind.as_deref().is_none_or(|kind| kind.is_empty() || kind == "dynamic") {
            let size = self.storage_request_size.unwrap_or_else(|| Quantity(DEFAULT_STORAGE_SIZE.into()));
            Storage::Dynamic { class: self.storage_class_name, size }
        } else {
            Storage::Ephemeral
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(None, true)]
    #[case(Some("dynamic"), true)]
    #[case(Some(""), true)]
    #[case(Some("ephemeral"), false)]
    #[case(Some("static"), false)]
    fn only_dynamic_has_a_volume(#[case] kind: Option<&str>, #[case] dynamic: bool) {
        let persistence = Persistence { kind: kind.map(Into::into), ..Persistence::default() };
        assert_eq!(matches!(persistence.effective(), Storage::Dynamic { .. }), dynamic);
    }

    #[test]
    fn what_is_said_is_kept() {
        let persistence = Persistence {
            kind: None,
            storage_class_name: Some("fast".into()),
            storage_request_size: Some(Quantity("5Gi".into())),
        };
        let wanted = Storage::Dynamic { class: Some("fast".into()), size: Quantity("5Gi".into()) };
        assert_eq!(persistence.effective(), wanted);
    }
}
