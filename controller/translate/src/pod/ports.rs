//! Ports that a pod takes of its node.

use serde_json::Value;

/// A port of a node: its address (none for all of them), its protocol and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPort<'a> {
    address: Option<&'a str>,
    protocol: &'a str,
    number: u64,
}

/// The ports of the node that the pod asks for, those of init containers that keep running too.
pub fn host_ports(pod: &Value) -> Vec<HostPort<'_>> {
    let containers = |list: &str| pod["spec"][list].as_array().into_iter().flatten();
    let sidecars = containers("initContainers").filter(|container| container["restartPolicy"] == "Always");
    let ports = containers("containers").chain(sidecars);
    let ports = ports.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let taken = ports.filter_map(|port| {
        Some(HostPort {
            address: port["hostIP"].as_str().filter(|address| !["", "0.0.0.0", "::"].contains(address)),
            protocol: port["protocol"].as_str().unwrap_or("TCP"),
            number: port["hostPort"].as_u64().filter(|number| *number > 0)?,
        })
    });
    taken.collect()
}

/// Whether two pods cannot be on one node, as the scheduler and the kubelet judge (the predicate `NodePorts`).
pub fn collide(one: &[HostPort<'_>], other: &[HostPort<'_>]) -> bool {
    let same = |a: &HostPort<'_>, b: &HostPort<'_>| {
        let addresses = a.address.is_none() || b.address.is_none() || a.address == b.address;
        addresses && a.protocol == b.protocol && a.number == b.number
    };
    one.iter().any(|a| other.iter().any(|b| same(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"hostPort": 80}), true)]
    #[case(json!({"hostPort": 80, "hostIP": "10.0.0.1"}), true)]
    #[case(json!({"hostPort": 80, "protocol": "UDP"}), false)]
    #[case(json!({"hostPort": 81}), false)]
    #[case(json!({"containerPort": 80}), false)]
    fn a_port_of_the_node_is_had_once(#[case] port: Value, #[case] collides: bool) {
        let pod = |port: &Value| json!({"spec": {"containers": [{"name": "c", "ports": [port]}]}});
        let (first, second) = (pod(&json!({"hostPort": 80, "protocol": "TCP"})), pod(&port));
        assert_eq!(collide(&host_ports(&first), &host_ports(&second)), collides);
    }

    #[test]
    fn addresses_of_their_own_and_ended_init_containers_do_not_matter() {
        let at = |address: &str| json!({"spec": {"containers": [{"ports": [{"hostPort": 80, "hostIP": address}]}]}});
        let (first, second) = (at("10.0.0.1"), at("10.0.0.2"));
        assert!(!collide(&host_ports(&first), &host_ports(&second)));
        let init = |policy: Value| json!({"spec": {"initContainers": [{"restartPolicy": policy, "ports": [{"hostPort": 80}]}]}});
        assert!(collide(&host_ports(&first), &host_ports(&init("Always".into()))));
        assert!(!collide(&host_ports(&first), &host_ports(&init(Value::Null))));
    }
}
