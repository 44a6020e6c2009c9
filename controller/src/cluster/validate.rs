//! Which Clusters are accepted. Pure.

mod outside;
mod privilege;
mod ranges;

use super::build::arguments::{self, ServerArguments};
use super::build::exposure::Wanted;
use super::build::mode::Nodes;
use super::build::{Kind, Site, agent, certificates, secret_data, server, token};
use super::error::Error;
use super::observe::Observed;
use k3k_api::v1beta1::policy::ClustersPerNamespace;
use k3k_api::v1beta1::{ClusterSpec, ClusterStatus, Storage};
use k3k_api::version;
use std::collections::BTreeMap;

/// The longest name for which the StatefulSet's name leaves room for the hash in the `controller-revision-hash` label.
const MAX_NAME: usize = 41;

/// What follows from an accepted Cluster.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Tag of the k3s image.
    pub version: String,
    /// Range of pod addresses.
    pub cluster_cidr: String,
    /// Range of Service addresses.
    pub service_cidr: String,
    /// Address of nested DNS in the cluster's own range, where it is not a Service of the host.
    pub cluster_dns: Option<String>,
    /// The user's arguments for servers, sorted.
    pub server_arguments: ServerArguments,
    /// The user's arguments for agents.
    pub agent_arguments: Vec<String>,
    /// A token that the user brings.
    pub token: Option<String>,
    /// Authorities that the user brings, as a part of the data of a certificates Secret.
    pub authorities: BTreeMap<String, String>,
}

/// Accepts the Cluster, or says which field is wrong. `status` is what the cluster began with.
pub fn cluster(
    site: &Site,
    spec: &ClusterSpec,
    status: Option<&ClusterStatus>,
    observed: &Observed,
) -> Result<Accepted, Error> {
    name(&site.name)?;
    unchanged(spec, status)?;
    policy(site, spec, observed)?;
    if Nodes::of(spec.mode()).are_outside() {
        outside::nodes(spec)?;
    }
    supported(spec)?;
    namespaces(site, spec)?;
    let nodes = Nodes::of(spec.mode());
    if nodes.are_pods() {
        privilege::of_nodes(spec, observed)?;
    } else {
        privilege::unneeded(spec)?;
    }
    persistence(site, spec, observed)?;
    servers(site, spec, observed)?;
    if let Wanted::Ingress(names) = Wanted::of(spec)
        && names.is_empty()
    {
        let message = "an Ingress routes by name: add a DNS name to spec.tlsSANs";
        return Err(invalid("spec.expose.ingress", message));
    }
    let refused = |list: &'static str| {
        move |refused: arguments::Refused| invalid(format!("spec.{list}[{}]", refused.index), refused.reason)
    };
    let server_arguments =
        arguments::server_arguments(&spec.server_args, nodes).map_err(refused("serverArgs"))?;
    let agent_arguments = agent::arguments(spec).map_err(refused("agentArgs"))?;
    for (list, variables) in [("serverEnvs", &spec.server_envs), ("agentEnvs", &spec.agent_envs)] {
        let names = variables.iter().map(|variable| variable.name.as_str());
        if let Some((index, name)) = arguments::refused_environment(names) {
            let message = format!("{name} cannot be set: the controller decides what it says");
            return Err(invalid(format!("spec.{list}[{index}].name"), message));
        }
    }
    let ranges = ranges::of(spec, &observed.host_service_cidr)?;
    Ok(Accepted {
        version: version(spec, &observed.host_version)?,
        cluster_cidr: ranges.pods,
        service_cidr: ranges.services,
        cluster_dns: ranges.dns,
        server_arguments,
        agent_arguments,
        token: own_token(spec, observed)?,
        authorities: own_authorities(site, spec, observed)?,
    })
}

fn name(name: &str) -> Result<(), Error> {
    let is_label =
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if name == "system" {
        return Err(invalid("metadata.name", "\"system\" is reserved: choose another name"));
    }
    if !is_label || name.len() > MAX_NAME {
        let message = format!(
            "{name:?} must consist of lower-case letters, digits and '-' and have at most {MAX_NAME} characters, because the names of pods are made of it"
        );
        return Err(invalid("metadata.name", message));
    }
    Ok(())
}

/// The schema refuses to change these fields, but cannot refuse to set them later on.
fn unchanged(spec: &ClusterSpec, status: Option<&ClusterStatus>) -> Result<(), Error> {
    let Some(status) = status else { return Ok(()) };
    let fields = [
        ("spec.clusterCIDR", &spec.cluster_cidr, &status.cluster_cidr),
        ("spec.serviceCIDR", &spec.service_cidr, &status.service_cidr),
        ("spec.clusterDNS", &spec.cluster_dns, &status.cluster_dns),
    ];
    for (field, wanted, used) in fields {
        if let (Some(wanted), Some(used)) = (wanted, used)
            && wanted != used
        {
            let message = format!("it cannot become {wanted:?}: the cluster was made with {used:?}");
            return Err(invalid(field, message));
        }
    }
    Ok(())
}

fn policy(site: &Site, spec: &ClusterSpec, observed: &Observed) -> Result<(), Error> {
    let Some(name) = &observed.policy_name else { return Ok(()) };
    let Some(policy) = &observed.policy else {
        let message = format!(
            "the namespace is bound to the VirtualClusterPolicy {name:?}, which does not exist; make it, or take the label policy.k3k.io/policy-name off the namespace"
        );
        return Err(Error::PolicyMissing(message));
    };
    if policy.allowed_mode() != spec.mode() {
        let message = format!(
            "mode {:?} is not allowed by the policy {name:?}, which allows {:?}",
            spec.mode().as_str(),
            policy.allowed_mode().as_str()
        );
        return Err(invalid("spec.mode", message));
    }
    let tenancy = policy.tenancy.as_ref();
    if let Some(older) = &observed.older
        && tenancy.and_then(|tenancy| tenancy.clusters_per_namespace) == Some(ClustersPerNamespace::Single)
    {
        let message = format!(
            "the policy {name:?} allows one cluster in a namespace, and {older:?} is there; make this one in a namespace of its own"
        );
        return Err(invalid("metadata.namespace", message));
    }
    // What runs goes on; nothing begins that the policy does not bound yet.
    let runs = observed.live.get(Kind::StatefulSet, &site.names().server()).is_some();
    if !observed.policy_in_force && !runs {
        let message = format!(
            "what the policy {name:?} asks for is not in place in the namespace yet; `kubectl describe virtualclusterpolicy {name}` says what is missing"
        );
        return Err(Error::NotYet(message));
    }
    Ok(())
}

fn supported(spec: &ClusterSpec) -> Result<(), Error> {
    let refuse = |field, message: String| Err(Error::NotSupported { field, message });
    if spec.servers() > 1 && !Nodes::of(spec.mode()).are_shown() {
        return refuse(
            "spec.servers",
            format!(
                "this version runs several servers in mode shared only, not yet {} in mode {}",
                spec.servers(),
                spec.mode()
            ),
        );
    }
    Ok(())
}

/// A single server stores in a file. To become one of several it must start anew with what it has stored.
fn servers(site: &Site, spec: &ClusterSpec, observed: &Observed) -> Result<(), Error> {
    let Some(set) = observed.live.get(Kind::StatefulSet, &site.names().server()) else { return Ok(()) };
    if spec.servers() > 1 && spec.persistence() == Storage::Ephemeral && !server::has_etcd(set) {
        let message = "a single server with spec.persistence.type ephemeral would lose everything when it starts anew to be joined by others; make a new cluster with as many servers as it shall have";
        return Err(invalid("spec.servers", message));
    }
    Ok(())
}

/// Secrets of other namespaces would be read with the controller's rights instead of the user's.
fn namespaces(site: &Site, spec: &ClusterSpec) -> Result<(), Error> {
    let elsewhere = |namespace: &Option<String>| {
        namespace.as_ref().filter(|ns| !ns.is_empty() && **ns != site.namespace).cloned()
    };
    let message = |namespace| {
        format!(
            "a Secret in namespace {namespace:?} is out of reach: copy it into {:?}, the cluster's namespace",
            site.namespace
        )
    };
    if let Some(namespace) =
        spec.token_secret_ref.as_ref().and_then(|reference| elsewhere(&reference.namespace))
    {
        return Err(invalid("spec.tokenSecretRef.namespace", message(namespace)));
    }
    for (index, addon) in spec.addons.iter().enumerate() {
        if let Some(namespace) = elsewhere(&addon.secret_namespace) {
            return Err(invalid(format!("spec.addons[{index}].secretNamespace"), message(namespace)));
        }
    }
    Ok(())
}

fn own_token(spec: &ClusterSpec, observed: &Observed) -> Result<Option<String>, Error> {
    let Some(reference) = &spec.token_secret_ref else { return Ok(None) };
    let Some(name) = reference.name.as_ref().filter(|name| !name.is_empty()) else {
        return Err(invalid("spec.tokenSecretRef.name", "it is empty: name the Secret that holds the token"));
    };
    let Some(secret) = observed.named_secrets.get(name) else {
        return Err(missing(
            "spec.tokenSecretRef.name",
            format!("there is no Secret {name:?} in the cluster's namespace"),
        ));
    };
    match secret_data(secret).remove(token::KEY).map(|token| token.trim().to_owned()) {
        Some(token) if !token.is_empty() => Ok(Some(token)),
        _ => Err(missing("spec.tokenSecretRef.name", format!("Secret {name:?} has no key {:?}", token::KEY))),
    }
}

/// Only for a cluster that has no authorities yet: to replace them would break it.
fn own_authorities(
    site: &Site,
    spec: &ClusterSpec,
    observed: &Observed,
) -> Result<BTreeMap<String, String>, Error> {
    let Some(custom) = spec.custom_cas.as_ref().filter(|custom| custom.enabled) else {
        return Ok(BTreeMap::new());
    };
    if observed.live.get(Kind::Secret, &site.names().certificates()).is_some() {
        return Ok(BTreeMap::new());
    }
    let read = |name: &str| observed.named_secrets.get(name).map(secret_data);
    certificates::adopt(&custom.sources, read)
        .map_err(|(source, message)| missing(format!("spec.customCAs.sources.{source}"), message))
}

/// What the server's volumes are made of is fixed when its StatefulSet is made.
fn persistence(site: &Site, spec: &ClusterSpec, observed: &Observed) -> Result<(), Error> {
    let Some(server) = observed.live.get(Kind::StatefulSet, &site.names().server()) else { return Ok(()) };
    let claim = &server.data["spec"]["volumeClaimTemplates"][0]["spec"];
    let keep = "the cluster's volume is made once; put it back, or make a new cluster";
    match spec.persistence() {
        Storage::Ephemeral if claim.is_null() => Ok(()),
        Storage::Ephemeral => Err(invalid("spec.persistence.type", format!("it was \"dynamic\": {keep}"))),
        Storage::Dynamic { .. } if claim.is_null() => {
            Err(invalid("spec.persistence.type", format!("it was \"ephemeral\": {keep}")))
        }
        // Without a name in the spec, the host may have put its default class's into the claim.
        Storage::Dynamic { class: Some(class), .. } if claim["storageClassName"] != class.as_str() => {
            let before = claim["storageClassName"].as_str().unwrap_or_default();
            Err(invalid("spec.persistence.storageClassName", format!("it was {before:?}: {keep}")))
        }
        Storage::Dynamic { .. } => Ok(()),
    }
}

/// Image tag: what the spec says, else the host's version as k3s releases it.
pub(super) fn version(spec: &ClusterSpec, host: &str) -> Result<String, Error> {
    let Some(version) = spec.version.as_ref().filter(|version| !version.is_empty()) else {
        return Ok(version::default_tag(host));
    };
    // k3s calls itself v1.33.1+k3s1; a tag cannot hold the plus.
    let tag = version.replace('+', "-");
    let valid = tag.len() <= 128
        && !tag.starts_with(['-', '.'])
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if valid {
        Ok(tag)
    } else {
        Err(invalid(
            "spec.version",
            format!("{version:?} is not an image tag; K3s versions look like v1.33.1-k3s1"),
        ))
    }
}

fn missing(field: impl Into<String>, message: impl Into<String>) -> Error {
    Error::Missing { field: field.into(), message: message.into() }
}

fn invalid(field: impl Into<String>, message: impl Into<String>) -> Error {
    Error::Invalid { field: field.into(), message: message.into() }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
