//! Services of a nested cluster, so that the addresses its DNS answers are routed by the host.

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

/// The host Service for a nested one, with the same ClusterIP: nested and host clusters share one range, and nested DNS
/// answers with the nested address.
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
    if spec.get("type").and_then(Value::as_str) == Some("ExternalName") {
        return Ok(Desired::Nothing("an alias in DNS"));
    }
    let Some(ip) = spec.get("clusterIP").and_then(Value::as_str).filter(|ip| !ip.is_empty()) else {
        return Ok(Desired::Nothing("no address yet"));
    };
    if ip == "None" {
        return Ok(Desired::Nothing("headless: DNS answers with the pods' own addresses"));
    }
    if spec.get("selector").and_then(Value::as_object).is_none_or(Map::is_empty) {
        return Ok(Desired::Nothing("without selector: endpoints are not taken to the host yet"));
    }
    let mut host = Map::new();
    for field in
        ["internalTrafficPolicy", "publishNotReadyAddresses", "sessionAffinity", "sessionAffinityConfig"]
    {
        if let Some(value) = spec.get(field) {
            host.insert(field.into(), value.clone());
        }
    }
    // Node ports and load balancers are the host's to give; inside, every type has a ClusterIP.
    host.insert("type".into(), "ClusterIP".into());
    host.insert("clusterIP".into(), ip.into());
    host.insert("ports".into(), ports(spec.get("ports")));
    host.insert("selector".into(), owner.narrowed(&origin.namespace, spec.get("selector")).into());
    let mut metadata = owner.metadata(&origin, None);
    // A Service's labels are read by controllers of the host (monitors, meshes): only ours.
    metadata["labels"] = owner.scope(&origin.namespace).into();
    Ok(Desired::Service(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": host})))
}

fn ports(ports: Option<&Value>) -> Value {
    let ports = ports.and_then(Value::as_array).into_iter().flatten();
    let known = ["name", "protocol", "appProtocol", "port", "targetPort"];
    let kept = ports.map(|port| {
        let port = port.as_object().into_iter().flatten();
        port.filter(|(key, _)| known.contains(&key.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Map<_, _>>()
    });
    kept.map(Value::Object).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn owner() -> Owner {
        Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() }
    }

    fn service(spec: &Value) -> Value {
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u", "annotations": {"lb": "x"}}, "spec": spec})
    }

    #[test]
    fn a_service_keeps_its_address_and_finds_only_its_own_pods() {
        let nested = service(&json!({
            "type": "NodePort", "clusterIP": "10.96.5.5", "externalIPs": ["1.2.3.4"], "selector": {"app": "web", "k3k.io/clusterName": "prod"},
            "ports": [{"port": 80, "targetPort": "http", "nodePort": 30080, "protocol": "TCP"}],
        }));
        let Desired::Service(host) = translate(&owner(), &nested).unwrap() else { panic!("a service") };
        assert_eq!(
            host["spec"],
            json!({
                "type": "ClusterIP", "clusterIP": "10.96.5.5",
                "selector": {"app": "web", "k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop"},
                "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}],
            })
        );
        assert!(host["metadata"]["annotations"].get("lb").is_none());
    }

    #[rstest]
    #[case(json!({"type": "ExternalName", "externalName": "evil.example"}))]
    #[case(json!({"clusterIP": "None", "selector": {"a": "b"}}))]
    #[case(json!({"clusterIP": "10.96.5.5"}))]
    #[case(json!({"selector": {"a": "b"}}))]
    fn some_need_nothing(#[case] spec: Value) {
        assert!(matches!(translate(&owner(), &service(&spec)).unwrap(), Desired::Nothing(_)));
    }
}
