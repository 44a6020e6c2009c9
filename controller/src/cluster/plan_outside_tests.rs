//! Clusters whose nodes join from outside.

use super::*;
use k3k_api::conditions::exposed_reason;

fn hcp() -> ClusterSpec {
    spec(json!({ "mode": "hcp", "expose": { "nodePort": {} } }))
}

fn in_host() -> Observed {
    let owned = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
    Observed {
        node_addresses: owned(&["192.0.2.1", "192.0.2.3"]),
        all_node_addresses: owned(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        ..observed()
    }
}

fn node_port(host: &str) -> Exposure {
    Exposure::At { reason: exposed_reason::NODE_PORT, host: host.to_owned(), port: 31234 }
}

/// With the workers' token, made before.
fn again(first: &Workload, observed: Observed) -> Observed {
    let stored = first.configuration.iter().find(|manifest| manifest.name == "k3k-dev-agent-config").unwrap();
    let stored = serde_json::from_value(stored.object.clone()).unwrap();
    let key = (Kind::Secret, "k3k-dev-agent-config".to_owned());
    Observed { live: Live(HashMap::from([(key, stored)])), ..observed }
}

#[test]
fn a_control_plane_alone() {
    let names: Vec<String> =
        foundation(&site(), &hcp(), &Servers::single()).into_iter().map(|manifest| manifest.name).collect();
    assert_eq!(names, ["k3k-dev-service", "k3k-dev-service-headless"]);
    let workload = exposed(&hcp(), &in_host(), &node_port("192.0.2.3"));
    let names: Vec<&str> = workload.configuration.iter().map(|manifest| manifest.name.as_str()).collect();
    assert_eq!(names, ["k3k-dev-init-server-config", "k3k-dev-kubeconfig", "k3k-dev-agent-config"]);
    assert_eq!(workload.runners.len(), 1);
    assert_json_snapshot!("outside_server", with_any_hash(&workload.runners[0]));
    let config = text(&workload.configuration, "k3k-dev-init-server-config", "config.yaml");
    let token = text(&workload.configuration, "k3k-dev-agent-config", "token");
    let (_, password) = token.rsplit_once(':').unwrap();
    assert_snapshot!("outside_server_config", config.replace(password, "[the workers' own]"));
    assert!(token.starts_with("K10") && token.contains("::node:"), "{token}");
    assert!(!token.contains(&credentials().token), "workers do not have the servers' secret");
    let advertised = workload.advertised.unwrap();
    assert_eq!((advertised.hosts, advertised.port), (vec!["192.0.2.3".into(), "192.0.2.1".into()], 31234));
    let kubeconfig = text(&workload.configuration, "k3k-dev-kubeconfig", "kubeconfig.yaml");
    assert!(kubeconfig.contains("https://192.0.2.3:31234") && !kubeconfig.contains("tls-server-name"));
}

#[test]
fn a_node_that_is_away_for_a_while_starts_no_server_anew() {
    let first = exposed(&hcp(), &in_host(), &node_port("192.0.2.3"));
    let without = again(&first, Observed { node_addresses: vec!["192.0.2.1".into()], ..in_host() });
    let after = exposed(&hcp(), &without, &node_port("192.0.2.1"));
    assert_eq!(first.runners, after.runners);
    assert_eq!(after.advertised.unwrap().hosts, ["192.0.2.1"]);
    assert_eq!(after.endpoint, "https://192.0.2.1:31234");
}

#[test]
fn others_advertise_nothing_and_have_no_token_for_workers() {
    for mode in ["shared", "virtual"] {
        let workload = exposed(&spec(json!({ "mode": mode })), &in_host(), &node_port("192.0.2.3"));
        assert_eq!(workload.advertised, None);
        assert!(!workload.tls_sans.contains(&"192.0.2.1".to_owned()));
        let config = text(&workload.configuration, "k3k-dev-init-server-config", "config.yaml");
        assert!(!config.contains("agent-token"));
    }
}
