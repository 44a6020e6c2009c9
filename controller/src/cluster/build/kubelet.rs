//! The virtual kubelet: its configuration, certificates, identity in the host and Deployment.

use super::kubeconfig::issued_by;
use super::{
    Kind, Manifest, Site, capacity, certificates::Authorities, hash, secret_data, service, set, token, yaml,
};
use crate::args::Images;
use jiff::Timestamp;
use k3k_api::labels::{self, component};
use k3k_api::offered::Offered;
use k3k_api::v1beta1::policy::{RequiredToleration, TaintEffect};
use k3k_api::v1beta1::{ClusterSpec, SyncConfig, VirtualClusterPolicySpec};
use k3k_runtime::certificates::{self, Authority, Leaf, Pair, Usage, inspect, needs_renewal};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Its user name in the nested cluster, and the name of what grants rights to that user and, in the host, to its
/// ServiceAccount.
pub const USER: &str = "k3k-kubelet";
/// Domain of the nested cluster's DNS names.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Where its configuration is mounted.
const CONFIG_DIR: &str = "/opt/rancher/k3k";
/// Port of its probes and metrics.
const ADMIN_PORT: i32 = 8080;
/// The user it runs as.
const UID: i64 = 65532;
/// How long its certificates are valid.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// The configuration file. See docs/architecture.md, "Files of the virtual kubelet".
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Name of the Cluster.
    pub cluster_name: String,
    /// Its namespace, where the host copies of tenants' objects are.
    pub cluster_namespace: String,
    /// Its UID, which owns those copies.
    #[serde(rename = "clusterUID")]
    pub cluster_uid: String,
    /// Name of the virtual node.
    pub node_name: String,
    /// Address of the virtual node, where the nested API server reaches the virtual kubelet.
    #[serde(rename = "nodeIP")]
    pub node_ip: IpAddr,
    /// Port at that address.
    pub kubelet_port: i32,
    /// Address of the nested API.
    #[serde(rename = "serverIP")]
    pub server_ip: IpAddr,
    /// Address of nested DNS.
    #[serde(rename = "dnsIP")]
    pub dns_ip: String,
    /// Domain of nested DNS.
    pub cluster_domain: String,
    /// Version of k3s, as in the image tag.
    pub version: String,
    /// What the node offers.
    pub capacity: capacity::Resources,
    /// Whether there is a nested node for each node of the host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mirror_host_nodes: bool,
    /// Labels of the host nodes on which tenants' pods run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Which kinds of objects are copied to the host.
    pub sync: SyncConfig,
    /// What of the host tenants may name.
    pub offered: Offered,
    /// Pods that started before were ended by a pause, if they are not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_until: Option<Time>,
}

/// What keeps the Secret from being made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate cannot be issued.
    #[error(transparent)]
    Issue(#[from] certificates::Error),
    /// The YAML cannot be written.
    #[error("writing YAML: {0}")]
    Write(#[from] serde_saphyr::ser::Error),
}

impl Config {
    /// Changes when the virtual kubelet must start anew. Capacity and certificates are not part of it: they change
    /// on their own, and the virtual kubelet follows its mounted files.
    pub fn hash(&self) -> String {
        let fixed = Self { capacity: BTreeMap::new(), ..self.clone() };
        hash(json!(fixed).to_string().as_bytes())
    }
}

/// Key of [`admission_key`] in the Secret.
const ADMISSION_KEY: &str = "admission.key";

/// What the nested API server shows the virtual kubelet when it asks about pods: what is there, or something new that nobody can guess.
pub fn admission_key(present: Option<&DynamicObject>) -> Result<String, getrandom::Error> {
    match present.and_then(|present| secret_data(present).remove(ADMISSION_KEY)) {
        Some(key) if !key.is_empty() => Ok(key),
        _ => token::generate(),
    }
}

/// The URL at which the virtual kubelet is asked.
pub fn admission_url(address: IpAddr, key: &str) -> String {
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("https://{host}:{}/admission/{key}", service::KUBELET_PORT)
}

/// The Secret with configuration and certificates. Present certificates that are right are kept.
pub fn secret(
    site: &Site,
    config: &Config,
    authorities: &Authorities,
    admission_key: &str,
    present: Option<&DynamicObject>,
    now: Timestamp,
) -> Result<Manifest, Error> {
    let present = present.map(secret_data).unwrap_or_default();
    let client = Leaf {
        common_name: USER.to_owned(),
        organizations: Vec::new(),
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        usages: vec![Usage::Client],
        lifetime: LIFETIME,
    };
    let serving = Leaf {
        common_name: config.node_name.clone(),
        organizations: Vec::new(),
        dns_names: vec![config.node_name.clone()],
        ip_addresses: vec![config.node_ip],
        usages: vec![Usage::Server],
        lifetime: LIFETIME,
    };
    let client = keep_or_issue(&present, "client", &client, &authorities.client, now)?;
    let serving = keep_or_issue(&present, "tls", &serving, &authorities.server, now)?;
    let data = BTreeMap::from([
        ("config.yaml".to_owned(), yaml(config)?),
        ("server-ca.crt".to_owned(), authorities.server.certificate_pem().to_owned()),
        ("client-ca.crt".to_owned(), authorities.client.certificate_pem().to_owned()),
        ("client.crt".to_owned(), client.certificate),
        ("client.key".to_owned(), client.key),
        ("tls.crt".to_owned(), serving.certificate),
        ("tls.key".to_owned(), serving.key),
        (ADMISSION_KEY.to_owned(), admission_key.to_owned()),
    ]);
    Ok(Manifest::secret(site, site.names().agent_config(), component::KUBELET, &data))
}

/// The pair `<name>.crt`, `<name>.key` that is there, if it is what `leaf` asks for; else a new one.
fn keep_or_issue(
    present: &BTreeMap<String, String>,
    name: &str,
    leaf: &Leaf,
    authority: &Authority,
    now: Timestamp,
) -> Result<Pair, certificates::Error> {
    if let (Some(certificate), Some(key)) =
        (present.get(&format!("{name}.crt")), present.get(&format!("{name}.key")))
        && issued_by(certificate, authority)
        && inspect(certificate).is_ok_and(|facts| {
            facts.common_name == leaf.common_name
                && facts.dns_names == leaf.dns_names
                && facts.ip_addresses == leaf.ip_addresses
                && !needs_renewal(&facts, now)
        })
    {
        return Ok(Pair { certificate: certificate.clone(), key: key.clone() });
    }
    authority.issue(leaf)
}

/// Its identity in the host.
pub fn service_account(site: &Site) -> Manifest {
    Manifest::new(site, Kind::ServiceAccount, site.names().kubelet(), component::KUBELET, json!({}))
}

/// What it may do in the cluster's namespace: the ClusterRole that is installed with k3k.
pub fn role_binding(site: &Site) -> Manifest {
    let name = site.names().kubelet();
    let body = json!({
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": site.namespace }],
    });
    Manifest::new(site, Kind::RoleBinding, name, component::KUBELET, body)
}

/// Labels of the host nodes on which the cluster's pods run: as the policy says, else as the Cluster says; and whatever
/// they say, what the policy requires.
pub fn node_selector(
    spec: &ClusterSpec,
    policy: Option<&VirtualClusterPolicySpec>,
) -> BTreeMap<String, String> {
    let imposed = policy.map(|policy| &policy.default_node_selector).filter(|labels| !labels.is_empty());
    let mut selector = imposed.unwrap_or(&spec.node_selector).clone();
    let required = policy.and_then(|policy| policy.nodes.as_ref()).map(|nodes| &nodes.required_selector);
    selector.extend(required.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    selector
}

/// What puts the cluster's own pods on nodes, and how: the selector, the taints that the policy has every pod tolerate, the
/// runtime and the users. The policy's word goes before the Cluster's.
pub fn place(pod: &mut Value, spec: &ClusterSpec, policy: Option<&VirtualClusterPolicySpec>) {
    let selector = Some(node_selector(spec, policy)).filter(|selector| !selector.is_empty());
    set(pod, "nodeSelector", selector);
    let tolerations = policy.and_then(|policy| policy.nodes.as_ref()?.tolerations.as_ref());
    let required = tolerations.into_iter().flat_map(|tolerations| &tolerations.required);
    let tolerations: Vec<Value> = required.map(toleration).collect();
    set(pod, "tolerations", Some(tolerations).filter(|tolerations| !tolerations.is_empty()));
    let priority = policy.and_then(|policy| policy.default_priority_class.as_ref());
    let priority = priority.or(spec.priority_class.as_ref()).filter(|name| !name.is_empty());
    set(pod, "priorityClassName", priority);
    let runtime = policy.and_then(|policy| policy.runtime_class_name.as_ref());
    set(pod, "runtimeClassName", runtime.or(spec.runtime_class_name.as_ref()));
    set(pod, "hostUsers", policy.and_then(|policy| policy.host_users).or(spec.host_users));
}

fn toleration(required: &RequiredToleration) -> Value {
    let operator = if required.value.is_some() { "Equal" } else { "Exists" };
    let mut toleration = json!({ "key": required.key, "operator": operator });
    set(&mut toleration, "value", required.value.as_ref());
    set(&mut toleration, "effect", required.effect.map(TaintEffect::as_str));
    toleration
}

/// How many pods a virtual kubelet is to have: one until its cluster has been usable, so that nothing is slowed down that
/// somebody waits for, then all. `present` is how many its Deployment asks for.
pub fn replicas(wanted: u16, present: Option<u16>, settled: bool) -> u16 {
    if settled { wanted } else { present.unwrap_or(1).clamp(1, wanted.max(1)) }
}

/// How many pods the Deployment asks for, if it is there.
pub fn present_replicas(deployment: &DynamicObject) -> Option<u16> {
    u16::try_from(deployment.data["spec"]["replicas"].as_u64()?).ok()
}

/// What decides about the Deployment besides names.
pub struct Inputs<'a> {
    /// The Cluster's spec.
    pub spec: &'a ClusterSpec,
    /// The policy in force.
    pub policy: Option<&'a VirtualClusterPolicySpec>,
    /// Where images come from.
    pub images: &'a Images,
    /// Pods of the virtual kubelet: one acts, the others are ready to.
    pub replicas: u16,
    /// See [`Config::hash`].
    pub config_hash: &'a str,
}

/// The Deployment. Its pods elect the one that acts, so several may be there at any time.
pub fn deployment(site: &Site, inputs: &Inputs<'_>) -> Manifest {
    let Inputs { spec, policy, images, replicas, config_hash } = *inputs;
    let name = site.names().kubelet();
    let selector = json!({ labels::CLUSTER: site.name, labels::COMPONENT: component::KUBELET });
    let field = |path: &str| json!({ "fieldRef": { "apiVersion": "v1", "fieldPath": path } });
    let mut container = json!({
        "name": "kubelet",
        "image": images.kubelet,
        "command": ["/usr/bin/k3k-kubelet"],
        "args": ["--config", format!("{CONFIG_DIR}/config.yaml")],
        "env": [
            { "name": "POD_NAME", "valueFrom": field("metadata.name") },
            { "name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace") },
            { "name": "POD_IP", "valueFrom": field("status.podIP") },
            { "name": "HOST_IP", "valueFrom": field("status.hostIP") },
        ],
        "ports": [
            { "name": "kubelet", "containerPort": service::KUBELET_PORT, "protocol": "TCP" },
            { "name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP" },
        ],
        "readinessProbe": {
            "httpGet": { "path": "/readyz", "port": ADMIN_PORT, "scheme": "HTTP" },
            "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 3,
        },
        "resources": { "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "memory": "64Mi" } },
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [{ "name": "config", "mountPath": CONFIG_DIR, "readOnly": true }],
    });
    set(&mut container, "imagePullPolicy", images.image_pull_policy.as_ref());
    let mut pod = json!({
        "serviceAccountName": name,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": UID, "runAsGroup": UID, "fsGroup": UID,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container],
        // On different nodes if possible. Not as affinity, which the policy or the Cluster may set.
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": selector },
        }],
        "volumes": [{ "name": "config", "secret": { "secretName": site.names().agent_config() } }],
    });
    if !images.pull_secrets.is_empty() {
        let secrets: Vec<_> = images.pull_secrets.iter().map(|name| json!({ "name": name })).collect();
        pod["imagePullSecrets"] = json!(secrets);
    }
    place(&mut pod, spec, policy);
    let affinity = policy.and_then(|policy| policy.default_agent_affinity.as_ref());
    set(&mut pod, "affinity", affinity.or(spec.agent_affinity.as_ref()));
    let body = json!({ "spec": {
        "replicas": replicas,
        // One by one, and no pod more than a quota may have been made for.
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } },
        "selector": { "matchLabels": selector },
        "template": {
            "metadata": {
                "labels": site.labels(component::KUBELET),
                "annotations": { labels::CONFIG_HASH: config_hash },
            },
            "spec": pod,
        },
    }});
    Manifest::new(site, Kind::Deployment, name, component::KUBELET, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::build::certificates::generate;

    fn site() -> Site {
        Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() }
    }

    fn config(node_ip: &str) -> Config {
        Config {
            cluster_name: "dev".into(),
            cluster_namespace: "k3k-dev".into(),
            cluster_uid: "u".into(),
            node_name: "k3k-dev".into(),
            node_ip: node_ip.parse().unwrap(),
            kubelet_port: 10250,
            server_ip: "10.43.0.5".parse().unwrap(),
            dns_ip: "10.43.0.7".into(),
            cluster_domain: CLUSTER_DOMAIN.into(),
            version: "v1.36.3-k3s1".into(),
            capacity: BTreeMap::new(),
            mirror_host_nodes: false,
            node_selector: BTreeMap::new(),
            sync: SyncConfig::default(),
            offered: Offered::default(),
            stopped_until: None,
        }
    }

    fn data(manifest: &Manifest) -> BTreeMap<String, String> {
        secret_data(&serde_json::from_value(manifest.object.clone()).unwrap())
    }

    #[test]
    fn certificates_are_reissued_only_when_they_must() {
        let authorities = Authorities::read(&generate("dev").unwrap()).unwrap();
        let now = Timestamp::now();
        let first = secret(&site(), &config("10.43.0.6"), &authorities, "key", None, now).unwrap();
        let stored = serde_json::from_value(first.object.clone()).unwrap();
        assert_eq!(
            secret(&site(), &config("10.43.0.6"), &authorities, "key", Some(&stored), now).unwrap(),
            first
        );

        let moved =
            data(&secret(&site(), &config("10.43.0.9"), &authorities, "key", Some(&stored), now).unwrap());
        assert_ne!(moved["tls.crt"], data(&first)["tls.crt"]);
        assert_eq!(moved["client.crt"], data(&first)["client.crt"]);
        assert_eq!(
            inspect(&moved["tls.crt"]).unwrap().ip_addresses,
            ["10.43.0.9".parse::<IpAddr>().unwrap()]
        );

        let later = now + jiff::SignedDuration::from_hours(24 * 300);
        let renewed =
            data(&secret(&site(), &config("10.43.0.6"), &authorities, "key", Some(&stored), later).unwrap());
        assert_ne!(renewed["client.key"], data(&first)["client.key"]);
        assert_ne!(renewed["tls.key"], data(&first)["tls.key"]);
    }

    #[test]
    fn the_key_of_admission_stays_and_cannot_be_guessed() {
        let authorities = Authorities::read(&generate("dev").unwrap()).unwrap();
        let key = admission_key(None).unwrap();
        assert!(key.len() == 32 && key != admission_key(None).unwrap());
        let stored =
            secret(&site(), &config("10.43.0.6"), &authorities, &key, None, Timestamp::now()).unwrap();
        let stored = serde_json::from_value(stored.object).unwrap();
        assert_eq!(admission_key(Some(&stored)).unwrap(), key);
        assert_eq!(admission_url("10.43.0.6".parse().unwrap(), "k"), "https://10.43.0.6:10250/admission/k");
        assert_eq!(admission_url("fd00::6".parse().unwrap(), "k"), "https://[fd00::6]:10250/admission/k");
    }

    #[test]
    fn standbys_come_when_the_cluster_has_been_usable_and_stay() {
        assert_eq!(replicas(2, None, false), 1);
        assert_eq!(replicas(2, Some(1), true), 2);
        assert_eq!(replicas(2, Some(2), false), 2, "it is not well, but it was");
        assert_eq!(replicas(1, Some(2), false), 1);
        assert_eq!(replicas(2, Some(0), false), 1);
    }

    #[test]
    fn only_what_needs_a_restart_changes_the_hash() {
        let mut config = config("10.43.0.6");
        let before = config.hash();
        config
            .capacity
            .insert("cpu".into(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("4".into()));
        assert_eq!(config.hash(), before);
        config.version = "v1.36.4-k3s1".into();
        assert_ne!(config.hash(), before);
    }
}
