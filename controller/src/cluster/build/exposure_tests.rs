use super::*;
use rstest::rstest;
use serde_json::json;

fn site() -> Site {
    Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() }
}

fn wanted(spec: Value) -> Wanted {
    Wanted::of(&serde_json::from_value(spec).unwrap())
}

#[rstest]
#[case(json!({}), Wanted::Inside)]
#[case(json!({"expose": {}}), Wanted::Inside)]
#[case(json!({"expose": {"nodePort": {}}}), Wanted::NodePort(None))]
#[case(json!({"expose": {"nodePort": {"serverPort": 30443}}}), Wanted::NodePort(Some(30443)))]
#[case(json!({"expose": {"nodePort": {"serverPort": 443}}}), Wanted::NodePort(None))]
#[case(json!({"expose": {"loadBalancer": {}}}), Wanted::LoadBalancer(443))]
#[case(json!({"expose": {"loadBalancer": {"serverPort": 8443}}}), Wanted::LoadBalancer(8443))]
#[case(json!({"expose": {"loadBalancer": {"serverPort": 0}}}), Wanted::Inside)]
#[case(json!({"expose": {"loadBalancer": {"serverPort": 70000}}}), Wanted::Inside)]
#[case(
    json!({"expose": {"ingress": {}}, "tlsSANs": ["10.0.0.1", "*.example", "dev.example"]}),
    Wanted::Ingress(vec!["dev.example".into(), "*.example".into()])
)]
fn what_the_spec_asks_for(#[case] spec: Value, #[case] want: Wanted) {
    assert_eq!(wanted(spec), want);
}

fn service(body: &Value) -> DynamicObject {
    let mut object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "k3k-dev-service"}});
    object.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn at(wanted: &Wanted, body: &Value, addresses: &[&str], before: Option<&str>) -> String {
    let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
    match of(&site(), wanted, Some(&service(body)), &addresses, before) {
        Exposure::Inside => "inside".to_owned(),
        Exposure::At { reason, host, port } => format!("{reason} {}", url(&host, port)),
        Exposure::Pending { reason, .. } => reason.to_owned(),
    }
}

#[test]
fn a_node_port_is_at_a_node_and_stays_there() {
    let ports = json!({"spec": {"ports": [{"name": "k3s-server-port", "port": 443, "nodePort": 31234}]}});
    let node_port = Wanted::NodePort(None);
    assert_eq!(at(&node_port, &ports, &["10.0.0.1", "10.0.0.2"], None), "NodePort https://10.0.0.1:31234");
    let before = Some("https://10.0.0.2:31234");
    assert_eq!(at(&node_port, &ports, &["10.0.0.1", "10.0.0.2"], before), "NodePort https://10.0.0.2:31234");
    assert_eq!(at(&node_port, &ports, &["10.0.0.1", "10.0.0.22"], before), "NodePort https://10.0.0.1:31234");
    assert_eq!(at(&node_port, &ports, &["fd00::1"], None), "NodePort https://[fd00::1]:31234");
    assert_eq!(at(&node_port, &ports, &[], None), "AddressPending");
    assert_eq!(at(&node_port, &json!({"spec": {}}), &["10.0.0.1"], None), "PortPending");
}

#[test]
fn a_load_balancer_has_an_address_or_a_name() {
    let given = |ingress: Value| json!({"status": {"loadBalancer": {"ingress": ingress}}});
    let balancer = Wanted::LoadBalancer(8443);
    assert_eq!(
        at(&balancer, &given(json!([{"ip": "1.2.3.4"}])), &[], None),
        "LoadBalancer https://1.2.3.4:8443"
    );
    assert_eq!(
        at(&balancer, &given(json!([{"hostname": "lb.example"}])), &[], None),
        "LoadBalancer https://lb.example:8443"
    );
    assert_eq!(at(&balancer, &given(json!([])), &[], None), "AddressPending");
    assert_eq!(at(&balancer, &json!({}), &[], None), "AddressPending");
    assert_eq!(at(&Wanted::Inside, &json!({}), &[], None), "inside");
}

#[test]
fn an_ingress_is_at_its_first_name() {
    let named = |names: &[&str]| Wanted::Ingress(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(
        at(&named(&["dev.example", "*.example"]), &json!({}), &[], None),
        "Ingress https://dev.example"
    );
    assert_eq!(at(&named(&["*.example"]), &json!({}), &[], None), "NameMissing");
}
