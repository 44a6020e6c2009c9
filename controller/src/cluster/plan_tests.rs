use super::super::apply::Live;
use super::super::build::capacity::Resources;
use super::super::build::certificates::{Authorities, generate};
use super::super::build::secret_data;
use super::super::upgrade::Course;
use super::super::validate;
use super::*;
use insta::{assert_json_snapshot, assert_snapshot};
use k3k_api::told_policy::ToldPolicy;
use k3k_api::v1beta1::VirtualClusterPolicySpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

fn site() -> Site {
    Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "11111111-2222".into() }
}

fn spec(value: Value) -> ClusterSpec {
    serde_json::from_value(value).unwrap()
}

fn observed() -> Observed {
    Observed {
        host_version: "v1.36.3".into(),
        host_service_cidr: "10.43.0.0/16".into(),
        policy_name: None,
        policy: None,
        policy_generation: 0,
        policy_in_force: true,
        older: None,
        capacity: Resources::from([
            ("cpu".into(), Quantity("2".into())),
            ("memory".into(), Quantity("4Gi".into())),
        ]),
        nodes: Vec::new(),
        node_addresses: Vec::new(),
        all_node_addresses: Vec::new(),
        live: Live::default(),
        named_secrets: HashMap::new(),
        offered: k3k_api::offered::Offered::default(),
    }
}

fn credentials() -> Credentials {
    // One set, because what is planned depends on it.
    static DATA: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| generate("dev").unwrap());
    Credentials {
        authorities: Authorities::read(&DATA).unwrap(),
        token: "0123456789abcdef0123456789abcdef".into(),
    }
}

const ADDRESSES: Addresses = Addresses {
    api: IpAddr::V4(std::net::Ipv4Addr::new(10, 43, 0, 5)),
    api_port: 443,
    shown: Some(Shown {
        kubelet: IpAddr::V4(std::net::Ipv4Addr::new(10, 43, 0, 6)),
        dns: IpAddr::V4(std::net::Ipv4Addr::new(10, 43, 0, 7)),
    }),
};

fn plan(spec: &ClusterSpec, observed: &Observed) -> Workload {
    exposed(spec, observed, &Exposure::Inside)
}

fn exposed(spec: &ClusterSpec, observed: &Observed, exposure: &Exposure) -> Workload {
    planned(spec, observed, exposure, &Servers::single())
}

fn plan_servers(spec: &ClusterSpec, observed: &Observed, servers: &Servers) -> Workload {
    planned(spec, observed, &Exposure::Inside, servers)
}

fn planned(spec: &ClusterSpec, observed: &Observed, exposure: &Exposure, servers: &Servers) -> Workload {
    paused(spec, observed, exposure, servers, Running::All)
}

fn paused(
    spec: &ClusterSpec,
    observed: &Observed,
    exposure: &Exposure,
    servers: &Servers,
    running: Running,
) -> Workload {
    let accepted = validate::cluster(&site(), spec, None, observed).unwrap();
    let nodes = Nodes::of(spec.mode());
    workload(&Inputs {
        site: &site(),
        spec,
        accepted: &accepted,
        observed,
        addresses: &Addresses { shown: ADDRESSES.shown.filter(|_| nodes.are_shown()), ..ADDRESSES },
        exposure,
        credentials: &credentials(),
        images: &Images::default(),
        kubelet_replicas: 2,
        servers,
        course: &Course::straight(&accepted.version),
        pause: &Step::of(running),
        now: Timestamp::now(),
    })
    .unwrap()
}

/// Three servers, of an etcd that was begun or not.
fn several(cluster_id: Option<&str>) -> Servers {
    let replicas = if cluster_id.is_some() { 3 } else { 1 };
    Servers { replicas, etcd: true, cluster_id: cluster_id.map(str::to_owned) }
}

#[test]
fn a_pause_scales_to_zero_and_keeps_what_it_was() {
    let spec = spec(json!({ "servers": 3, "pause": {} }));
    let of = |running| {
        let servers = several(Some("00c0ffee"));
        paused(&spec, &observed(), &Exposure::Inside, &servers, running).runners
    };
    let replicas = |runners: &[Manifest]| -> Vec<_> {
        runners.iter().map(|runner| runner.object["spec"]["replicas"].clone()).collect()
    };
    assert_eq!(replicas(&of(Running::All)), [3, 2]);
    assert_eq!(replicas(&of(Running::Servers)), [3, 0]);
    let down = of(Running::Nothing);
    assert_eq!(replicas(&down), [0, 0]);
    let set = &down[0].object;
    assert_eq!(
        set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"], "Retain",
        "the members' data stay"
    );
    assert_json_snapshot!("paused_servers_are_noted", set["metadata"]["annotations"]);
    let set = serde_json::from_value(set.clone()).unwrap();
    assert!(server::is_paused(&set));
    assert_eq!(server::present_replicas(&set), Some(3));
}

#[test]
fn workload_of_several_servers() {
    let spec = spec(json!({ "servers": 3 }));
    let workload = plan_servers(&spec, &observed(), &several(Some("00c0ffee")));
    let mut set = workload.runners[0].object.clone();
    // The token has the hash of an authority that is another each time.
    set["spec"]["template"]["metadata"]["annotations"] = json!({});
    assert_json_snapshot!("statefulset_of_several_servers", set);
    let foundation = foundation(&site(), &spec, &several(Some("00c0ffee")));
    assert_eq!(foundation[0].object["spec"]["publishNotReadyAddresses"], false);
    let budget = foundation.iter().find(|manifest| manifest.kind == Kind::PodDisruptionBudget).unwrap();
    assert_eq!(budget.object["spec"]["maxUnavailable"], 1);
}

#[test]
fn only_the_first_server_begins_and_only_once() {
    let spec = spec(json!({ "servers": 3 }));
    let config = |servers: &Servers| {
        let workload = plan_servers(&spec, &observed(), servers);
        let template = workload.runners[0].object["spec"]["template"].to_string();
        (text(&workload.configuration, "k3k-dev-init-server-config", "config.yaml"), template)
    };
    let (first, template) = config(&several(None));
    assert!(first.contains("cluster-init: true") && !first.contains("server:"), "{first}");
    let begun = several(Some("00c0ffee"));
    let (later, later_template) = config(&begun);
    assert!(!later.contains("cluster-init") && later.contains("server: https://10.43.0.5"), "{later}");
    assert_eq!(template, later_template, "to have begun starts nobody anew");
    // More than one server: somebody has begun, even if it is not known any more what.
    let (unknown, _) = config(&Servers { cluster_id: None, ..begun });
    assert!(!unknown.contains("cluster-init"), "{unknown}");
}

fn text(manifests: &[Manifest], name: &str, key: &str) -> String {
    let manifest = manifests.iter().find(|manifest| manifest.name == name).unwrap();
    secret_data(&serde_json::from_value(manifest.object.clone()).unwrap()).remove(key).unwrap()
}

#[test]
fn foundation_of_a_plain_cluster() {
    for manifest in foundation(&site(), &ClusterSpec::default(), &Servers::single()) {
        let name = format!("{}_{}", manifest.kind, manifest.name).to_lowercase();
        assert_json_snapshot!(name, manifest.object);
    }
}

#[test]
fn workload_of_a_plain_cluster() {
    let workload = plan(&ClusterSpec::default(), &observed());
    for manifest in &workload.runners {
        assert_json_snapshot!(format!("{}_{}", manifest.kind, manifest.name).to_lowercase(), manifest.object);
    }
    assert_snapshot!(
        "server_config",
        text(&workload.configuration, "k3k-dev-init-server-config", "config.yaml")
    );
    assert_snapshot!("agent_config", text(&workload.configuration, "k3k-dev-agent-config", "config.yaml"));
    let mut keys: Vec<String> = workload
        .configuration
        .iter()
        .map(|manifest| manifest.object["data"].clone())
        .flat_map(|data| data.as_object().unwrap().keys().cloned().collect::<Vec<_>>())
        .collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "admission.key",
            "client-ca.crt",
            "client.crt",
            "client.key",
            "config.yaml",
            "config.yaml",
            "kubeconfig.yaml",
            "policy.json",
            "server-ca.crt",
            "tls.crt",
            "tls.key"
        ]
    );
    let mut kubeconfig: Value =
        serde_saphyr::from_str(&text(&workload.configuration, "k3k-dev-kubeconfig", "kubeconfig.yaml"))
            .unwrap();
    kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"] = "[ca]".into();
    kubeconfig["users"][0]["user"] = json!("[credentials]");
    assert_json_snapshot!("kubeconfig", kubeconfig);
    assert_eq!(workload.cluster_dns, "10.43.0.7");
}

#[test]
fn the_virtual_kubelet_is_told_of_the_policy_and_changes_start_nothing_anew() {
    let told = |name: Option<&str>, policy: Option<Value>, generation: i64| {
        let observed = Observed {
            policy_name: name.map(str::to_owned),
            policy: policy.map(|spec| serde_json::from_value(spec).unwrap()),
            policy_generation: generation,
            ..observed()
        };
        observed.told_policy("dev")
    };
    assert_eq!(told(None, None, 0), ToldPolicy::Default);
    assert_eq!(told(Some("gold"), None, 0), ToldPolicy::Missing);
    let ToldPolicy::Named(named) = told(Some("gold"), Some(json!({ "images": { "digest": "Require" } })), 7)
    else {
        unreachable!()
    };
    assert_eq!((named.name.as_str(), named.generation), ("gold", 7));

    let with = |policy: Value, generation: i64| {
        let policy = serde_json::from_value(policy).unwrap();
        let observed = Observed {
            policy_name: Some("gold".into()),
            policy: Some(policy),
            policy_generation: generation,
            ..observed()
        };
        let workload = plan(&ClusterSpec::default(), &observed);
        let told = workload.configuration.iter().find(|manifest| manifest.name == "k3k-dev-policy").unwrap();
        (
            told.object["data"].clone(),
            json!(workload.runners.iter().map(|runner| &runner.object).collect::<Vec<_>>()),
        )
    };
    let ((before, runners), (after, same)) = (
        with(json!({ "podSecurityAdmissionLevel": "baseline" }), 1),
        with(json!({ "podSecurityAdmissionLevel": "restricted", "images": { "digest": "Require" } }), 2),
    );
    assert_ne!(before, after);
    assert_eq!(runners, same);
}

#[test]
fn everything_that_a_spec_can_say_about_servers() {
    let spec = spec(json!({
        "version": "v1.35.1+k3s2",
        "persistence": { "type": "ephemeral" },
        "expose": { "nodePort": { "serverPort": 31000 }, "annotations": { "a": "b" } },
        "nodeSelector": { "disk": "fast" },
        "priorityClass": "high",
        "tlsSANs": ["dev.example"],
        "serverArgs": ["--debug", "--disable=coredns", "--tls-san=other.example", "--etcd-arg=$(POD_IP)"],
        "serverEnvs": [{ "name": "HTTP_PROXY", "value": "http://proxy" }],
        "addons": [{ "secretRef": "extras" }],
        "serverLimit": { "cpu": "1", "memory": "1Gi" },
        "serverAffinity": { "nodeAffinity": {} },
        "secretMounts": [
            { "secretName": "registries", "mountPath": "/etc/rancher/k3s/registries.yaml", "subPath": "registries.yaml", "defaultMode": 256 },
            { "secretName": "agents-only", "mountPath": "/x", "role": "agent" },
            { "secretName": "nowhere" }
        ],
        "runtimeClassName": "gvisor",
        "hostUsers": false,
        "podSecurityContext": { "fsGroup": 1000 },
        "securityContext": { "runAsUser": 1000 }
    }));
    let workload = plan(&spec, &observed());
    assert_json_snapshot!("statefulset_of_a_full_spec", workload.runners[0].object);
    assert_snapshot!(
        "server_config_of_a_full_spec",
        text(&workload.configuration, "k3k-dev-init-server-config", "config.yaml")
    );
    assert_json_snapshot!("service_node_port", foundation(&site(), &spec, &Servers::single())[0].object);
}

#[test]
fn a_policy_wins() {
    let spec = spec(json!({
        "nodeSelector": { "disk": "fast" }, "priorityClass": "high", "runtimeClassName": "gvisor", "hostUsers": true,
        "securityContext": { "runAsUser": 5 }
    }));
    let policy: VirtualClusterPolicySpec = serde_json::from_value(json!({
        "defaultNodeSelector": { "pool": "tenants" }, "defaultPriorityClass": "low", "runtimeClassName": "kata",
        "hostUsers": false, "securityContext": { "privileged": true },
        "defaultServerAffinity": { "podAffinity": {} }, "defaultAgentAffinity": { "nodeAffinity": {} }
    }))
    .unwrap();
    let observed = Observed { policy_name: Some("p".into()), policy: Some(policy), ..observed() };
    let workload = plan(&spec, &observed);
    let pod = &workload.runners[0].object["spec"]["template"]["spec"];
    assert_eq!(pod["nodeSelector"], json!({ "pool": "tenants" }));
    assert_eq!(pod["priorityClassName"], "low");
    assert_eq!(pod["runtimeClassName"], "kata");
    assert_eq!(pod["hostUsers"], false);
    assert_eq!(pod["affinity"], json!({ "podAffinity": {} }));
    assert_eq!(pod["containers"][0]["securityContext"], json!({ "privileged": true }));
    let kubelet = &workload.runners[1].object["spec"]["template"]["spec"];
    assert_eq!(kubelet["nodeSelector"], json!({ "pool": "tenants" }));
    assert_eq!(kubelet["affinity"], json!({ "nodeAffinity": {} }));
    // The virtual kubelet's own hardening is not the policy's business.
    assert_eq!(kubelet["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
}

#[test]
fn what_a_policy_requires_of_nodes_holds_for_all_pods_whatever_else_is_said() {
    let spec = spec(json!({ "nodeSelector": { "disk": "fast", "tenant": "mine" } }));
    let policy: VirtualClusterPolicySpec = serde_json::from_value(json!({
        "runtimeClassName": "kata", "hostUsers": false,
        "nodes": {
            "requiredSelector": { "tenant": "a" },
            "tolerations": { "required": [{ "key": "tenant", "value": "a", "effect": "NoExecute" }, { "key": "any" }] },
        },
    }))
    .unwrap();
    let observed = Observed { policy_name: Some("p".into()), policy: Some(policy), ..observed() };
    let workload = plan(&spec, &observed);
    for runner in &workload.runners {
        let pod = &runner.object["spec"]["template"]["spec"];
        assert_eq!(pod["nodeSelector"], json!({ "disk": "fast", "tenant": "a" }), "{}", runner.name);
        assert_eq!(
            pod["tolerations"],
            json!([
                { "key": "tenant", "operator": "Equal", "value": "a", "effect": "NoExecute" },
                { "key": "any", "operator": "Exists" },
            ])
        );
        assert_eq!((&pod["runtimeClassName"], &pod["hostUsers"]), (&json!("kata"), &json!(false)));
    }
    let told = text(&workload.configuration, "k3k-dev-agent-config", "config.yaml");
    assert!(told.contains("tenant: a"), "tenants' pods go there too: {told}");
}

#[test]
fn a_change_of_configuration_rolls_the_servers_and_nothing_else_does() {
    let hash = |workload: &Workload| {
        workload.runners[0].object["spec"]["template"]["metadata"]["annotations"]["k3k.io/config-hash"]
            .clone()
    };
    let plain = plan(&ClusterSpec::default(), &observed());
    assert_eq!(hash(&plain), hash(&plan(&ClusterSpec::default(), &observed())));
    let named = plan(&spec(json!({ "tlsSANs": ["dev.example"] })), &observed());
    assert_ne!(hash(&plain), hash(&named));
    let smaller = Observed { capacity: Resources::new(), ..observed() };
    assert_eq!(plain.runners, plan(&ClusterSpec::default(), &smaller).runners);
}

#[test]
fn the_kubeconfig_follows_the_exposure_and_no_server_starts_anew() {
    let kubeconfig = |workload: &Workload| -> Value {
        let text = text(&workload.configuration, "k3k-dev-kubeconfig", "kubeconfig.yaml");
        let mut config: Value = serde_saphyr::from_str(&text).unwrap();
        config["clusters"][0]["cluster"].as_object_mut().unwrap().remove("certificate-authority-data");
        config["clusters"][0]["cluster"].take()
    };
    let named = spec(json!({ "tlsSANs": ["*.example"] }));
    let at = |host: &str, port| Exposure::At { reason: "", host: host.to_owned(), port };
    let inside = exposed(&named, &observed(), &Exposure::Inside);
    assert_eq!(kubeconfig(&inside), json!({ "server": "https://10.43.0.5" }));
    let outside = exposed(&named, &observed(), &at("1.2.3.4", 31234));
    let expected = json!({ "server": "https://1.2.3.4:31234", "tls-server-name": "k3k-dev-service" });
    assert_eq!(kubeconfig(&outside), expected);
    assert_eq!(outside.endpoint, "https://1.2.3.4:31234");
    let by_name = exposed(&named, &observed(), &at("dev.Example", 443));
    assert_eq!(kubeconfig(&by_name), json!({ "server": "https://dev.Example" }));
    assert_eq!(inside.runners, outside.runners);
}

#[test]
fn an_ingress_is_made_for_each_name_and_goes_when_it_is_not_wanted() {
    let wanting = spec(json!({
        "tlsSANs": ["10.0.0.1", "*.example", "dev.example"],
        "expose": { "ingress": { "ingressClassName": "nginx", "annotations": { "a": "b" } } },
    }));
    let made = foundation(&site(), &wanting, &Servers::single());
    let ingress = made.iter().find(|manifest| manifest.kind == Kind::Ingress).unwrap();
    assert_json_snapshot!("ingress", ingress.object);
    assert_eq!(unwanted(&site(), &wanting), None);
    let gone = (Kind::Ingress, "k3k-dev-ingress".to_owned());
    assert_eq!(unwanted(&site(), &ClusterSpec::default()), Some(gone));
}

#[test]
fn the_service_is_at_its_port_inside_whatever_it_is_outside() {
    let ports = |expose: Value| {
        let made = foundation(&site(), &spec(json!({ "expose": expose })), &Servers::single());
        let spec = &made[0].object["spec"];
        let ports = spec["ports"].as_array().unwrap().iter();
        let ports: Vec<String> = ports.map(|port| format!("{} {}", port["port"], port["nodePort"])).collect();
        format!("{} {}", spec["type"].as_str().unwrap(), ports.join(", "))
    };
    assert_eq!(ports(json!({ "nodePort": { "serverPort": 30443 } })), "NodePort 443 30443");
    assert_eq!(ports(json!({ "loadBalancer": {} })), "LoadBalancer 443 null");
    assert_eq!(ports(json!({ "loadBalancer": { "serverPort": 8443 } })), "LoadBalancer 443 null, 8443 null");
    assert_eq!(ports(json!({ "loadBalancer": { "serverPort": 0 } })), "ClusterIP 443 null");
}

#[test]
fn endpoints_are_urls() {
    assert_eq!(ADDRESSES.endpoint(), "https://10.43.0.5");
    let other = Addresses { api: "fd00::5".parse().unwrap(), api_port: 8443, ..ADDRESSES };
    assert_eq!(other.endpoint(), "https://[fd00::5]:8443");
}

#[test]
fn a_service_without_address_is_an_error() {
    let error = Addresses::read(&site(), Nodes::Shown, &Live::default()).unwrap_err();
    assert_eq!(error.to_string(), "Service \"k3k-dev-service\" has no cluster address");
}

fn virtual_spec(more: &Value) -> ClusterSpec {
    let mut all = json!({ "mode": "virtual", "agents": 2 });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec(all)
}

/// The configuration of agents holds what is made at random.
fn with_any_hash(runner: &Manifest) -> Value {
    let mut object = runner.object.clone();
    object["spec"]["template"]["metadata"]["annotations"]["k3k.io/config-hash"] = "[hash]".into();
    object
}

#[test]
fn a_virtual_cluster() {
    let spec = virtual_spec(&json!({}));
    let names: Vec<String> =
        foundation(&site(), &spec, &Servers::single()).into_iter().map(|manifest| manifest.name).collect();
    assert_eq!(names, ["k3k-dev-service", "k3k-dev-service-headless"]);
    let workload = plan(&spec, &observed());
    for manifest in &workload.runners {
        let kind = format!("virtual_{}_{}", manifest.kind, manifest.name).to_lowercase();
        assert_json_snapshot!(kind, with_any_hash(manifest));
    }
    assert_snapshot!(
        "virtual_server_config",
        text(&workload.configuration, "k3k-dev-init-server-config", "config.yaml")
    );
    let agents = text(&workload.configuration, "k3k-dev-agent-config", "config.yaml");
    let (begin, end) = ("server: https://10.43.0.5\ntoken: K10", "::node:0123456789abcdef0123456789abcdef\n");
    assert!(agents.starts_with(begin) && agents.ends_with(end), "{agents}");
    assert_eq!(text(&workload.configuration, "k3k-dev-agent-config", "node-password").len(), 32);
    assert_eq!((workload.cluster_dns.as_str(), workload.admission), ("10.53.0.10", None));
    let names: Vec<&str> = workload.configuration.iter().map(|manifest| manifest.name.as_str()).collect();
    assert_eq!(names, ["k3k-dev-init-server-config", "k3k-dev-kubeconfig", "k3k-dev-agent-config"]);
}

#[test]
fn everything_that_a_spec_can_say_about_nodes_that_are_pods() {
    let spec = virtual_spec(&json!({
        "clusterCIDR": "10.8.0.0/16", "serviceCIDR": "10.9.0.0/16", "clusterDNS": "10.9.0.53",
        "persistence": { "type": "ephemeral" },
        "nodeSelector": { "disk": "fast" },
        "priorityClass": "high",
        "serverArgs": ["--disable=traefik", "--kubelet-arg=max-pods=50"],
        "agentArgs": ["--node-label tier=worker", "--kubelet-arg=v=$(POD_NAME)"],
        "agentEnvs": [{ "name": "HTTP_PROXY", "value": "http://proxy" }],
        "addons": [{ "secretRef": "extras" }],
        "serverLimit": { "cpu": "1" }, "workerLimit": { "memory": "1Gi" },
        "agentAffinity": { "podAntiAffinity": {} },
        "secretMounts": [
            { "secretName": "registries", "mountPath": "/etc/rancher/k3s/registries.yaml", "subPath": "registries.yaml" },
            { "secretName": "agents-only", "mountPath": "/x", "role": "agent" },
            { "secretName": "servers-only", "mountPath": "/y", "role": "server" }
        ],
        "runtimeClassName": "kata", "hostUsers": false,
        "podSecurityContext": { "fsGroup": 1000 }, "securityContext": { "procMount": "Unmasked" }
    }));
    let workload = plan(&spec, &observed());
    assert_json_snapshot!("virtual_server_of_a_full_spec", workload.runners[0].object);
    assert_json_snapshot!("virtual_agent_of_a_full_spec", with_any_hash(&workload.runners[1]));
    assert_snapshot!(
        "virtual_server_config_of_a_full_spec",
        text(&workload.configuration, "k3k-dev-init-server-config", "config.yaml")
    );
    assert_eq!(workload.cluster_dns, "10.9.0.53");
}

#[test]
fn what_agents_have_is_kept_and_a_new_token_rolls_them() {
    let spec = virtual_spec(&json!({}));
    let first = plan(&spec, &observed());
    let stored = first.configuration.iter().find(|manifest| manifest.name == "k3k-dev-agent-config").unwrap();
    let stored = serde_json::from_value(stored.object.clone()).unwrap();
    let key = (Kind::Secret, "k3k-dev-agent-config".to_owned());
    let again = plan(&spec, &Observed { live: Live(HashMap::from([(key, stored)])), ..observed() });
    let password =
        |workload: &Workload| text(&workload.configuration, "k3k-dev-agent-config", "node-password");
    assert_eq!(password(&first), password(&again));
    assert_ne!(password(&first), password(&plan(&spec, &observed())));
}

#[path = "plan_outside_tests.rs"]
mod outside;
