use super::*;
use insta::assert_json_snapshot;
use rstest::rstest;
use std::collections::BTreeMap;

fn around() -> Surroundings {
    let cidr = |text: &str| text.parse::<Cidr>().unwrap();
    Surroundings {
        pod_ranges: ["10.42.0.0/24", "10.42.1.0/24", "fd42::/64"].into_iter().map(cidr).collect(),
        nodes: ["192.168.7.1", "192.168.7.2", "fd07::1"]
            .into_iter()
            .map(|text| text.parse().unwrap())
            .collect(),
        service_ranges: vec![cidr("10.43.0.0/16"), cidr("fd43::/112")],
        api: BTreeSet::from([("192.168.7.1".parse().unwrap(), 6443)]),
        controller: "k3k-system".into(),
    }
}

fn made(spec: &Value, around: &Surroundings) -> BTreeMap<String, Value> {
    let owner = Owner { name: "gold".into(), uid: "p".into() };
    let policies = policies(&owner, "t", &serde_json::from_value(spec.clone()).unwrap(), around);
    policies.into_iter().map(|policy| (policy.name, policy.object["spec"].clone())).collect()
}

#[test]
fn policies_of_a_plain_policy() {
    assert_json_snapshot!("network_policies", made(&json!({}), &around()));
}

#[test]
fn a_policy_can_do_without() {
    assert!(made(&json!({ "disableNetworkPolicy": true }), &around()).is_empty());
}

#[test]
fn nothing_goes_out_when_it_is_denied_but_to_the_hosts_api() {
    let made = made(&json!({ "network": { "isolation": { "egress": "Deny" } } }), &around());
    assert_eq!(made["k3k-gold-tenants"]["egress"], json!([]));
    assert_eq!(made["k3k-gold-servers"]["egress"], json!([]));
    assert_eq!(made["k3k-gold-kubelets"]["egress"].as_array().unwrap().len(), 3);
    assert_eq!(made["k3k-gold"]["egress"], json!([{ "to": [{ "podSelector": {} }] }]));
}

#[test]
fn the_same_namespace_alone_still_leaves_the_nested_api_to_those_who_know_it() {
    let made = made(&json!({ "network": { "isolation": { "ingress": "SameNamespace" } } }), &around());
    assert_eq!(made["k3k-gold-tenants"]["ingress"], json!([]));
    assert_eq!(made["k3k-gold-servers"]["ingress"][0]["ports"], json!([{ "protocol": "TCP", "port": 6443 }]));
    assert_eq!(made["k3k-gold-kubelets"]["ingress"], json!([]));
}

/// Whether a rule of the policy lets `address` be reached at some port besides DNS.
fn lets_out(policy: &Value, address: &str) -> bool {
    let address = Cidr::single(address.parse().unwrap());
    let within = |text: &Value| text.as_str().unwrap().parse::<Cidr>().unwrap().contains(address);
    let rules = policy["egress"].as_array().unwrap().iter().filter(|rule| rule["ports"][0]["port"] != 53);
    rules.flat_map(|rule| rule["to"].as_array().unwrap()).any(|peer| {
        let block = &peer["ipBlock"];
        !block.is_null()
            && within(&block["cidr"])
            && !block["except"].as_array().into_iter().flatten().any(within)
    })
}

#[rstest]
#[case("1.1.1.1", true)]
#[case("10.0.0.1", true)]
#[case("2606:4700::1", true)]
#[case("172.16.5.5", false)]
#[case("fd99::1", false)]
#[case("10.42.1.9", false)]
#[case("10.43.0.1", false)]
#[case("fd42::7", false)]
#[case("fd43::1", false)]
#[case("192.168.7.1", false)]
#[case("fd07::1", false)]
#[case("169.254.169.254", false)]
#[case("fe80::1", false)]
#[case("fd00:ec2::254", false)]
#[case("64:ff9b::a9fe:a9fe", false)]
fn tenants_and_servers_reach(#[case] address: &str, #[case] want: bool) {
    let spec =
        json!({ "network": { "isolation": { "egressExcept": ["172.16.0.0/12", "fd99::/16", "nonsense"] } } });
    let made = made(&spec, &around());
    for name in ["k3k-gold-tenants", "k3k-gold-servers"] {
        assert_eq!(lets_out(&made[name], address), want, "{name}");
    }
    assert_eq!(
        lets_out(&made["k3k-gold-kubelets"], address),
        matches!(address, "192.168.7.1" | "10.43.0.1" | "fd43::1")
    );
}

#[test]
fn a_family_that_is_excepted_as_a_whole_is_left_out() {
    let made = made(&json!({ "network": { "isolation": { "egressExcept": ["::/0"] } } }), &around());
    assert!(!lets_out(&made["k3k-gold-tenants"], "2606:4700::1"));
    assert!(lets_out(&made["k3k-gold-tenants"], "1.1.1.1"));
}

#[test]
fn without_knowledge_of_the_host_all_still_works() {
    let around = Surroundings { controller: "k3k-system".into(), ..Surroundings::default() };
    let made = made(&json!({}), &around);
    assert!(lets_out(&made["k3k-gold-kubelets"], "192.168.7.1"));
    assert!(!lets_out(&made["k3k-gold-tenants"], "169.254.169.254"));
}

#[test]
fn bad_ranges_are_named() {
    let spec: VirtualClusterPolicySpec = serde_json::from_value(
        json!({ "network": { "isolation": { "egressExcept": ["10.0.0.0/8", "NodeIPs"] } } }),
    )
    .unwrap();
    let error = excepted(&spec).unwrap_err();
    assert!(error.starts_with("spec.network.isolation.egressExcept[1]: \"NodeIPs\" is not"), "{error}");
}
