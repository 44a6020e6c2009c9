//! Services of a nested cluster, so that the addresses its DNS answers are routed by the host, and what the host gives
//! out for them – node ports, load balancers – is what tenants see.

use crate::{Origin, Owner, Refusal};
use serde_json::{Map, Value, json};

/// What a nested Service needs in the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Desired {
    /// This Service.
    Service(Value),
    /// Nothing: DNS inside the nested cluster is all there is to it.
    Nothing(&'static str),
}

/// Fields of a Service's spec that mean the same in the host and concern nobody but the Service's own clients and pods.
const KEPT: [&str; 6] = [
    "internalTrafficPolicy",
    "ipFamilies",
    "publishNotReadyAddresses",
    "sessionAffinity",
    "sessionAffinityConfig",
    "trafficDistribution",
];
/// The same, for those that are reached from outside only.
const KEPT_OUTSIDE: [&str; 1] = ["externalTrafficPolicy"];
/// The same, for load balancers only. The source ranges only ever narrow.
const KEPT_BALANCER: [&str; 2] = ["allocateLoadBalancerNodePorts", "loadBalancerSourceRanges"];
/// Fields that have a rule of their own, here or in [`LEFT_OUT`], or that the host fills in by itself.
const RULED: [&str; 8] = [
    "clusterIP",
    "clusterIPs",
    "externalName",
    "healthCheckNodePort",
    "ipFamilyPolicy",
    "ports",
    "selector",
    "type",
];
/// Fields that are never taken to the host, and why.
const LEFT_OUT: [(&str, &str); 3] = [
    ("externalIPs", "the host would send to this service whatever goes to those addresses, also from others"),
    ("loadBalancerIP", "the host chooses the address of its load balancers"),
    ("loadBalancerClass", "the host chooses who provides its load balancers"),
];
/// Annotations of these domains are notes for the nested cluster's own tools.
const NOTES: [&str; 2] = ["kubectl.kubernetes.io/", "meta.helm.sh/"];
/// Fields of the host's copy that are optional and were ours: a copy that still has one of them when the nested Service no
/// longer does is out of date.
const OPTIONAL: [&str; 5] = [
    "loadBalancerSourceRanges",
    "publishNotReadyAddresses",
    "selector",
    "sessionAffinityConfig",
    "trafficDistribution",
];

fn text<'a>(spec: &'a Map<String, Value>, field: &str) -> &'a str {
    spec.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The host Service for a nested one, with the same ClusterIP: nested and host clusters share one range, and nested DNS
/// answers with the nested address. Likewise with the same node ports.
pub fn translate(owner: &Owner, nested: &Value) -> Result<Desired, Refusal> {
    let origin = Origin::of_nested(nested)
        .ok_or_else(|| Refusal::new("metadata", "the service has no name, namespace or UID"))?;
    let spec = nested.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
    // These two have Services of their own, made by the controller with addresses that the nested cluster is told.
    if (origin.namespace.as_str(), origin.name.as_str()) == ("default", "kubernetes") {
        return Ok(Desired::Nothing("the nested API"));
    }
    if (origin.namespace.as_str(), origin.name.as_str()) == ("kube-system", "kube-dns") {
        return Ok(Desired::Nothing("the nested DNS"));
    }
    let kind = match text(&spec, "type") {
        "ExternalName" => return Ok(Desired::Nothing("an alias in DNS")),
        "" => "ClusterIP",
        kind @ ("ClusterIP" | "NodePort" | "LoadBalancer") => kind,
        _ => return Err(Refusal::unknown("spec.type")),
    };
    match text(&spec, "clusterIP") {
        "" => return Ok(Desired::Nothing("no address yet")),
        "None" => return Ok(Desired::Nothing("headless: DNS answers with the pods' own addresses")),
        _ => {}
    }
    let mut host = Map::new();
    let mut keep = |fields: &[&str]| {
        for field in fields {
            if let Some(value) = spec.get(*field) {
                host.insert((*field).into(), value.clone());
            }
        }
    };
    keep(&KEPT);
    keep(&["clusterIP", "clusterIPs"]);
    if kind != "ClusterIP" {
        keep(&KEPT_OUTSIDE);
    }
    if kind == "LoadBalancer" {
        keep(&KEPT_BALANCER);
    }
    // What was preferred is decided by now. The host may offer families that the nested cluster does not have.
    let families = spec.get("ipFamilies").and_then(Value::as_array).map_or(1, Vec::len);
    let policy = if families > 1 { "RequireDualStack" } else { "SingleStack" };
    host.insert("ipFamilyPolicy".into(), policy.into());
    host.insert("type".into(), kind.into());
    host.insert("ports".into(), ports(spec.get("ports"), kind != "ClusterIP"));
    // Without a selector the tenant names the endpoints, see `endpoints`.
    if has_selector(&spec) {
        host.insert("selector".into(), owner.narrowed(&origin.namespace, spec.get("selector")).into());
    }
    let mut metadata = owner.metadata(&origin, None);
    // A Service's labels are read by controllers of the host (monitors, meshes): only ours.
    metadata["labels"] = owner.scope(&origin.namespace).into();
    Ok(Desired::Service(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": host})))
}

fn has_selector(spec: &Map<String, Value>) -> bool {
    spec.get("selector").and_then(Value::as_object).is_some_and(|selector| !selector.is_empty())
}

/// What of a nested Service does not reach the host although the Service does: the tenant is told.
pub fn left_out(nested: &Value) -> Vec<Refusal> {
    let spec = nested.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    let mut all = Vec::new();
    for (field, _) in spec.iter().filter(|(_, value)| !is_empty(value)) {
        let path = format!("spec.{field}");
        let field = field.as_str();
        if let Some((_, why)) = LEFT_OUT.iter().find(|(known, _)| *known == field) {
            all.push(Refusal::new(path, *why));
        } else if !known_fields().any(|known| known == field) {
            all.push(Refusal::new(path, "this field is not known to this version of k3k and has no effect"));
        }
    }
    let annotations = nested.pointer("/metadata/annotations").and_then(Value::as_object);
    // Elsewhere annotations are notes; on these they are orders to the provider, and some keep a load balancer private.
    for key in annotations.into_iter().flat_map(Map::keys).filter(|_| text(&spec, "type") == "LoadBalancer") {
        if !k3k_api::labels::is_reserved(key) && !NOTES.iter().any(|domain| key.starts_with(domain)) {
            let why = "annotations do not reach the host, where they could direct its controllers";
            all.push(Refusal::new(format!("metadata.annotations[{key}]"), why));
        }
    }
    all
}

fn known_fields() -> impl Iterator<Item = &'static str> {
    KEPT.into_iter().chain(KEPT_OUTSIDE).chain(KEPT_BALANCER).chain(RULED)
}

/// `desired` with an address, or node ports, of the host's choice.
pub fn without(desired: &Value, address: bool, node_ports: bool) -> Value {
    let mut desired = desired.clone();
    if address && let Some(spec) = desired["spec"].as_object_mut() {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    if node_ports {
        for port in desired["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
    }
    desired
}

/// `desired` as it is when the host does not offer its type: reachable from inside.
pub fn inside_only(owner: &Owner, nested: &Value) -> Result<Desired, Refusal> {
    let mut inside = nested.clone();
    inside["spec"]["type"] = "ClusterIP".into();
    translate(owner, &inside)
}

/// Whether the host's copy must be made anew to become `desired`: its address cannot be changed in place, and endpoints that
/// the host found by a selector would stay behind when there is none any more.
pub fn needs_replacing(host: &Value, desired: &Value) -> bool {
    let (host, desired) = (&host["spec"], &desired["spec"]);
    host["clusterIP"] != desired["clusterIP"]
        || (desired["clusterIPs"].is_array() && host["clusterIPs"] != desired["clusterIPs"])
        || (host["selector"].is_object() && desired["selector"].is_null())
}

/// Whether the host's copy says what `desired` says, whatever the host has filled in.
pub fn is_current(host: &Value, desired: &Value) -> bool {
    let stale = |field: &str| !host["spec"][field].is_null() && host["spec"][field] != desired["spec"][field];
    let app_protocols = |service: &Value| {
        let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
        ports.iter().map(|port| port["appProtocol"].clone()).collect::<Vec<_>>()
    };
    covers(host, desired) && !OPTIONAL.into_iter().any(stale) && app_protocols(host) == app_protocols(desired)
}

/// Whether the host's copy has ports that are not among those of `desired`.
pub fn has_other_ports(host: &Value, desired: &Value) -> bool {
    let keys = |service: &Value| {
        let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
        ports
            .iter()
            .map(|port| (port["port"].as_u64(), protocol(port).to_owned()))
            .collect::<std::collections::BTreeSet<_>>()
    };
    !keys(host).is_subset(&keys(desired))
}

/// What makes the host's copy what `desired` says where applying does not: applying leaves what others added to it. A merge patch;
/// `None` if nothing is to be done.
pub fn correction(host: &Value, desired: &Value) -> Option<Value> {
    if is_current(host, desired) {
        return None;
    }
    let mut spec = desired["spec"].clone();
    for field in OPTIONAL {
        spec[field] = desired["spec"][field].clone();
    }
    // A merge patch adds to maps.
    for (key, _) in host["spec"]["selector"].as_object().into_iter().flatten() {
        if spec["selector"].is_object() && spec["selector"][key].is_null() {
            spec["selector"][key] = Value::Null;
        }
    }
    Some(json!({"metadata": {"uid": host["metadata"]["uid"]}, "spec": spec}))
}

/// Whether `actual` already says everything that `desired` says. Lists must agree element by element.
fn covers(actual: &Value, desired: &Value) -> bool {
    match (actual, desired) {
        (Value::Object(actual), Value::Object(desired)) => {
            desired.iter().all(|(key, value)| actual.get(key).is_some_and(|actual| covers(actual, value)))
        }
        (Value::Array(actual), Value::Array(desired)) => {
            actual.len() == desired.len()
                && actual.iter().zip(desired).all(|(actual, desired)| covers(actual, desired))
        }
        (actual, desired) => actual == desired,
    }
}

/// The ports of the nested Service with the node ports that the host gave out. `None` if they say so already.
pub fn told_ports(nested: &Value, host: &Value) -> Option<Value> {
    let mut ports = nested["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let given = host["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let mut changed = false;
    for port in &mut ports {
        let is_same = |other: &&Value| other["port"] == port["port"] && protocol(other) == protocol(port);
        let Some(node_port) = given.iter().find(is_same).map(|given| given["nodePort"].clone()) else {
            continue;
        };
        if !node_port.is_null() && port["nodePort"] != node_port {
            port["nodePort"] = node_port;
            changed = true;
        }
    }
    changed.then(|| ports.into())
}

fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}

/// The status of the nested Service: where the host's load balancer is. `None` if it says so already, or if it has none.
pub fn told_status(nested: &Value, host: &Value) -> Option<Value> {
    let is_balancer = |service: &Value| service["spec"]["type"] == "LoadBalancer";
    if !is_balancer(nested) {
        return None;
    }
    let empty = json!({});
    let of = |service: &Value| match &service["status"]["loadBalancer"] {
        Value::Null => empty.clone(),
        status => status.clone(),
    };
    let given = if is_balancer(host) { of(host) } else { empty.clone() };
    // A merge patch: what is absent in the host must be taken away.
    let ingress = &given["ingress"];
    (of(nested)["ingress"] != *ingress).then(|| json!({"status": {"loadBalancer": {"ingress": ingress}}}))
}

/// What a nested Service must be given back after its address was released: all that the API server clears on the way.
pub fn return_to(spec: &Value) -> Value {
    let fields = [
        "type",
        "externalTrafficPolicy",
        "internalTrafficPolicy",
        "allocateLoadBalancerNodePorts",
        "loadBalancerClass",
        "ipFamilies",
        "ipFamilyPolicy",
        "sessionAffinity",
        "sessionAffinityConfig",
    ];
    let kept = fields.iter().filter(|field| !spec[**field].is_null());
    kept.map(|field| ((*field).to_owned(), spec[*field].clone())).collect::<Map<_, _>>().into()
}

fn ports(ports: Option<&Value>, node_ports: bool) -> Value {
    let ports = ports.and_then(Value::as_array).into_iter().flatten();
    let known = ["name", "protocol", "appProtocol", "port", "targetPort"];
    let kept = ports.map(|port| {
        let port = port.as_object().into_iter().flatten();
        port.filter(|(key, value)| {
            known.contains(&key.as_str()) || (node_ports && *key == "nodePort" && value.as_u64() != Some(0))
        })
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect::<Map<_, _>>()
    });
    kept.map(Value::Object).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests;
