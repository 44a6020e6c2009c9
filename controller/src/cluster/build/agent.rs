//! The k3s agents of a cluster in mode virtual: their configuration and their StatefulSet, which gives nodes names that stay.

use super::certificates::Authorities;
use super::{
    Kind, Manifest, Site, arguments, config, escape, kubelet, node, pull_with, secret_data, server, set,
    token, yaml,
};
use crate::args::Images;
use k3k_api::labels::{self, component};
use k3k_api::v1beta1::{ClusterSpec, MountRole, VirtualClusterPolicySpec};
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where the configuration is mounted.
const CONFIG_DIR: &str = "/opt/rancher/k3s";

/// The configuration file of all agents.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    server: String,
    token: String,
}

/// The configuration of agents that join at `endpoint`.
pub fn config(endpoint: &str, authorities: &Authorities, token: &str) -> Config {
    Config { server: endpoint.to_owned(), token: token::joining(authorities.server.certificate_pem(), token) }
}

/// The nodes' password: what is there, or a new one.
pub fn password(present: Option<&DynamicObject>) -> Result<String, getrandom::Error> {
    match present.and_then(|present| secret_data(present).remove(node::PASSWORD_KEY)) {
        Some(password) if !password.is_empty() => Ok(password),
        _ => token::generate(),
    }
}

/// The Secret with configuration and password.
pub fn secret(site: &Site, config: &Config, password: &str) -> Result<Manifest, serde_saphyr::ser::Error> {
    let data = BTreeMap::from([
        (config::KEY.to_owned(), yaml(config)?),
        (node::PASSWORD_KEY.to_owned(), password.to_owned()),
    ]);
    Ok(Manifest::secret(site, site.names().agent_config(), component::AGENT, &data))
}

/// What the agent pods are made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The Cluster's spec.
    pub spec: &'a ClusterSpec,
    /// The policy of the namespace; its values win.
    pub policy: Option<&'a VirtualClusterPolicySpec>,
    /// Where images come from.
    pub images: &'a Images,
    /// Tag of the k3s image.
    pub version: &'a str,
    /// The user's arguments, checked.
    pub arguments: &'a [String],
    /// Changes when the configuration changes.
    pub config_hash: &'a str,
    /// None of them runs for now.
    pub paused: bool,
}

/// The StatefulSet.
pub fn stateful_set(site: &Site, inputs: &Inputs<'_>) -> Manifest {
    let names = site.names();
    let body = json!({ "spec": {
        "replicas": if inputs.paused { 0 } else { inputs.spec.agents() }, "serviceName": names.headless_service(),
        "podManagementPolicy": "Parallel",
        "selector": { "matchLabels": { labels::CLUSTER: site.name, labels::COMPONENT: component::AGENT } },
        "template": {
            "metadata": {
                "labels": site.labels(component::AGENT),
                "annotations": { labels::CONFIG_HASH: inputs.config_hash },
            },
            "spec": pod(site, inputs),
        },
    }});
    Manifest::new(site, Kind::StatefulSet, names.agent(), component::AGENT, body)
}

fn pod(site: &Site, inputs: &Inputs<'_>) -> Value {
    let (spec, policy, secret) = (inputs.spec, inputs.policy, site.names().agent_config());
    let items = json!([{ "key": config::KEY, "path": config::KEY }]);
    let mut volumes = vec![json!({ "name": "config", "secret": { "secretName": secret, "items": items } })];
    let mut mounts = vec![json!({ "name": "config", "mountPath": CONFIG_DIR, "readOnly": true })];
    for (name, path) in [
        ("run", "/run"),
        ("var-run", "/var/run"),
        ("var-log", "/var/log"),
        (server::DATA_VOLUME, server::DATA_DIR),
    ] {
        volumes.push(json!({ "name": name, "emptyDir": {} }));
        mounts.push(json!({ "name": name, "mountPath": path }));
    }
    volumes.extend(node::volumes(&secret));
    mounts.extend(node::mounts());
    server::add_secret_mounts(spec, MountRole::Agent, &mut volumes, &mut mounts);
    let mut pod = json!({
        "containers": [container(site, inputs, &mounts)],
        "volumes": volumes,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
    });
    pull_with(&mut pod, inputs.images);
    kubelet::place(&mut pod, spec, policy);
    let affinity = policy.and_then(|policy| policy.default_agent_affinity.as_ref());
    set(&mut pod, "affinity", affinity.or(spec.agent_affinity.as_ref()));
    set(&mut pod, "resources", spec.worker_resources.as_ref());
    pod["securityContext"] = node::pod_security_context(spec);
    pod
}

fn container(site: &Site, inputs: &Inputs<'_>, mounts: &[Value]) -> Value {
    let mut env = server::own_environment();
    env.extend(inputs.spec.agent_envs.iter().map(|variable| json!(variable)));
    let mut args = vec!["agent".to_owned(), "--config".to_owned(), format!("{CONFIG_DIR}/{}", config::KEY)];
    args.extend(inputs.arguments.iter().map(|word| escape(word)));
    let mut container = json!({
        "name": site.names().agent(),
        "image": format!("{}:{}", inputs.images.server, inputs.version),
        "command": node::command(),
        "args": args,
        "env": env,
        "ports": [{ "name": "kubelet", "containerPort": node::KUBELET_PORT, "protocol": "TCP" }],
        "volumeMounts": mounts,
        "readinessProbe": {
            "tcpSocket": { "port": node::KUBELET_PORT }, "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 5,
        },
        "securityContext": node::security_context(inputs.spec, inputs.policy),
    });
    set(&mut container, "imagePullPolicy", inputs.images.server_image_pull_policy.as_ref());
    if inputs.spec.worker_resources.is_none() && !inputs.spec.worker_limit.is_empty() {
        container["resources"] = json!({ "limits": inputs.spec.worker_limit });
    }
    container
}

/// The user's arguments for agents, sorted. The error names the position and the reason.
pub fn arguments(spec: &ClusterSpec) -> Result<Vec<String>, arguments::Refused> {
    arguments::agent_arguments(&spec.agent_args)
}
