use super::*;
use crate::cluster::apply::Live;
use crate::cluster::build::capacity::Resources;
use rstest::rstest;
use serde_json::{Value, json};
use std::collections::HashMap;

fn site(name: &str) -> Site {
    Site { name: name.into(), namespace: "k3k-dev".into(), uid: "u".into() }
}

fn observed() -> Observed {
    let token = |data: Value| {
        serde_json::from_value(
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "t" }, "data": data }),
        )
        .unwrap()
    };
    Observed {
        host_version: "v1.36.3".into(),
        host_service_cidr: "10.43.0.0/16".into(),
        policy_name: None,
        policy: None,
        policy_generation: 0,
        policy_in_force: true,
        older: None,
        capacity: Resources::new(),
        nodes: Vec::new(),
        node_addresses: Vec::new(),
        all_node_addresses: Vec::new(),
        live: Live::default(),
        named_secrets: HashMap::from([
            ("good".into(), token(json!({ "token": "c2VjcmV0Cg==" }))),
            ("bad".into(), token(json!({ "password": "c2VjcmV0Cg==" }))),
        ]),
        offered: k3k_api::offered::Offered::default(),
    }
}

fn check(name: &str, spec: Value) -> Result<Accepted, Error> {
    cluster(&site(name), &serde_json::from_value(spec).unwrap(), None, &observed())
}

#[rstest]
#[case("system", json!({}), "metadata.name: \"system\" is reserved")]
#[case("a.b", json!({}), "metadata.name: \"a.b\" must consist of")]
#[case("a-very-long-name-that-leaves-no-room-for-more", json!({}), "metadata.name: ")]
#[case("dev", json!({ "mode": "virtual", "agentArgs": ["--debug", "--token=x"] }), "spec.agentArgs[1]: \"token\" cannot be set")]
#[case("dev", json!({ "mode": "virtual", "agentEnvs": [{ "name": "K3S_URL", "value": "x" }] }), "spec.agentEnvs[0].name: K3S_URL cannot be set")]
#[case("dev", json!({ "mode": "virtual", "serviceCIDR": "10.43.0.0/24" }), "spec.serviceCIDR: it overlaps 10.43.0.0/16")]
#[case("dev", json!({ "mode": "virtual", "securityContext": { "privileged": false } }), "spec.securityContext.privileged: a node cannot be run with it")]
#[case("dev", json!({ "mode": "virtual", "securityContext": { "readOnlyRootFilesystem": true } }), "spec.securityContext.readOnlyRootFilesystem: ")]
#[case("dev", json!({ "mode": "virtual", "securityContext": { "capabilities": { "drop": ["ALL"] } } }), "spec.securityContext.capabilities.drop: ")]
#[case("dev", json!({ "mode": "virtual", "podSecurityContext": { "runAsUser": 1000 } }), "spec.podSecurityContext.runAsUser: ")]
#[case("dev", json!({ "mode": "hcp", "servers": 3 }), "spec.servers: 3 servers cannot be in mode hcp: ")]
#[case("dev", json!({ "mode": "hcp", "agents": 1 }), "spec.agents: in mode hcp workers are run elsewhere")]
#[case("dev", json!({ "mode": "hcp", "agentArgs": ["--debug"] }), "spec.agentArgs: in mode hcp")]
#[case("dev", json!({ "mode": "hcp", "agentEnvs": [{ "name": "A", "value": "b" }] }), "spec.agentEnvs: in mode hcp")]
#[case("dev", json!({ "mode": "hcp", "securityContext": { "privileged": true } }), "spec.securityContext.privileged: ")]
#[case("dev", json!({ "mode": "virtual", "servers": 3 }), "spec.servers: this version runs several servers in mode shared only, not yet 3 in mode virtual")]
#[case("dev", json!({ "expose": { "ingress": {} } }), "spec.expose.ingress: ")]
#[case("dev", json!({ "expose": { "ingress": {} }, "tlsSANs": ["10.0.0.1"] }), "spec.expose.ingress: ")]
#[case("dev", json!({ "customCAs": { "enabled": true, "sources": { "serverCA": { "secretName": "a" }, "clientCA": { "secretName": "a" },
    "requestHeaderCA": { "secretName": "a" }, "etcdServerCA": { "secretName": "a" }, "etcdPeerCA": { "secretName": "a" },
    "serviceAccountToken": { "secretName": "a" } } } }), "spec.customCAs.sources.serverCA: there is no Secret \"a\"")]
#[case("dev", json!({ "serverArgs": ["--debug", "--token=x"] }), "spec.serverArgs[1]: \"token\" cannot be set: use spec.tokenSecretRef")]
#[case("dev", json!({ "serverEnvs": [{ "name": "K3S_TOKEN", "value": "x" }] }), "spec.serverEnvs[0].name: K3S_TOKEN cannot be set")]
#[case("dev", json!({ "version": "not a tag" }), "spec.version: \"not a tag\" is not an image tag")]
#[case("dev", json!({ "version": "v1:evil" }), "spec.version: ")]
#[case("dev", json!({ "tokenSecretRef": { "name": "good", "namespace": "other" } }), "spec.tokenSecretRef.namespace: a Secret in namespace \"other\"")]
#[case("dev", json!({ "tokenSecretRef": { "name": "missing" } }), "spec.tokenSecretRef.name: there is no Secret \"missing\"")]
#[case("dev", json!({ "tokenSecretRef": { "name": "bad" } }), "spec.tokenSecretRef.name: Secret \"bad\" has no key \"token\"")]
#[case("dev", json!({ "tokenSecretRef": {} }), "spec.tokenSecretRef.name: it is empty")]
#[case("dev", json!({ "addons": [{ "secretRef": "a", "secretNamespace": "other" }] }), "spec.addons[0].secretNamespace: ")]
#[case("dev", json!({ "securityContext": { "privileged": true } }), "spec.securityContext.privileged: ")]
#[case("dev", json!({ "securityContext": { "allowPrivilegeEscalation": true } }), "spec.securityContext.allowPrivilegeEscalation: ")]
#[case("dev", json!({ "securityContext": { "capabilities": { "add": ["SYS_ADMIN"] } } }), "spec.securityContext.capabilities.add: ")]
#[case("dev", json!({ "securityContext": { "procMount": "Unmasked" } }), "spec.securityContext.procMount: ")]
#[case("dev", json!({ "podSecurityContext": { "seccompProfile": { "type": "Unconfined" } } }), "spec.podSecurityContext.seccompProfile: ")]
#[case("dev", json!({ "podSecurityContext": { "sysctls": [{ "name": "a", "value": "b" }] } }), "spec.podSecurityContext.sysctls: ")]
fn refused(#[case] name: &str, #[case] spec: Value, #[case] message: &str) {
    let error = check(name, spec).unwrap_err();
    assert!(error.to_string().starts_with(message), "{error}");
    // Secrets may come later, without a change of the Cluster.
    assert_eq!(error.is_terminal(), !error.to_string().contains("Secret \""), "{error}");
    assert!(!error.is_transient());
}

#[rstest]
#[case(json!({}), "v1.36.3-k3s1")]
#[case(json!({ "version": "" }), "v1.36.3-k3s1")]
#[case(json!({ "version": "v1.33.1-k3s1" }), "v1.33.1-k3s1")]
#[case(json!({ "version": "v1.33.1+k3s1" }), "v1.33.1-k3s1")]
fn versions(#[case] spec: Value, #[case] tag: &str) {
    assert_eq!(check("dev", spec).unwrap().version, tag);
}

#[test]
fn defaults_follow_the_host() {
    let accepted = check("dev", json!({})).unwrap();
    assert_eq!(
        (accepted.cluster_cidr.as_str(), accepted.service_cidr.as_str()),
        ("10.42.0.0/16", "10.43.0.0/16")
    );
    assert_eq!(accepted.token, None);
}

#[test]
fn a_users_token_is_read_from_the_own_namespace() {
    let spec = json!({ "tokenSecretRef": { "name": "good", "namespace": "k3k-dev" } });
    assert_eq!(check("dev", spec).unwrap().token.as_deref(), Some("secret"));
}

#[test]
fn ranges_do_not_change_under_a_cluster() {
    let status = ClusterStatus { service_cidr: Some("10.43.0.0/16".into()), ..ClusterStatus::default() };
    let spec = |range: &str| ClusterSpec { service_cidr: Some(range.into()), ..ClusterSpec::default() };
    let error = cluster(&site("dev"), &spec("10.53.0.0/16"), Some(&status), &observed()).unwrap_err();
    assert!(error.to_string().starts_with("spec.serviceCIDR: it cannot become \"10.53.0.0/16\""), "{error}");
    cluster(&site("dev"), &spec("10.43.0.0/16"), Some(&status), &observed()).unwrap();
}

#[test]
fn the_policy_decides_on_the_mode() {
    let missing = Observed { policy_name: Some("p".into()), ..observed() };
    let error = cluster(&site("dev"), &ClusterSpec::default(), None, &missing).unwrap_err();
    assert_eq!(error.category(), "PolicyMissing");

    let policy = serde_json::from_value(json!({ "allowedMode": "virtual" })).unwrap();
    let other = Observed { policy_name: Some("p".into()), policy: Some(policy), ..observed() };
    let error = cluster(&site("dev"), &ClusterSpec::default(), None, &other).unwrap_err();
    let want = "spec.mode: mode \"shared\" is not allowed by the policy \"p\", which allows \"virtual\"";
    assert_eq!(error.to_string(), want);
}

#[rstest]
#[case(json!({ "allowedMode": "virtual" }), json!({}), Some("spec.mode: servers and agents in mode virtual are privileged, and the policy \"p\" allows no privileges"))]
#[case(json!({ "allowedMode": "virtual", "podSecurity": { "controlPlane": "RequireSandbox", "sandboxRuntimeClasses": ["kata"] } }), json!({}), Some("spec.mode: "))]
#[case(json!({ "allowedMode": "virtual", "podSecurity": { "controlPlane": "RequireSandbox", "sandboxRuntimeClasses": ["kata"] } }), json!({ "runtimeClassName": "kata" }), None)]
#[case(json!({ "allowedMode": "virtual", "podSecurity": { "controlPlane": "Allow" } }), json!({}), None)]
#[case(json!({ "allowedMode": "virtual", "podSecurity": { "controlPlane": "Allow" }, "securityContext": { "privileged": false } }), json!({}),
    Some("spec.securityContext.privileged: a node cannot be run with it (as the policy \"p\" has it)"))]
fn the_policy_decides_on_privileges(
    #[case] policy: Value,
    #[case] more: Value,
    #[case] message: Option<&str>,
) {
    let policy = serde_json::from_value(policy).unwrap();
    let observed = Observed { policy_name: Some("p".into()), policy: Some(policy), ..observed() };
    let mut spec: ClusterSpec = serde_json::from_value(more).unwrap();
    spec.mode = Some(k3k_api::v1beta1::Mode::Virtual);
    let error = cluster(&site("dev"), &spec, None, &observed).map_err(|error| error.to_string()).err();
    match message {
        None => assert_eq!(error, None),
        Some(begin) => assert!(error.as_deref().is_some_and(|error| error.starts_with(begin)), "{error:?}"),
    }
}

#[test]
fn volumes_do_not_change_under_a_cluster() {
    let with = |claims: Value| {
        let server = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "k3k-dev-server" },
            "spec": { "volumeClaimTemplates": claims } });
        let live = HashMap::from([(
            (Kind::StatefulSet, "k3k-dev-server".into()),
            serde_json::from_value(server).unwrap(),
        )]);
        Observed { live: Live(live), ..observed() }
    };
    let check = |spec: Value, claims: Value| {
        cluster(&site("dev"), &serde_json::from_value(spec).unwrap(), None, &with(claims))
            .map_err(|error| error.to_string())
    };
    let (ephemeral, dynamic) = (json!({ "persistence": { "type": "ephemeral" } }), json!({}));
    let claim = json!([{ "spec": { "storageClassName": "slow" } }]);
    check(ephemeral.clone(), Value::Null).unwrap();
    check(dynamic.clone(), claim.clone()).unwrap();
    assert!(
        check(ephemeral, claim.clone()).unwrap_err().starts_with("spec.persistence.type: it was \"dynamic\"")
    );
    assert!(
        check(dynamic, Value::Null).unwrap_err().starts_with("spec.persistence.type: it was \"ephemeral\"")
    );
    let fast = json!({ "persistence": { "storageClassName": "fast" } });
    let error = check(fast, claim).unwrap_err();
    assert!(error.starts_with("spec.persistence.storageClassName: it was \"slow\""), "{error}");
}

#[rstest]
#[case(json!({ "tenancy": { "clustersPerNamespace": "Single" } }), Some("dev"), true)]
#[case(json!({ "tenancy": { "clustersPerNamespace": "Single" } }), None, false)]
#[case(json!({ "tenancy": { "clustersPerNamespace": "Multiple" } }), Some("dev"), false)]
#[case(json!({}), Some("dev"), false)]
fn a_namespace_may_have_room_for_one(
    #[case] policy: Value,
    #[case] older: Option<&str>,
    #[case] refused: bool,
) {
    let policy = serde_json::from_value(policy).unwrap();
    let observed = Observed {
        policy_name: Some("p".into()),
        policy: Some(policy),
        older: older.map(str::to_owned),
        ..observed()
    };
    let judged = cluster(&site("next"), &ClusterSpec::default(), None, &observed);
    let message = judged.map_err(|error| error.to_string()).err();
    let want = "metadata.namespace: the policy \"p\" allows one cluster in a namespace, and \"dev\" is there";
    assert_eq!(message.as_ref().is_some_and(|message| message.starts_with(want)), refused, "{message:?}");
}

#[test]
fn nothing_begins_before_the_policy_is_in_force() {
    let policy = serde_json::from_value(json!({})).unwrap();
    let mut observed = Observed {
        policy_name: Some("p".into()),
        policy: Some(policy),
        policy_in_force: false,
        ..observed()
    };
    let judge = |observed: &Observed| cluster(&site("dev"), &ClusterSpec::default(), None, observed);
    let error = judge(&observed).unwrap_err();
    assert_eq!((error.category(), error.is_terminal(), error.is_transient()), ("NotYet", false, true));
    let server = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "k3k-dev-server" },
        "spec": { "volumeClaimTemplates": [{ "spec": {} }] } });
    observed
        .live
        .0
        .insert((Kind::StatefulSet, "k3k-dev-server".into()), serde_json::from_value(server).unwrap());
    judge(&observed).unwrap();
}
