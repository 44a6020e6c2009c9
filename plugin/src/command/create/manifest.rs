//! From flags and a file to the Cluster that is applied: only the fields that the user set.

use crate::cli::{CreateArgs, ExposeFlag, PersistenceFlag, StorageFlag};
use crate::clusters::Target;
use crate::error::Error;
use k3k_api::v1beta1::{ClusterSpec, Mode};
use serde_json::{Map, Value, json};
use std::io::Read as _;
use std::path::Path;

/// Reads one Cluster from a file, or from stdin if the path is `-`.
pub(super) fn read(path: &Path) -> Result<Value, Error> {
    let shown = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(Error::io("read stdin"))?;
    } else {
        text = std::fs::read_to_string(path).map_err(Error::io(format!("read {shown}")))?;
    }
    let wrong = |why: &str| Error::usage(format!("{shown}: {why}"));
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| wrong(&format!("not YAML or JSON: {error}")))?;
    let mut documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
    if documents.len() != 1 {
        return Err(wrong(&format!("{} objects; create takes one Cluster", documents.len())));
    }
    let document = documents.remove(0);
    if document["kind"] != "Cluster" || document["apiVersion"] != "k3k.io/v1beta1" {
        return Err(wrong("not a Cluster of k3k.io/v1beta1"));
    }
    let good = |key: &str| document.get(key).is_none_or(Value::is_object);
    if !good("metadata") || !good("spec") {
        return Err(wrong("metadata and spec must be maps"));
    }
    Ok(document)
}

/// The cluster that is meant: the argument and `-n`, else what the file says.
pub(super) fn target(args: &CreateArgs, flag: Option<&str>, base: Option<&Value>) -> Result<Target, Error> {
    let metadata = base.map_or(&Value::Null, |base| &base["metadata"]);
    let (file_name, file_namespace) = (metadata["name"].as_str(), metadata["namespace"].as_str());
    let name =
        args.name.as_deref().or(file_name).ok_or_else(|| {
            Error::usage("the cluster has no name: give NAME, or metadata.name in the file")
        })?;
    let mut target = Target::parse(name, flag)?;
    if let Some(file_name) = file_name
        && file_name != target.name
    {
        return Err(Error::usage(format!("the file describes \"{file_name}\", not \"{}\"", target.name)));
    }
    match (&target.namespace, file_namespace) {
        (Some(given), Some(in_file)) if given != in_file => {
            Err(Error::usage(format!("the file is for namespace \"{in_file}\", not \"{given}\"")))
        }
        (None, Some(in_file)) => {
            target.namespace = Target::parse(&target.name, Some(in_file))?.namespace;
            Ok(target)
        }
        _ => Ok(target),
    }
}

/// The Cluster: the file, with the flags over it.
pub(super) fn build(
    args: &CreateArgs,
    name: &str,
    namespace: &str,
    base: Option<Value>,
) -> Result<Value, Error> {
    let mut cluster = base.unwrap_or_else(|| json!({}));
    cluster["apiVersion"] = "k3k.io/v1beta1".into();
    cluster["kind"] = "Cluster".into();
    cluster["metadata"]["name"] = name.into();
    cluster["metadata"]["namespace"] = namespace.into();
    if let Some(object) = cluster.as_object_mut() {
        object.remove("status");
    }
    for (key, pairs) in [("labels", &args.labels), ("annotations", &args.annotations)] {
        for (name, value) in pairs {
            cluster["metadata"][key][name] = value.as_str().into();
        }
    }
    if !cluster["spec"].is_object() {
        cluster["spec"] = json!({});
    }
    if let Some(spec) = cluster["spec"].as_object_mut() {
        for (key, value) in fields(args) {
            spec.insert(key.to_owned(), value);
        }
        storage(args, spec);
    }
    check(&cluster["spec"])?;
    Ok(cluster)
}

/// The fields of the spec that flags set, whole.
fn fields(args: &CreateArgs) -> Vec<(&'static str, Value)> {
    let mut fields = Vec::new();
    let mut put = |key: &'static str, value: Option<Value>| fields.extend(value.map(|value| (key, value)));
    put("mode", args.mode.map(|mode| mode.as_str().into()));
    put("servers", args.servers.map(Into::into));
    put("agents", args.agents.map(Into::into));
    put("version", args.version.clone().map(Into::into));
    put("clusterCIDR", args.cluster_cidr.clone().map(Into::into));
    put("serviceCIDR", args.service_cidr.clone().map(Into::into));
    put("clusterDNS", args.cluster_dns.map(|address| address.to_string().into()));
    put("nodeSelector", map(&args.node_selector));
    put("mirrorHostNodes", args.mirror_host_nodes.then_some(true.into()));
    let server = args.kubeconfig_server.as_deref().map(host_of);
    put("tlsSANs", list(server.iter().chain(&args.tls_sans).chain(&args.legacy_tls_sans)));
    put("serverArgs", list(args.server_args.iter().chain(&args.legacy_server_args)));
    put("agentArgs", list(args.agent_args.iter().chain(&args.legacy_agent_args)));
    put("serverEnvs", environment(args.server_envs.iter().chain(&args.legacy_server_envs)));
    put("agentEnvs", environment(args.agent_envs.iter().chain(&args.legacy_agent_envs)));
    put(
        "expose",
        args.expose.map(|expose| match expose {
            ExposeFlag::None => json!({}),
            ExposeFlag::NodePort => json!({ "nodePort": {} }),
            ExposeFlag::LoadBalancer => json!({ "loadBalancer": {} }),
            ExposeFlag::Ingress => json!({ "ingress": {} }),
        }),
    );
    fields
}

fn storage(args: &CreateArgs, spec: &mut Map<String, Value>) {
    match &args.storage {
        Some(StorageFlag::Ephemeral) => {
            spec.insert("persistence".to_owned(), json!({ "type": "ephemeral" }));
        }
        Some(StorageFlag::Volume { size, class }) => {
            let mut persistence = json!({ "type": "dynamic", "storageRequestSize": size });
            if let Some(class) = class {
                persistence["storageClassName"] = class.as_str().into();
            }
            spec.insert("persistence".to_owned(), persistence);
        }
        None => {
            let kind = args.persistence_type.map(|kind| match kind {
                PersistenceFlag::Dynamic => "dynamic",
                PersistenceFlag::Ephemeral => "ephemeral",
            });
            let class = args.storage_class_name.as_deref();
            let size = args.storage_request_size.as_deref();
            for (key, value) in [("type", kind), ("storageClassName", class), ("storageRequestSize", size)] {
                if let Some(value) = value {
                    let persistence = spec.entry("persistence").or_insert_with(|| json!({}));
                    persistence[key] = value.into();
                }
            }
        }
    }
}

/// What the API server would refuse, or what nobody can have meant. The server has the last word.
fn check(spec: &Value) -> Result<(), Error> {
    let typed: ClusterSpec =
        serde_json::from_value(spec.clone()).map_err(|error| Error::usage(format!("spec: {error}")))?;
    if typed.agents() > 0 && typed.mode() != Mode::Virtual {
        return Err(Error::usage_hint(
            format!("--agents {} has no meaning in mode {}", typed.agents(), typed.mode()),
            "--mode virtual, or leave --agents out",
        ));
    }
    Ok(())
}

/// `shared mode, K3s v1.33.1-k3s1`: what was asked for, in a few words.
pub(super) fn summary(cluster: &Value) -> String {
    let metadata = &cluster["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mode = cluster["spec"]["mode"].as_str().unwrap_or(Mode::Shared.as_str());
    let version =
        cluster["spec"]["version"].as_str().map_or_else(String::new, |version| format!(", K3s {version}"));
    format!("{}/{}, {mode} mode{version}", text(&metadata["namespace"]), text(&metadata["name"]))
}

/// The host part of `host`, `host:port`, `[v6]:port` or a URL.
pub(crate) fn host_of(text: &str) -> String {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    if let Some(bracketed) = authority.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or(bracketed).to_owned();
    }
    match authority.rsplit_once(':') {
        // More than one colon without brackets is an IPv6 address.
        Some((host, port)) if !host.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            host.to_owned()
        }
        _ => authority.to_owned(),
    }
}

fn list<'a>(items: impl Iterator<Item = &'a String>) -> Option<Value> {
    let mut values: Vec<Value> = Vec::new();
    for item in items {
        let value = Value::from(item.as_str());
        values.push(value);
    }
    (!values.is_empty()).then_some(Value::Array(values))
}

fn map(pairs: &[(String, String)]) -> Option<Value> {
    let map: Map<String, Value> =
        pairs.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    (!map.is_empty()).then_some(Value::Object(map))
}

fn environment<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> Option<Value> {
    let list: Vec<Value> = pairs.map(|(name, value)| json!({ "name": name, "value": value })).collect();
    (!list.is_empty()).then_some(Value::Array(list))
}

#[cfg(test)]
mod tests;
