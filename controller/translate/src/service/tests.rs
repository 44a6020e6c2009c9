use super::*;
use rstest::rstest;

fn owner() -> Owner {
    Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() }
}

fn service(spec: &Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u", "annotations": {"lb": "x"}}, "spec": spec})
}

fn host(spec: &Value) -> Value {
    match translate(&owner(), &service(spec)) {
        Ok(Desired::Service(host)) => host,
        other => panic!("a service, not {other:?}"),
    }
}

fn paths(refusals: &[Refusal]) -> Vec<&str> {
    refusals.iter().map(|refusal| refusal.path.as_str()).collect()
}

#[test]
fn what_others_added_is_taken_away() {
    let desired = json!({"spec": {"type": "ClusterIP", "selector": {"a": "b"}, "ports": [{"port": 80}]}});
    let mut host = desired.clone();
    host["metadata"] = json!({"uid": "u"});
    host["spec"]["clusterIP"] = "10.96.7.7".into();
    assert_eq!(correction(&host, &desired), None);
    host["spec"]["ports"] = json!([{"port": 80}, {"port": 81}]);
    host["spec"]["selector"]["c"] = "d".into();
    let patch = correction(&host, &desired).unwrap();
    assert_eq!(patch["metadata"], json!({"uid": "u"}));
    assert_eq!(patch["spec"]["ports"], json!([{"port": 80}]), "a list is replaced");
    assert_eq!(patch["spec"]["selector"], json!({"a": "b", "c": null}));
    assert!(patch["spec"].as_object().unwrap().contains_key("loadBalancerSourceRanges"), "{patch}");
}

#[test]
fn a_service_keeps_its_address_and_ports_and_finds_only_its_own_pods() {
    let host = host(&json!({
        "type": "NodePort", "clusterIP": "10.96.5.5", "clusterIPs": ["10.96.5.5"], "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "PreferDualStack", "externalTrafficPolicy": "Local", "externalIPs": ["1.2.3.4"],
        "selector": {"app": "web", "k3k.io/clusterName": "prod"}, "trafficDistribution": "PreferClose",
        "ports": [{"port": 80, "targetPort": "http", "nodePort": 30080, "protocol": "TCP", "appProtocol": "h2c"}],
    }));
    assert_eq!(
        host["spec"],
        json!({
            "type": "NodePort", "clusterIP": "10.96.5.5", "clusterIPs": ["10.96.5.5"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Local", "trafficDistribution": "PreferClose",
            "selector": {"app": "web", "k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop"},
            "ports": [{"port": 80, "targetPort": "http", "nodePort": 30080, "protocol": "TCP", "appProtocol": "h2c"}],
        })
    );
    assert!(host["metadata"]["annotations"].get("lb").is_none());
    assert_eq!(
        host["metadata"]["labels"],
        json!({"k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop"})
    );
}

#[test]
fn a_cluster_ip_service_asks_for_no_port_of_nodes() {
    let spec = json!({"clusterIP": "10.96.5.5", "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30080}]});
    assert_eq!(
        host(&spec)["spec"],
        json!({"type": "ClusterIP", "clusterIP": "10.96.5.5", "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80}]})
    );
}

#[test]
fn two_families_are_asked_for_only_where_there_are_two() {
    let spec = json!({"clusterIP": "10.96.5.5", "clusterIPs": ["10.96.5.5", "fd00::5"], "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"});
    let host = host(&spec);
    assert_eq!(host["spec"]["ipFamilyPolicy"], "RequireDualStack");
    assert_eq!(host["spec"]["clusterIPs"], spec["clusterIPs"]);
}

#[rstest]
#[case(json!({"type": "ExternalName", "externalName": "evil.example"}))]
#[case(json!({"clusterIP": "None", "selector": {"a": "b"}}))]
#[case(json!({"selector": {"a": "b"}}))]
fn some_need_nothing(#[case] spec: Value) {
    assert!(matches!(translate(&owner(), &service(&spec)).unwrap(), Desired::Nothing(_)));
}

#[rstest]
#[case("default", "kubernetes", true)]
#[case("kube-system", "kube-dns", true)]
#[case("shop", "kubernetes", false)]
#[case("default", "kube-dns", false)]
fn two_names_are_taken(#[case] namespace: &str, #[case] name: &str, #[case] taken: bool) {
    let service = json!({"metadata": {"name": name, "namespace": namespace, "uid": "u"}, "spec": {"clusterIP": "10.96.5.5"}});
    assert_eq!(matches!(translate(&owner(), &service).unwrap(), Desired::Nothing(_)), taken);
}

#[test]
fn what_does_not_reach_the_host_is_named() {
    let mut nested = service(&json!({
        "type": "LoadBalancer", "clusterIP": "10.96.5.5", "externalIPs": ["1.2.3.4"], "loadBalancerIP": "1.2.3.4",
        "loadBalancerClass": "x/y", "loadBalancerSourceRanges": ["10.0.0.0/8"], "novelty": true, "healthCheckNodePort": 31000,
    }));
    nested["metadata"]["annotations"] = json!({"a.cloud/internal": "true", "kubectl.kubernetes.io/last-applied-configuration": "{}", "k3k.io/x": ""});
    let all = left_out(&nested);
    assert_eq!(
        paths(&all),
        [
            "spec.externalIPs",
            "spec.loadBalancerClass",
            "spec.loadBalancerIP",
            "spec.novelty",
            "metadata.annotations[a.cloud/internal]"
        ]
    );
    let host = host(&nested["spec"]);
    for refusal in all.iter().filter_map(|refusal| refusal.path.strip_prefix("spec.")) {
        assert!(host["spec"].get(refusal).is_none(), "{refusal}");
    }
    assert_eq!(host["spec"]["loadBalancerSourceRanges"], json!(["10.0.0.0/8"]), "a limit is never lost");
    assert!(host["spec"].get("healthCheckNodePort").is_none());
    assert!(left_out(&service(&json!({"clusterIP": "10.96.5.5", "externalIPs": []}))).is_empty());
}

/// Every field of the compiled schema has a rule. A new one fails here first.
#[test]
fn every_field_of_the_schema_is_known() {
    let schema = k8s_openapi::api::core::v1::ServiceSpec {
        allocate_load_balancer_node_ports: Some(true),
        cluster_ip: Some(String::new()),
        cluster_ips: Some(vec![]),
        external_ips: Some(vec![]),
        external_name: Some(String::new()),
        external_traffic_policy: Some(String::new()),
        health_check_node_port: Some(1),
        internal_traffic_policy: Some(String::new()),
        ip_families: Some(vec![]),
        ip_family_policy: Some(String::new()),
        load_balancer_class: Some(String::new()),
        load_balancer_ip: Some(String::new()),
        load_balancer_source_ranges: Some(vec![]),
        ports: Some(vec![]),
        publish_not_ready_addresses: Some(true),
        selector: Some(std::collections::BTreeMap::default()),
        session_affinity: Some(String::new()),
        session_affinity_config: Some(k8s_openapi::api::core::v1::SessionAffinityConfig::default()),
        traffic_distribution: Some(String::new()),
        type_: Some(String::new()),
    };
    let fields = serde_json::to_value(schema).unwrap();
    for field in fields.as_object().unwrap().keys() {
        let is_left_out = LEFT_OUT.iter().any(|(known, _)| known == field);
        assert!(is_left_out || known_fields().any(|known| known == field), "{field}");
    }
}

#[test]
fn defaults_of_the_host_are_not_a_difference_but_leftovers_are() {
    let desired = json!({"spec": {"clusterIP": "1", "ports": [{"port": 80}], "selector": {"a": "b"}}});
    let actual = json!({"spec": {"clusterIP": "1", "clusterIPs": ["1"], "selector": {"a": "b"}, "sessionAffinity": "None",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}});
    assert!(is_current(&actual, &desired));
    let with = |pointer: &str, value: Value| {
        let mut changed = actual.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[key] = value;
        changed
    };
    for stale in [
        with("/spec/selector/old", json!("label")),
        with("/spec/trafficDistribution", json!("PreferClose")),
        with("/spec/publishNotReadyAddresses", json!(true)),
        with("/spec/ports/0/appProtocol", json!("h2c")),
        with("/spec/ports", json!([])),
        with("/spec/ports/0/port", json!(81)),
    ] {
        assert!(!is_current(&stale, &desired), "{stale}");
    }
}

#[rstest]
#[case(json!({"clusterIP": "1", "selector": {"a": "b"}}), false)]
#[case(json!({"clusterIP": "2", "selector": {"a": "b"}}), true)]
#[case(json!({"clusterIP": "1"}), true)]
#[case(json!({"clusterIP": "1", "clusterIPs": ["1", "2"], "selector": {"a": "b"}}), true)]
fn what_cannot_be_changed_in_place(#[case] desired: Value, #[case] replaced: bool) {
    let host = json!({"spec": {"clusterIP": "1", "clusterIPs": ["1"], "selector": {"a": "b"}}});
    assert_eq!(needs_replacing(&host, &json!({"spec": desired})), replaced);
}

#[test]
fn node_ports_are_told_as_the_host_gave_them() {
    let nested = json!({"spec": {"ports": [{"name": "d", "port": 53, "protocol": "UDP", "nodePort": 30053}, {"port": 53, "nodePort": 30054}]}});
    let host = |udp: u32, tcp: u32| json!({"spec": {"ports": [{"port": 53, "protocol": "TCP", "nodePort": tcp}, {"port": 53, "protocol": "UDP", "nodePort": udp}]}});
    assert_eq!(told_ports(&nested, &host(30053, 30054)), None);
    assert_eq!(
        told_ports(&nested, &host(30053, 31000)).unwrap(),
        json!([{"name": "d", "port": 53, "protocol": "UDP", "nodePort": 30053}, {"port": 53, "nodePort": 31000}])
    );
}

#[test]
fn a_load_balancer_is_told_until_it_goes() {
    let nested = |status: Value| json!({"spec": {"type": "LoadBalancer"}, "status": status});
    let ingress = json!([{"ip": "192.0.2.7", "ipMode": "VIP"}]);
    let given = json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": ingress}}});
    let told = told_status(&nested(json!({"loadBalancer": {}})), &given).unwrap();
    assert_eq!(told, json!({"status": {"loadBalancer": {"ingress": ingress}}}));
    assert_eq!(told_status(&nested(told["status"].clone()), &given), None);
    let lost = json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {}}});
    let told = told_status(&nested(told["status"].clone()), &lost).unwrap();
    assert_eq!(told, json!({"status": {"loadBalancer": {"ingress": null}}}));
    assert_eq!(told_status(&nested(json!({})), &lost), None);
    assert_eq!(told_status(&json!({"spec": {"type": "NodePort"}}), &given), None);
}

#[test]
fn the_host_may_choose() {
    let desired = host(
        &json!({"type": "NodePort", "clusterIP": "1", "clusterIPs": ["1"], "ports": [{"port": 80, "nodePort": 30080}]}),
    );
    let free = without(&desired, true, true);
    assert!(free["spec"].get("clusterIP").is_none() && free["spec"].get("clusterIPs").is_none());
    assert_eq!(free["spec"]["ports"], json!([{"port": 80}]));
    assert_eq!(without(&desired, false, false), desired);
}
