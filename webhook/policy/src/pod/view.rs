//! The typed view of a pod's spec: the fields that rules read, borrowed from the JSON, and nothing else. What no rule looks at – arguments,
//! environments, affinities – is passed over unread, so a large pod costs little more than a small one. A field that is read must be of the type
//! that Kubernetes has for it; a missing one and `null` are the same.

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// A string of the object.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<'a>(&'a str);

/// Declares views of objects: Kubernetes' name of each, and its fields. A field that is missing, or `null`, has its type's default. What is no
/// object is refused, which serde's own derive would not do with lists.
macro_rules! views {
    ($($(#[$doc:meta])* $visible:vis $name:ident $(<$life:lifetime>)? as $kubernetes:literal { $($key:literal $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        $visible struct $name $(<$life>)? {
            $(pub(crate) $field: $type,)*
        }

        impl<'de $(: $life, $life)?> Deserialize<'de> for $name $(<$life>)? {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_map(Fields::<Self>(PhantomData))
            }
        }

        impl<'de $(: $life, $life)?> Visitor<'de> for Fields<$name $(<$life>)?> {
            type Value = $name $(<$life>)?;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str($kubernetes)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut view = Self::Value::default();
                while let Some(field) = fields.next_key::<Text<'de>>()? {
                    match field.as_str() {
                        $($key => view.$field = fields.next_value::<Option<_>>()?.unwrap_or_default(),)*
                        _ => drop(fields.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(view)
            }
        }
    )*};
}

/// Visits the fields of what it is for.
struct Fields<T>(PhantomData<T>);

views! {
    /// The spec of a pod.
    pub Spec<'a> as "PodSpec" {
        "containers" containers: Vec<Container<'a>>,
        "initContainers" init_containers: Vec<Container<'a>>,
        "ephemeralContainers" ephemeral_containers: Vec<Container<'a>>,
        "volumes" volumes: Vec<Volume<'a>>,
        "tolerations" tolerations: Vec<Toleration<'a>>,
        "topologySpreadConstraints" topology_spread_constraints: Vec<Spread<'a>>,
        "nodeSelector" node_selector: BTreeMap<Text<'a>, Text<'a>>,
        "securityContext" security_context: Option<PodSecurity<'a>>,
        "resources" resources: Option<Resources<'a>>,
        "os" os: Option<Os<'a>>,
        "hostIPC" host_ipc: Option<bool>,
        "hostNetwork" host_network: Option<bool>,
        "hostPID" host_pid: Option<bool>,
        "hostUsers" host_users: Option<bool>,
        "priorityClassName" priority_class_name: Option<Text<'a>>,
        "runtimeClassName" runtime_class_name: Option<Text<'a>>,
        "schedulerName" scheduler_name: Option<Text<'a>>,
        "terminationGracePeriodSeconds" termination_grace_period_seconds: Option<i64>,
    }
    /// A container of any list: the fields that rules read are the same in all.
    pub(crate) Container<'a> as "Container" {
        "name" name: Text<'a>,
        "image" image: Option<Text<'a>>,
        "imagePullPolicy" image_pull_policy: Option<Text<'a>>,
        "restartPolicy" restart_policy: Option<Text<'a>>,
        "securityContext" security_context: Option<Security<'a>>,
        "ports" ports: Vec<Port>,
        "resources" resources: Option<Resources<'a>>,
        "lifecycle" lifecycle: Option<Lifecycle<'a>>,
        "livenessProbe" liveness_probe: Option<Probe<'a>>,
        "readinessProbe" readiness_probe: Option<Probe<'a>>,
        "startupProbe" startup_probe: Option<Probe<'a>>,
    }
    /// A container's security context.
    pub(crate) Security<'a> as "SecurityContext" {
        "allowPrivilegeEscalation" allow_privilege_escalation: Option<bool>,
        "appArmorProfile" app_armor_profile: Option<Profile<'a>>,
        "capabilities" capabilities: Option<Capabilities<'a>>,
        "privileged" privileged: Option<bool>,
        "procMount" proc_mount: Option<Text<'a>>,
        "runAsNonRoot" run_as_non_root: Option<bool>,
        "runAsUser" run_as_user: Option<i64>,
        "seLinuxOptions" se_linux_options: Option<SeLinux<'a>>,
        "seccompProfile" seccomp_profile: Option<Profile<'a>>,
        "windowsOptions" windows_options: Option<Windows>,
    }
    /// A pod's security context.
    pub(crate) PodSecurity<'a> as "PodSecurityContext" {
        "appArmorProfile" app_armor_profile: Option<Profile<'a>>,
        "runAsNonRoot" run_as_non_root: Option<bool>,
        "runAsUser" run_as_user: Option<i64>,
        "seLinuxOptions" se_linux_options: Option<SeLinux<'a>>,
        "seccompProfile" seccomp_profile: Option<Profile<'a>>,
        "sysctls" sysctls: Vec<Sysctl<'a>>,
        "windowsOptions" windows_options: Option<Windows>,
    }
    /// A profile of seccomp or AppArmor.
    pub(crate) Profile<'a> as "profile" { "type" kind: Text<'a>, }
    /// Capabilities.
    pub(crate) Capabilities<'a> as "Capabilities" { "add" add: Vec<Text<'a>>, "drop" drop: Option<Vec<Text<'a>>>, }
    /// SELinux's labels.
    pub(crate) SeLinux<'a> as "SELinuxOptions" {
        "role" role: Option<Text<'a>>,
        "type" kind: Option<Text<'a>>,
        "user" user: Option<Text<'a>>,
    }
    /// What is particular to Windows.
    pub(crate) Windows as "WindowsSecurityContextOptions" { "hostProcess" host_process: Option<bool>, }
    /// A kernel parameter.
    pub(crate) Sysctl<'a> as "Sysctl" { "name" name: Text<'a>, }
    /// The operating system.
    pub(crate) Os<'a> as "PodOS" { "name" name: Text<'a>, }
    /// A port.
    pub(crate) Port as "ContainerPort" { "containerPort" container_port: i32, "hostPort" host_port: Option<i32>, }
    /// A probe.
    pub(crate) Probe<'a> as "Probe" {
        "httpGet" http_get: Option<Reached<'a>>,
        "tcpSocket" tcp_socket: Option<Reached<'a>>,
        "terminationGracePeriodSeconds" termination_grace_period_seconds: Option<i64>,
    }
    /// Hooks.
    pub(crate) Lifecycle<'a> as "Lifecycle" { "postStart" post_start: Option<Hook<'a>>, "preStop" pre_stop: Option<Hook<'a>>, }
    /// A hook.
    pub(crate) Hook<'a> as "LifecycleHandler" {
        "httpGet" http_get: Option<Reached<'a>>,
        "tcpSocket" tcp_socket: Option<Reached<'a>>,
    }
    /// What the kubelet connects to.
    pub(crate) Reached<'a> as "action" { "host" host: Option<Text<'a>>, }
    /// What a container, or a pod as a whole, asks for.
    pub(crate) Resources<'a> as "ResourceRequirements" { "limits" limits: Amounts<'a>, "requests" requests: Amounts<'a>, }
    /// A toleration.
    pub(crate) Toleration<'a> as "Toleration" {
        "key" key: Option<Text<'a>>,
        "operator" operator: Option<Text<'a>>,
        "value" value: Option<Text<'a>>,
        "effect" effect: Option<Text<'a>>,
    }
    /// How pods are spread.
    pub(crate) Spread<'a> as "TopologySpreadConstraint" { "topologyKey" topology_key: Text<'a>, }
    /// A directory of the node.
    pub(crate) HostPath<'a> as "HostPathVolumeSource" { "path" path: Text<'a>, "type" kind: Option<Text<'a>>, }
    /// An image as a volume.
    pub(crate) ImageSource<'a> as "ImageVolumeSource" {
        "reference" reference: Option<Text<'a>>,
        "pullPolicy" pull_policy: Option<Text<'a>>,
    }
}

impl<'a> Container<'a> {
    /// Its probes, by their fields.
    pub(crate) fn probes(&self) -> impl Iterator<Item = (&'static str, &Probe<'a>)> {
        let all = [
            ("livenessProbe", &self.liveness_probe),
            ("readinessProbe", &self.readiness_probe),
            ("startupProbe", &self.startup_probe),
        ];
        all.into_iter().filter_map(|(field, probe)| Some((field, probe.as_ref()?)))
    }
}

/// A volume.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volume<'a> {
    pub(crate) name: Text<'a>,
    pub(crate) host_path: Option<HostPath<'a>>,
    pub(crate) image: Option<ImageSource<'a>>,
    /// The field of every source that it has, in order, those of later versions as well.
    pub(crate) sources: Vec<&'a str>,
}

/// Amounts, as they are written: by resource, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Amounts<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl Amounts<'_> {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(resource, amount)| (*resource, amount.as_ref()))
    }

    /// The amount of `resource`.
    pub(crate) fn get(&self, resource: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == resource).map(|(_, amount)| amount)
    }
}

/// As a string is shown.
impl fmt::Debug for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, out)
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

impl std::borrow::Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        self.0
    }
}

impl<'a> Text<'a> {
    /// The string, for as long as the object lives.
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Borrowed;

        impl<'de> Visitor<'de> for Borrowed {
            type Value = Text<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(text))
            }
        }
        from.deserialize_str(Borrowed)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Volume<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Sources;

        impl<'de> Visitor<'de> for Sources {
            type Value = Volume<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("Volume")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Volume<'de>, A::Error> {
                let mut volume = Volume::default();
                while let Some(field) = fields.next_key::<Text<'de>>()? {
                    let is_set = match field.as_str() {
                        "name" => {
                            volume.name = fields.next_value::<Option<_>>()?.unwrap_or_default();
                            false
                        }
                        "hostPath" => {
                            volume.host_path = fields.next_value()?;
                            volume.host_path.is_some()
                        }
                        "image" => {
                            volume.image = fields.next_value()?;
                            volume.image.is_some()
                        }
                        _ => fields.next_value::<Option<IgnoredAny>>()?.is_some(),
                    };
                    if is_set {
                        volume.sources.push(field.as_str());
                    }
                }
                Ok(volume)
            }
        }
        from.deserialize_map(Sources)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Amounts<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Amounts<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Amounts<'de>, A::Error> {
                let mut amounts = Vec::with_capacity(entries.size_hint().unwrap_or_default());
                while let Some((resource, amount)) = entries.next_entry::<Text<'de>, Amount<'de>>()? {
                    amounts.push((resource.as_str(), amount.0));
                }
                Ok(Amounts(amounts))
            }
        }
        from.deserialize_map(Entries)
    }
}

/// An amount. Kubernetes reads numbers as well, and writes strings.
struct Amount<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Amount<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Number;

        impl<'de> Visitor<'de> for Number {
            type Value = Amount<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("Quantity")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Amount<'de>, E> {
                Ok(Amount(text.into()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Amount<'de>, E> {
                Ok(Amount(number.to_string().into()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Amount<'de>, E> {
                Ok(Amount(number.to_string().into()))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Amount<'de>, E> {
                Ok(Amount(number.to_string().into()))
            }
        }
        from.deserialize_any(Number)
    }
}
