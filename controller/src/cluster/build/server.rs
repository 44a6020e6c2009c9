//! The StatefulSet of the k3s servers.

use super::mode::Nodes;
use super::{Kind, Manifest, Site, certificates, escape, kubelet, node, over, pull_with, service, set};
use crate::args::Images;
use crate::cluster::plan::Servers;
use k3k_api::labels::{self, component};
use k3k_api::v1beta1::{ClusterSpec, MountRole, Storage, VirtualClusterPolicySpec};
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where the configuration is mounted.
const CONFIG_DIR: &str = "/opt/rancher/k3s/init";
/// Where k3s keeps its data.
pub const DATA_DIR: &str = "/var/lib/rancher/k3s";
/// Name of the data volume, and of the volume claims.
pub const DATA_VOLUME: &str = "varlibrancherk3s";
/// Where the authorities are mounted when they are copied from there.
const TLS_DIR: &str = "/opt/rancher/k3s/tls";
/// The kubeconfig of k3s' own, inside the container.
const KUBECONFIG: &str = "/etc/rancher/k3s/k3s.yaml";
/// [`labels::DATASTORE`] of servers that keep an etcd.
const ETCD: &str = "etcd";

/// What the server pods are made of.
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
    /// Servers below this number keep what they run.
    pub partition: u32,
    /// The user's arguments, checked.
    pub arguments: &'a [String],
    /// Changes when the configuration changes.
    pub config_hash: &'a str,
    /// How many servers there are, and what they store in.
    pub servers: &'a Servers,
    /// None of them runs for now.
    pub paused: bool,
}

/// Whether the servers of the StatefulSet, as it is in the host, keep an etcd.
pub fn has_etcd(set: &DynamicObject) -> bool {
    set.annotations().get(labels::DATASTORE).is_some_and(|datastore| datastore == ETCD)
}

/// How many servers the StatefulSet, as it is in the host, has; or had, if it is paused.
pub fn present_replicas(set: &DynamicObject) -> Option<u32> {
    match u32::try_from(set.data["spec"]["replicas"].as_u64()?).ok()? {
        0 => set.annotations().get(labels::PAUSED_SERVERS)?.parse().ok(),
        replicas => Some(replicas),
    }
}

/// Whether the StatefulSet, as it is in the host, is to have no pods.
pub fn is_paused(set: &DynamicObject) -> bool {
    set.data["spec"]["replicas"].as_u64() == Some(0)
}

/// The StatefulSet.
pub fn stateful_set(site: &Site, inputs: &Inputs<'_>) -> Manifest {
    let names = site.names();
    let mut spec = json!({
        "replicas": if inputs.paused { 0 } else { inputs.servers.replicas }, "serviceName": names.headless_service(),
        "podManagementPolicy": "Parallel",
        "selector": { "matchLabels": service::server_selector(site) },
        "template": {
            "metadata": {
                "labels": site.labels(component::SERVER),
                "annotations": { labels::CONFIG_HASH: inputs.config_hash },
            },
            "spec": pod(site, inputs),
        },
    });
    if inputs.partition > 0 {
        spec["updateStrategy"] = json!({ "rollingUpdate": { "partition": inputs.partition } });
    }
    if let Storage::Dynamic { class, size } = inputs.spec.persistence() {
        let mut claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": DATA_VOLUME, "labels": site.labels(component::SERVER) },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } },
        });
        set(&mut claim["spec"], "storageClassName", class);
        spec["volumeClaimTemplates"] = json!([claim]);
        // The data goes with the cluster, and stays when servers are only restarted or scaled down.
        spec["persistentVolumeClaimRetentionPolicy"] =
            json!({ "whenDeleted": "Delete", "whenScaled": "Retain" });
        if inputs.servers.etcd && !inputs.paused {
            // What a removed member had stored is of no use to the one that comes after it, and would keep it from joining.
            spec["persistentVolumeClaimRetentionPolicy"]["whenScaled"] = "Delete".into();
        }
    }
    let manifest =
        Manifest::new(site, Kind::StatefulSet, names.server(), component::SERVER, json!({ "spec": spec }));
    let mut notes = BTreeMap::new();
    if inputs.paused {
        notes.insert(labels::PAUSED_SERVERS.to_owned(), inputs.servers.replicas.to_string());
    }
    if inputs.servers.etcd {
        notes.insert(labels::DATASTORE.to_owned(), ETCD.to_owned());
        notes.extend(inputs.servers.cluster_id.clone().map(|id| (labels::ETCD_CLUSTER.to_owned(), id)));
    }
    if notes.is_empty() { manifest } else { manifest.annotated(&notes) }
}

fn pod(site: &Site, inputs: &Inputs<'_>) -> Value {
    let (spec, policy) = (inputs.spec, inputs.policy);
    let mut volumes = vec![
        json!({ "name": "init-config", "secret": { "secretName": site.names().init_server_config() } }),
        json!({ "name": "certificates", "secret": certificates_source(site, inputs.servers) }),
        json!({ "name": "run", "emptyDir": {} }),
        json!({ "name": "var-run", "emptyDir": {} }),
        json!({ "name": "var-log", "emptyDir": {} }),
    ];
    if spec.persistence() == Storage::Ephemeral {
        volumes.push(json!({ "name": DATA_VOLUME, "emptyDir": {} }));
    }
    let mut mounts = vec![
        json!({ "name": "init-config", "mountPath": CONFIG_DIR, "readOnly": true }),
        json!({ "name": DATA_VOLUME, "mountPath": DATA_DIR }),
        json!({ "name": "run", "mountPath": "/run" }),
        json!({ "name": "var-run", "mountPath": "/var/run" }),
        json!({ "name": "var-log", "mountPath": "/var/log" }),
    ];
    if !inputs.servers.etcd {
        mounts.extend(certificates::mounts().into_iter().map(|(key, path)| {
            json!({ "name": "certificates", "mountPath": format!("{DATA_DIR}/server/tls/{path}"), "subPath": key, "readOnly": true })
        }));
    }
    for (index, addon) in spec.addons.iter().filter_map(|addon| addon.secret_ref.as_deref()).enumerate() {
        // Names of Secrets may be longer than those of volumes and contain dots.
        let name = format!("addon-{index}");
        volumes.push(json!({ "name": name, "secret": { "secretName": addon } }));
        mounts.push(json!({ "name": name, "mountPath": format!("{DATA_DIR}/server/manifests/{addon}"), "readOnly": true }));
    }
    let is_node = Nodes::of(spec.mode()).are_pods();
    if is_node {
        volumes.extend(node::volumes(&site.names().agent_config()));
        mounts.extend(node::mounts());
    }
    add_secret_mounts(spec, MountRole::Server, &mut volumes, &mut mounts);

    let mut pod = json!({
        "containers": [container(site, inputs, &mounts)],
        "volumes": volumes,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
    });
    if inputs.servers.etcd {
        pod["initContainers"] = json!([copy_authorities(inputs)]);
        pod["topologySpreadConstraints"] = json!([{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": service::server_selector(site) },
        }]);
    }
    pull_with(&mut pod, inputs.images);
    kubelet::place(&mut pod, spec, policy);
    let affinity = policy.and_then(|policy| policy.default_server_affinity.as_ref());
    set(&mut pod, "affinity", affinity.or(spec.server_affinity.as_ref()));
    set(&mut pod, "resources", spec.server_resources.as_ref());
    pod["securityContext"] = if is_node {
        node::pod_security_context(spec)
    } else {
        let defaults = json!({ "seccompProfile": { "type": "RuntimeDefault" } });
        over(defaults, spec.pod_security_context.as_ref())
    };
    pod
}

fn container(site: &Site, inputs: &Inputs<'_>, mounts: &[Value]) -> Value {
    let mut env = own_environment();
    env.extend(inputs.spec.server_envs.iter().map(|variable| json!(variable)));
    let mut args = vec!["server".to_owned(), "--config".to_owned(), format!("{CONFIG_DIR}/config.yaml")];
    args.extend(inputs.arguments.iter().map(|word| escape(word)));
    let mut container = json!({
        "name": site.names().server(),
        "image": format!("{}:{}", inputs.images.server, inputs.version),
        // The image's entry point is k3s: no shell takes part, so signals and exit codes are k3s' own.
        "args": args,
        "env": env,
        "ports": [{ "name": "api", "containerPort": service::SERVER_PORT, "protocol": "TCP" }],
        "volumeMounts": mounts,
        "readinessProbe": readiness(inputs.servers),
    });
    set(&mut container, "imagePullPolicy", inputs.images.server_image_pull_policy.as_ref());
    if inputs.spec.server_resources.is_none() && !inputs.spec.server_limit.is_empty() {
        container["resources"] = json!({ "limits": inputs.spec.server_limit });
    }
    if Nodes::of(inputs.spec.mode()).are_pods() {
        container["command"] = node::command();
        container["securityContext"] = node::security_context(inputs.spec, inputs.policy);
    } else {
        container["securityContext"] = security_context(inputs);
    }
    container
}

/// Whether requests may come. A single server is asked for its port alone, as upstream's is, because nobody else could answer instead.
/// One of several must be able to answer itself: its etcd has a majority, and it votes there.
fn readiness(servers: &Servers) -> Value {
    if servers.etcd {
        // Credentials are needed, which an HTTP probe would have to carry in the pod's spec.
        json!({
            "exec": { "command": ["kubectl", "--kubeconfig", KUBECONFIG, "get", "--raw=/readyz"] },
            "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2,
        })
    } else {
        json!({
            "tcpSocket": { "port": service::SERVER_PORT }, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 5,
        })
    }
}

/// The Secret with the authorities: as files below `tls` if they are copied.
fn certificates_source(site: &Site, servers: &Servers) -> Value {
    let mut source = json!({ "secretName": site.names().certificates() });
    if servers.etcd {
        let items = certificates::mounts();
        let items = items.into_iter().map(|(key, path)| json!({ "key": key, "path": format!("tls/{path}") }));
        source["items"] = items.collect();
        source["defaultMode"] = json!(0o600);
    }
    source
}

/// Puts the authorities where k3s looks. A server that joins writes these files, and could not where they are mounted.
fn copy_authorities(inputs: &Inputs<'_>) -> Value {
    let server = format!("{DATA_DIR}/server");
    let mut container = json!({
        "name": "authorities",
        "image": format!("{}:{}", inputs.images.server, inputs.version),
        "command": ["cp", "-r", TLS_DIR, format!("{server}/")],
        "volumeMounts": [
            { "name": "certificates", "mountPath": TLS_DIR, "subPath": "tls", "readOnly": true },
            { "name": DATA_VOLUME, "mountPath": server, "subPath": "server" },
        ],
        "securityContext": security_context(inputs),
    });
    set(&mut container, "imagePullPolicy", inputs.images.server_image_pull_policy.as_ref());
    if inputs.spec.server_resources.is_none() && !inputs.spec.server_limit.is_empty() {
        container["resources"] = json!({ "limits": inputs.spec.server_limit });
    }
    container
}

/// A policy's word is an administrator's and stands as it is; a user's is put over ours.
fn security_context(inputs: &Inputs<'_>) -> Value {
    let imposed = inputs.policy.and_then(|policy| policy.security_context.as_ref());
    imposed.map_or_else(
        || {
            let capabilities = json!({ "drop": ["ALL"] });
            let defaults =
                json!({ "privileged": false, "allowPrivilegeEscalation": false, "capabilities": capabilities });
            over(defaults, inputs.spec.security_context.as_ref())
        },
        |imposed| json!(imposed),
    )
}

/// What k3s' containers are told of their pods.
pub fn own_environment() -> Vec<Value> {
    let field = |path: &str| json!({ "fieldRef": { "apiVersion": "v1", "fieldPath": path } });
    vec![
        json!({ "name": "POD_NAME", "valueFrom": field("metadata.name") }),
        json!({ "name": "POD_IP", "valueFrom": field("status.podIP") }),
    ]
}

/// `spec.secretMounts` of the pods of `role`. As in upstream, entries without a Secret or a path are skipped.
pub fn add_secret_mounts(
    spec: &ClusterSpec,
    role: MountRole,
    volumes: &mut Vec<Value>,
    mounts: &mut Vec<Value>,
) {
    for (index, mount) in spec.secret_mounts.iter().enumerate() {
        let (Some(secret), Some(path)) = (&mount.secret_name, &mount.mount_path) else { continue };
        let of = mount.role.unwrap_or_default();
        if of != MountRole::All && of != role {
            continue;
        }
        // The user's name for the volume could be one of ours.
        let name = format!("mount-{index}");
        let mut source = json!({ "secretName": secret });
        set(&mut source, "items", Some(&mount.items).filter(|items| !items.is_empty()));
        set(&mut source, "defaultMode", mount.default_mode);
        set(&mut source, "optional", mount.optional);
        volumes.push(json!({ "name": name, "secret": source }));
        let mut entry = json!({ "name": name, "mountPath": path, "readOnly": true });
        set(&mut entry, "subPath", mount.sub_path.as_ref());
        mounts.push(entry);
    }
}
