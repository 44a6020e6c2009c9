//! Which Clusters are accepted. Pure.

use super::build::arguments::{self, ServerArguments};
use super::build::{Kind, Site, certificates, secret_data, server, token};
use super::error::Error;
use super::observe::Observed;
use k3k_api::v1beta1::policy::ClustersPerNamespace;
use k3k_api::v1beta1::{ClusterSpec, ClusterStatus, Mode, Storage};
use k3k_api::version;
use std::collections::BTreeMap;

/// Range of pod addresses of shared clusters, when the spec does not say. Pods have the host's addresses; k3s wants
/// to know a range all the same.
const CLUSTER_CIDR: &str = "10.42.0.0/16";
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
    /// The user's arguments, sorted.
    pub arguments: ServerArguments,
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
    supported(spec)?;
    namespaces(site, spec)?;
    unprivileged(spec)?;
    persistence(site, spec, observed)?;
    servers(site, spec, observed)?;
    let arguments = arguments::server_arguments(&spec.server_args)
        .map_err(|refused| invalid(format!("spec.serverArgs[{}]", refused.index), refused.reason))?;
    if let Some((index, name)) =
        arguments::refused_environment(spec.server_envs.iter().map(|env| env.name.as_str()))
    {
        let message = format!("{name} cannot be set: the controller decides what it says");
        return Err(invalid(format!("spec.serverEnvs[{index}].name"), message));
    }
    Ok(Accepted {
        version: version(spec, &observed.host_version)?,
        cluster_cidr: spec.cluster_cidr.clone().unwrap_or_else(|| CLUSTER_CIDR.to_owned()),
        service_cidr: spec.service_cidr.clone().unwrap_or_else(|| observed.host_service_cidr.clone()),
        arguments,
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
    if spec.mode() != Mode::Shared {
        return refuse(
            "spec.mode",
            format!("this version runs clusters of mode shared, not yet {}", spec.mode()),
        );
    }
    if spec.expose.as_ref().is_some_and(|expose| expose.ingress.is_some()) {
        return refuse(
            "spec.expose.ingress",
            "this version does not make an Ingress yet; use nodePort".into(),
        );
    }
    if spec.expose.as_ref().is_some_and(|expose| expose.load_balancer.is_some()) {
        return refuse(
            "spec.expose.loadBalancer",
            "this version does not follow load balancers yet; use nodePort".into(),
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

/// The controller makes pods that the user may not be allowed to make. The servers of a shared cluster need no
/// privileges, so the spec cannot ask for any; a policy, which is an administrator's, can.
fn unprivileged(spec: &ClusterSpec) -> Result<(), Error> {
    let refuse =
        |field| Err(invalid(field, "the server of a shared cluster needs no privileges and gets none"));
    if let Some(context) = &spec.security_context {
        if context.privileged == Some(true) {
            return refuse("spec.securityContext.privileged");
        }
        if context.allow_privilege_escalation == Some(true) {
            return refuse("spec.securityContext.allowPrivilegeEscalation");
        }
        let added = context.capabilities.as_ref().and_then(|capabilities| capabilities.add.as_ref());
        if added.is_some_and(|added| !added.is_empty()) {
            return refuse("spec.securityContext.capabilities.add");
        }
        if context.proc_mount.as_deref().is_some_and(|mount| mount != "Default") {
            return refuse("spec.securityContext.procMount");
        }
        if context.seccomp_profile.as_ref().is_some_and(|profile| profile.type_ == "Unconfined") {
            return refuse("spec.securityContext.seccompProfile");
        }
        if context.app_armor_profile.as_ref().is_some_and(|profile| profile.type_ == "Unconfined") {
            return refuse("spec.securityContext.appArmorProfile");
        }
    }
    if let Some(context) = &spec.pod_security_context {
        if context.sysctls.as_ref().is_some_and(|sysctls| !sysctls.is_empty()) {
            return refuse("spec.podSecurityContext.sysctls");
        }
        if context.seccomp_profile.as_ref().is_some_and(|profile| profile.type_ == "Unconfined") {
            return refuse("spec.podSecurityContext.seccompProfile");
        }
        if context.app_armor_profile.as_ref().is_some_and(|profile| profile.type_ == "Unconfined") {
            return refuse("spec.podSecurityContext.appArmorProfile");
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
fn version(spec: &ClusterSpec, host: &str) -> Result<String, Error> {
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
