//! A policy, compiled: read once, when it changes, and then asked by every decision.

use crate::{glob, rules};
use jiff::Timestamp;
use k3k_api::image::{ImageReference, normalized_host};
use k3k_api::quantity::Quantity;
use k3k_api::v1beta1::policy::{
    AllowedRegistry, DigestRule, EnforcementMode, Exemption, Images, Nodes, Placement, PodSecurity,
    RegistryNetwork, Resources, VirtualClusterPolicySpec, Workloads,
};
use k3k_api::v1beta1::policy::{Network, PodSecurityLevel};
use std::collections::{BTreeMap, HashMap};

/// A compiled policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The object's name; empty for the default policy.
    pub name: String,
    /// The generation that was compiled.
    pub generation: i64,
    /// What the object says.
    pub spec: VirtualClusterPolicySpec,
    modes: BTreeMap<String, EnforcementMode>,
    exemptions: Vec<(Timestamp, Exemption)>,
    pins: HashMap<(String, String, String), String>,
    /// The hosts of the allowed registries, as hosts are compared.
    hosts: Vec<String>,
    /// The most that a pod may use, by resource.
    pub(crate) most: BTreeMap<String, Quantity>,
    // What the sections say; empty where there is none.
    pub(crate) pod_security: PodSecurity,
    pub(crate) images: Images,
    pub(crate) nodes: Nodes,
    pub(crate) resources: Resources,
    pub(crate) workloads: Workloads,
    pub(crate) network: Network,
}

/// What cannot be understood of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct CompileError {
    /// The field at fault.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// Where an object comes from, as far as exemptions and privileges tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The namespace inside it.
    pub virtual_namespace: &'a str,
}

fn wrong(field: impl Into<String>, message: impl Into<String>) -> CompileError {
    CompileError { field: field.into(), message: message.into() }
}

impl Policy {
    /// Compiles what a policy says, or names the field that cannot be understood: a policy that is half understood governs nothing.
    pub fn compile(
        name: &str,
        generation: i64,
        spec: VirtualClusterPolicySpec,
    ) -> Result<Self, CompileError> {
        let enforcement = spec.enforcement.clone().unwrap_or_default();
        let mut modes = BTreeMap::new();
        for (index, rule) in enforcement.rules.iter().enumerate() {
            let field = format!("spec.enforcement.rules[{index}].name");
            known(&field, &rule.name)?;
            modes.insert(rule.name.clone(), rule.mode);
        }
        let mut exemptions = Vec::new();
        for (index, exemption) in enforcement.exemptions.iter().enumerate() {
            let field = format!("spec.enforcement.exemptions[{index}]");
            for (at, rule) in exemption.rules.iter().enumerate() {
                known(&format!("{field}.rules[{at}]"), rule)?;
            }
            let until = exemption.expires_at.parse::<Timestamp>().map_err(|error| {
                wrong(
                    format!("{field}.expiresAt"),
                    format!("{:?} is not a time: {error}", exemption.expires_at),
                )
            })?;
            exemptions.push((until, exemption.clone()));
        }
        let images = spec.images.clone().unwrap_or_default();
        for (index, registry) in images.allowed_registries.iter().enumerate() {
            let field = format!("spec.images.allowedRegistries[{index}].host");
            let probe = format!("{}/probe/probe", registry.host);
            match probe.parse::<ImageReference>() {
                Ok(reference) if reference.repository == "probe/probe" => {}
                _ => return Err(wrong(field, format!("{:?} is not the host of a registry", registry.host))),
            }
        }
        let mut pins = HashMap::new();
        for (index, pin) in images.pins.iter().enumerate() {
            let field = format!("spec.images.pins[{index}].image");
            let image =
                pin.image.parse::<ImageReference>().map_err(|error| wrong(&field, error.to_string()))?;
            let Some(tag) = image.effective_tag() else {
                return Err(wrong(field, format!("{:?} has a digest already", pin.image)));
            };
            pins.insert(
                (image.registry_host(), image.repository.clone(), tag.to_owned()),
                pin.digest.clone(),
            );
        }
        let resources = spec.resources.clone().unwrap_or_default();
        let mut most = BTreeMap::new();
        for (resource, quantity) in resources.per_pod.iter().flat_map(|per_pod| &per_pod.max) {
            let field = format!("spec.resources.perPod.max[{resource}]");
            most.insert(
                resource.clone(),
                Quantity::try_from(quantity).map_err(|error| wrong(field, error.to_string()))?,
            );
        }
        let pod_security = spec.pod_security.clone().unwrap_or_default();
        for (index, privilege) in pod_security.privileged.iter().enumerate() {
            for (at, path) in privilege.host_paths.iter().enumerate() {
                if crate::pod::privilege::plain_path(&path.path).is_none() {
                    let field = format!("spec.podSecurity.privileged[{index}].hostPaths[{at}].path");
                    return Err(wrong(
                        field,
                        format!("{:?} is not absolute, or has dots between its slashes", path.path),
                    ));
                }
            }
        }
        Ok(Self {
            name: name.to_owned(),
            generation,
            modes,
            exemptions,
            pins,
            hosts: images.allowed_registries.iter().map(|registry| normalized_host(&registry.host)).collect(),
            most,
            pod_security,
            images,
            nodes: spec.nodes.clone().unwrap_or_default(),
            resources,
            workloads: spec.workloads.clone().unwrap_or_default(),
            network: spec.network.clone().unwrap_or_default(),
            spec,
        })
    }

    /// How the policy is called in a sentence.
    pub fn title(&self) -> String {
        if self.name.is_empty() {
            "the default policy".to_owned()
        } else {
            format!("VirtualClusterPolicy {:?}", self.name)
        }
    }

    /// The Pod Security Standard of tenants' pods; Baseline, if the policy does not say.
    pub fn level(&self) -> PodSecurityLevel {
        self.spec.pod_security_admission_level.unwrap_or(PodSecurityLevel::Baseline)
    }

    /// What follows when `rule` is broken. The rule's own entry goes before that of its area, and that before the policy's.
    pub fn mode(&self, rule: &str) -> EnforcementMode {
        if crate::is_guard(rule) {
            return EnforcementMode::Enforce;
        }
        let area = rule.split('.').next().unwrap_or(rule);
        self.modes.get(rule).or_else(|| self.modes.get(area)).copied().unwrap_or_else(|| {
            self.spec.enforcement.as_ref().and_then(|enforcement| enforcement.mode).unwrap_or_default()
        })
    }

    /// The exemption by which `rule` does not hold for what comes from `source` at `now`.
    pub fn exemption(&self, rule: &str, source: Source<'_>, now: Timestamp) -> Option<&Exemption> {
        if crate::is_guard(rule) {
            return None;
        }
        let area = rule.split('.').next().unwrap_or(rule);
        self.exemptions.iter().filter(|(until, _)| now < *until).map(|(_, exemption)| exemption).find(
            |exemption| {
                exemption.rules.iter().any(|listed| listed == rule || listed == area)
                    && covers(&exemption.clusters, source.cluster)
                    && covers(&exemption.virtual_namespaces, source.virtual_namespace)
            },
        )
    }

    /// When the next exemption ends.
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.exemptions.iter().map(|(until, _)| *until).filter(|until| *until > now).min()
    }

    /// The exemptions, with when they end.
    pub fn exemptions(&self) -> impl Iterator<Item = (Timestamp, &Exemption)> {
        self.exemptions.iter().map(|(until, exemption)| (*until, exemption))
    }

    /// The rule about digests.
    pub fn digest(&self) -> DigestRule {
        self.images.digest.unwrap_or_default()
    }

    /// Who else runs on the clusters' nodes.
    pub fn placement(&self) -> Placement {
        self.nodes.placement.unwrap_or_default()
    }

    /// The entry of the policy under which `image` is allowed, if registries are named at all.
    pub fn registry(&self, image: &ImageReference) -> Option<&AllowedRegistry> {
        let host = image.registry_host();
        let listed = self.images.allowed_registries.iter().zip(&self.hosts);
        let found = listed.into_iter().find(|(registry, normal)| {
            **normal == host
                && (registry.repositories.is_empty()
                    || registry.repositories.iter().any(|allowed| glob::path(allowed, &image.repository)))
        });
        found.map(|(registry, _)| registry)
    }

    /// Whether the policy itself names `image`, with no other digest than the one it says.
    pub fn is_pinned(&self, image: &ImageReference) -> bool {
        self.pinned(image).is_some_and(|digest| image.digest.as_deref().is_none_or(|named| named == digest))
    }

    /// The digest that the policy itself says `image` has.
    pub fn pinned(&self, image: &ImageReference) -> Option<&str> {
        let tag = image.effective_tag().filter(|_| !self.pins.is_empty())?;
        self.pins.get(&(image.registry_host(), image.repository.clone(), tag.to_owned())).map(String::as_str)
    }
}

/// Whether `registry` may have a private address.
pub fn is_private(registry: &AllowedRegistry) -> bool {
    registry.network == Some(RegistryNetwork::Private)
}

/// Whether a list that names nothing means everything, or names `name`.
pub(crate) fn covers(list: &[String], name: &str) -> bool {
    list.is_empty() || list.iter().any(|listed| listed == name)
}

fn known(field: &str, rule: &str) -> Result<(), CompileError> {
    if crate::is_guard(rule) || rule == "guard" {
        return Err(wrong(field, "guard rules always hold"));
    }
    if rules::ALL.iter().any(|known| *known == rule || known.split('.').next() == Some(rule)) {
        return Ok(());
    }
    Err(wrong(field, format!("there is no rule {rule:?}; see docs/policy.md")))
}
