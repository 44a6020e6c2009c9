//! The calls that converging a Service makes, on mock API servers.

use super::*;
use crate::fixture::{Seen, store, world};
use k3k_runtime::scenario::Scenario;
use serde_json::json as object;

struct Stage {
    services: Services,
    host: Scenario,
    nested: Scenario,
    name: Name,
}

const NESTED_SERVICE: &str = "/api/v1/namespaces/shop/services/web";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

/// A kubelet that sees these Services.
fn stage(nested_service: Option<Value>, host_service: Option<Value>) -> Stage {
    let (world, host, nested) = world(Seen { nested_service, ..Seen::default() });
    let listed = Lists::new(2);
    listed.complete(NESTED);
    listed.complete(HOST);
    let services = Services {
        world: Arc::new(world),
        sync: SyncConfig::default(),
        host: store(core("Service"), host_service),
        listed,
        endpoints: unbounded().0,
        told: Told::default(),
    };
    let name = Name { namespace: "shop".into(), name: "web".into() };
    Stage { services, host, nested, name }
}

fn host_name() -> String {
    k3k_api::names::translated("dev", "shop", "web")
}

fn in_host() -> String {
    format!("/api/v1/namespaces/k3k-dev/services/{}", host_name())
}

fn nested_service(kind: &str, node_port: Option<u32>) -> Value {
    let mut port = object!({"port": 80, "protocol": "TCP", "targetPort": 80});
    if let Some(number) = node_port {
        port["nodePort"] = number.into();
    }
    object!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "uid": "n-uid", "resourceVersion": "5"},
        "spec": {"type": kind, "clusterIP": "10.96.5.5", "clusterIPs": ["10.96.5.5"], "selector": {"app": "web"}, "ports": [port]},
    })
}

/// The host's copy of `nested`, up to date.
fn copy_of(services: &Services, nested: &Value) -> Value {
    use k3k_translate::service::{Desired, translate};
    let Ok(Desired::Service(mut copy)) = translate(&services.world.context.owner, nested) else {
        panic!("a service")
    };
    copy["metadata"]["uid"] = "h-uid".into();
    copy
}

fn staged(nested: &Value, change: impl FnOnce(&mut Value)) -> Stage {
    let mut copy = copy_of(&stage(None, None).services, nested);
    change(&mut copy);
    stage(Some(nested.clone()), Some(copy))
}

#[tokio::test]
async fn a_taken_node_port_is_exchanged_and_shown() {
    let Stage { services, mut host, mut nested, name } =
        stage(Some(nested_service("NodePort", Some(30080))), None);
    let step = tokio::spawn(async move { services.step(&name).await });
    host.expect("GET", &in_host()).await.refuse(404, "NotFound", "no such service yet");
    let call = host.expect("PATCH", &in_host()).await;
    assert_eq!(call.body["spec"]["ports"][0]["nodePort"], 30080, "the tenant's own, if it is free");
    call.refuse(
        422,
        "Invalid",
        "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
    );
    host.expect("GET", &in_host()).await.refuse(404, "NotFound", "no such service yet");
    let call = host.expect("PATCH", &in_host()).await;
    assert!(call.body["spec"]["ports"][0].get("nodePort").is_none());
    let mut made = call.body.clone();
    made["spec"]["ports"][0]["nodePort"] = 31234.into();
    call.answer(201, &made);
    let call = nested.expect("PATCH", NESTED_SERVICE).await;
    assert_eq!(call.body["spec"]["ports"][0]["nodePort"], 31234);
    assert_eq!(call.body["metadata"]["resourceVersion"], "5", "not over what the tenant does meanwhile");
    call.accept();
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!((&call.body["reason"], &call.body["type"]), (&"NodePortChanged".into(), &"Normal".into()));
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn node_ports_that_another_nested_service_has_are_given_back() {
    let wanted = nested_service("NodePort", Some(30080));
    let Stage { services, mut host, mut nested, name } = staged(&wanted, |copy| {
        copy["spec"]["ports"][0]["nodePort"] = 31234.into();
    });
    let step = tokio::spawn(async move { services.step(&name).await });
    let call = host.expect("PATCH", &in_host()).await;
    assert_eq!(call.body["metadata"]["uid"], "h-uid", "over this copy and no other");
    call.refuse(422, "Invalid", "spec.ports[0].nodePort: provided port is already allocated");
    let call = host.expect("PATCH", &in_host()).await;
    let mut kept = call.body.clone();
    kept["spec"]["ports"][0]["nodePort"] = 31234.into();
    call.answer(200, &kept);
    nested.expect("PATCH", NESTED_SERVICE).await.refuse(
        422,
        "Invalid",
        "spec.ports[0].nodePort: provided port is already allocated",
    );
    host.expect("DELETE", &in_host()).await.answer(200, &object!({"kind": "Status", "status": "Success"}));
    assert_eq!(step.await.unwrap(), Next::Retry);
}

#[tokio::test]
async fn what_others_added_to_the_copy_is_taken_away() {
    let wanted = nested_service("ClusterIP", None);
    let Stage { services, mut host, name, .. } = staged(&wanted, |copy| {
        copy["spec"]["ports"][0]["port"] = 81.into();
    });
    let step = tokio::spawn(async move { services.step(&name).await });
    let call = host.expect("PATCH", &in_host()).await;
    assert_eq!(call.headers["content-type"], "application/merge-patch+json", "their port first");
    assert_eq!(call.body["metadata"]["uid"], "h-uid");
    assert_eq!(call.body["spec"]["ports"][0]["port"], wanted["spec"]["ports"][0]["port"]);
    call.accept();
    let call = host.expect("PATCH", &in_host()).await;
    assert_eq!(call.headers["content-type"], "application/apply-patch+yaml");
    let mut made = call.body.clone();
    made["metadata"]["uid"] = "h-uid".into();
    made["spec"]["trafficDistribution"] = "PreferClose".into();
    call.answer(200, &made);
    let call = host.expect("PATCH", &in_host()).await;
    assert_eq!(call.headers["content-type"], "application/merge-patch+json");
    assert!(
        call.body["spec"].as_object().unwrap()["trafficDistribution"].is_null(),
        "then what else they added"
    );
    made["spec"]["trafficDistribution"] = Value::Null;
    call.answer(200, &made);
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn an_address_and_a_port_that_are_taken_change_together() {
    let mut wanted = nested_service("LoadBalancer", Some(30080));
    wanted["spec"]["externalTrafficPolicy"] = "Local".into();
    let Stage { services, mut host, mut nested, name } = stage(Some(wanted), None);
    let step = tokio::spawn(async move { services.step(&name).await });
    for message in ["provided IP is already allocated", "provided port is already allocated"] {
        host.expect("GET", &in_host()).await.refuse(404, "NotFound", "");
        host.expect("PATCH", &in_host()).await.refuse(422, "Invalid", message);
    }
    host.expect("GET", &in_host()).await.refuse(404, "NotFound", "");
    let call = host.expect("PATCH", &in_host()).await;
    let mut made = call.body.clone();
    made["spec"]["clusterIP"] = "10.96.6.6".into();
    made["spec"]["clusterIPs"] = object!(["10.96.6.6"]);
    made["spec"]["ports"][0]["nodePort"] = 31234.into();
    call.answer(201, &made);
    let call = nested.expect("PATCH", NESTED_SERVICE).await;
    assert_eq!(call.body["spec"]["type"], "ExternalName");
    let kept = call.body["metadata"]["annotations"]["k3k.io/reassigning-from"].as_str().unwrap().to_owned();
    assert_eq!(
        serde_json::from_str::<Value>(&kept).unwrap(),
        object!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"})
    );
    call.accept();
    let call = nested.expect("PATCH", NESTED_SERVICE).await;
    assert_eq!(call.body["spec"]["clusterIPs"], object!(["10.96.6.6"]));
    assert_eq!(call.body["spec"]["type"], "LoadBalancer");
    assert_eq!(call.body["spec"]["externalTrafficPolicy"], "Local", "nothing is lost on the way");
    assert_eq!(call.body["spec"]["ports"][0]["nodePort"], 31234);
    call.answer(200, &nested_service("LoadBalancer", Some(31234)));
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(call.body["reason"], "ClusterIPChanged");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn an_interrupted_move_is_finished() {
    let mut moving = nested_service("ExternalName", None);
    moving["spec"].as_object_mut().unwrap().remove("clusterIP");
    moving["metadata"]["annotations"] =
        object!({"k3k.io/reassigning-from": "{\"type\":\"NodePort\",\"externalIPs\":[\"1.2.3.4\"]}"});
    let Stage { services, mut host, mut nested, name } = stage(Some(moving), None);
    let step = tokio::spawn(async move { services.step(&name).await });
    host.expect("GET", &in_host()).await.refuse(404, "NotFound", "");
    let call = host.expect("PATCH", &in_host()).await;
    assert!(call.body["spec"].get("clusterIP").is_none());
    let mut made = call.body.clone();
    made["spec"]["clusterIP"] = "10.96.6.6".into();
    made["spec"]["clusterIPs"] = object!(["10.96.6.6"]);
    call.answer(201, &made);
    let call = nested.expect("PATCH", NESTED_SERVICE).await;
    assert_eq!(
        (&call.body["spec"]["type"], &call.body["spec"]["clusterIP"]),
        (&"NodePort".into(), &"10.96.6.6".into())
    );
    assert!(call.body["spec"].get("externalIPs").is_none(), "only fields that we write there");
    call.answer(200, &nested_service("NodePort", Some(31234)));
    assert_eq!(step.await.unwrap(), Next::Done);
}

#[tokio::test]
async fn where_the_host_lets_nobody_in_the_service_works_inside() {
    let Stage { services, mut host, mut nested, name } =
        stage(Some(nested_service("LoadBalancer", Some(30080))), None);
    let step = tokio::spawn(async move { services.step(&name).await });
    host.expect("GET", &in_host()).await.refuse(404, "NotFound", "");
    let message =
        format!("services \"{}\" is forbidden: exceeded quota: services.loadbalancers=1", host_name());
    host.expect("PATCH", &in_host()).await.refuse(403, "Forbidden", &message);
    host.expect("GET", &in_host()).await.refuse(404, "NotFound", "");
    let call = host.expect("PATCH", &in_host()).await;
    assert_eq!(call.body["spec"]["type"], "ClusterIP");
    call.accept();
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(call.body["reason"], "HostAdmissionDenied");
    assert_eq!(call.body["note"], "services \"web\" is forbidden: exceeded quota: services.loadbalancers=1");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Refused, "the quota may grow");
}

#[tokio::test]
async fn the_load_balancers_address_comes_back_and_what_is_left_out_is_told_once() {
    let mut wanted = nested_service("LoadBalancer", Some(30080));
    wanted["spec"]["loadBalancerIP"] = "192.0.2.1".into();
    let Stage { services, mut nested, name, .. } = staged(&wanted, |copy| {
        copy["status"] = object!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
    });
    let services = Arc::new(services);
    let steps = tokio::spawn({
        let services = services.clone();
        async move { (services.step(&name).await, services.step(&name).await) }
    });
    for told in [true, false] {
        let call = nested.expect("PATCH", &format!("{NESTED_SERVICE}/status")).await;
        assert_eq!(call.body["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.7");
        call.accept();
        if told {
            let call = nested.expect("POST", EVENTS).await;
            assert_eq!(call.body["reason"], "NotInHost");
            assert!(call.body["note"].as_str().unwrap().contains("spec.loadBalancerIP"), "{}", call.body);
            call.accept();
        }
    }
    assert_eq!(steps.await.unwrap(), (Next::Done, Next::Done));
}

#[tokio::test]
async fn a_service_of_the_right_name_that_is_not_ours_is_left_alone() {
    let wanted = nested_service("ClusterIP", None);
    let foreign = object!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": host_name(), "namespace": "k3k-dev", "uid": "x"}});
    // Unknown to the cache, and known to it.
    let Stage { services, mut host, mut nested, name } = stage(Some(wanted.clone()), None);
    let step = tokio::spawn(async move { services.step(&name).await });
    host.expect("GET", &in_host()).await.answer(200, &foreign);
    nested.expect("POST", EVENTS).await.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
    let Stage { services, mut nested, name, .. } = stage(Some(wanted), Some(foreign.clone()));
    let step = tokio::spawn(async move { services.step(&name).await });
    let call = nested.expect("POST", EVENTS).await;
    assert_eq!(call.body["reason"], "HostNameTaken");
    call.accept();
    assert_eq!(step.await.unwrap(), Next::Refused);
    let Stage { services, name, .. } = stage(None, Some(foreign));
    assert_eq!(services.step(&name).await, Next::Done);
}

#[tokio::test]
async fn a_lost_selector_a_namesake_and_an_unselected_service_remove_the_copy() {
    let wanted = nested_service("ClusterIP", None);
    let mut unselective = wanted.clone();
    unselective["spec"]["selector"] = Value::Null;
    let mut namesake = wanted.clone();
    namesake["metadata"]["uid"] = "another".into();
    for nested in [Some(unselective), Some(namesake), None] {
        let copy = copy_of(&stage(None, None).services, &wanted);
        let Stage { services, mut host, name, .. } = stage(nested, Some(copy));
        let step = tokio::spawn(async move { services.step(&name).await });
        let call = host.expect("DELETE", &in_host()).await;
        assert_eq!(call.body["preconditions"]["uid"], "h-uid");
        call.answer(200, &object!({"kind": "Status", "status": "Success"}));
        assert_eq!(step.await.unwrap(), Next::Done);
    }
    // One that is being taken down already is waited for.
    let mut ending = copy_of(&stage(None, None).services, &wanted);
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let Stage { services, name, .. } = stage(Some(wanted), Some(ending));
    assert_eq!(services.step(&name).await, Next::Done);
}
