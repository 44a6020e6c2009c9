use super::*;
use PodSecurityLevel::{Baseline, Privileged, Restricted};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};

mod arbitrary;

/// What Restricted wants of every container.
fn hardened() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// Puts `more` over `base`, field by field.
fn merge(base: &mut Value, more: &Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, more) => more.clone_into(base),
    }
}

fn merged(mut base: Value, more: &Value) -> Value {
    merge(&mut base, more);
    base
}

/// A pod that Restricted allows, with `more` over it.
fn pod(more: &Value) -> Value {
    let container = json!({"name": "web", "image": "i", "securityContext": hardened()});
    json!({"spec": merged(json!({"containers": [container]}), more)})
}

fn findings(pod: &Value, level: PodSecurityLevel) -> Vec<Finding> {
    check(&Subject::pod(pod).unwrap(), level)
}

fn found(pod: &Value, level: PodSecurityLevel) -> Vec<(&'static str, PodSecurityLevel, String)> {
    let findings = findings(pod, level);
    findings.into_iter().map(|finding| (finding.rule, finding.level, finding.field)).collect()
}

/// Asserts that `pod` breaks one rule in one place, from `least` on, and returns what was found under Restricted.
fn assert_broken(pod: &Value, rule: &'static str, least: PodSecurityLevel, field: &str) -> Finding {
    let broken = [(rule, least, field.to_owned())];
    assert_eq!(found(pod, Restricted), broken);
    assert_eq!(found(pod, Baseline), if least == Baseline { &broken[..] } else { &[] });
    assert_eq!(found(pod, Privileged), []);
    findings(pod, Restricted).remove(0)
}

/// Each fault of a pod with its allowed twin: the same place, harmless.
#[rstest]
#[case::network(HOST_NAMESPACES, Baseline, "spec.hostNetwork", json!({"hostNetwork": true}), json!({"hostNetwork": false}))]
#[case::pid(HOST_NAMESPACES, Baseline, "spec.hostPID", json!({"hostPID": true}), json!({"hostPID": false}))]
#[case::ipc(HOST_NAMESPACES, Baseline, "spec.hostIPC", json!({"hostIPC": true}), json!({"hostIPC": null}))]
#[case::host_process(HOST_PROCESS, Baseline, "spec.securityContext.windowsOptions.hostProcess",
    json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
    json!({"securityContext": {"windowsOptions": {"hostProcess": false}}}))]
#[case::sysctl(SYSCTLS, Baseline, "spec.securityContext.sysctls[1].name",
    json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_wmem", "value": "1"}, {"name": "kernel.msgmax", "value": "1"}]}}),
    json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_wmem", "value": "1"}, {"name": "net.ipv4.tcp_rmem", "value": "1"}]}}))]
#[case::sysctl_with_slashes(SYSCTLS, Baseline, "spec.securityContext.sysctls[0].name",
    json!({"securityContext": {"sysctls": [{"name": "net/ipv4/tcp_syncookies", "value": "1"}]}}),
    json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]}}))]
#[case::se_linux_type(SE_LINUX, Baseline, "spec.securityContext.seLinuxOptions.type",
    json!({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}),
    json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t", "level": "s0:c1"}}}))]
#[case::se_linux_user(SE_LINUX, Baseline, "spec.securityContext.seLinuxOptions.user",
    json!({"securityContext": {"seLinuxOptions": {"user": "system_u"}}}),
    json!({"securityContext": {"seLinuxOptions": {"user": "", "role": "", "type": ""}}}))]
#[case::app_armor(APP_ARMOR, Baseline, "spec.securityContext.appArmorProfile.type",
    json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
    json!({"securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}}}))]
#[case::seccomp(SECCOMP, Baseline, "spec.securityContext.seccompProfile.type",
    json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
    json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "p"}}}))]
#[case::run_as_non_root(RUN_AS_NON_ROOT, Restricted, "spec.securityContext.runAsNonRoot",
    json!({"securityContext": {"runAsNonRoot": false}}), json!({"securityContext": {"runAsNonRoot": true}}))]
#[case::run_as_user(RUN_AS_USER, Restricted, "spec.securityContext.runAsUser",
    json!({"securityContext": {"runAsUser": 0}}), json!({"securityContext": {"runAsUser": 1}}))]
#[case::host_path(HOST_PATH, Baseline, "spec.volumes[1].hostPath.path",
    json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/"}}]}),
    json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"secretName": "hostPath"}}]}))]
#[case::nfs(VOLUME_TYPES, Restricted, "spec.volumes[0].nfs",
    json!({"volumes": [{"name": "a", "nfs": {"server": "s", "path": "/"}}]}),
    json!({"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "nfs"}}]}))]
fn pods(
    #[case] rule: &'static str,
    #[case] least: PodSecurityLevel,
    #[case] field: &str,
    #[case] bad: Value,
    #[case] good: Value,
) {
    assert_eq!(assert_broken(&pod(&bad), rule, least, field).container, "");
    assert_eq!(found(&pod(&good), Restricted), []);
}

/// Fields of a container are judged in whatever list it stands.
#[rstest]
#[case::privileged(PRIVILEGED, Baseline, "securityContext.privileged",
    json!({"securityContext": {"privileged": true}}), json!({"securityContext": {"privileged": false}}))]
#[case::host_process(HOST_PROCESS, Baseline, "securityContext.windowsOptions.hostProcess",
    json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}), json!({"securityContext": {"windowsOptions": {}}}))]
#[case::host_port(HOST_PORTS, Baseline, "ports[1].hostPort",
    json!({"ports": [{"containerPort": 1}, {"containerPort": 2, "hostPort": 80}]}),
    json!({"ports": [{"containerPort": 1}, {"containerPort": 2, "hostPort": 0}]}))]
#[case::liveness(HOST_PROBES, Baseline, "livenessProbe.httpGet.host",
    json!({"livenessProbe": {"httpGet": {"port": 1, "host": "169.254.169.254"}}}), json!({"livenessProbe": {"httpGet": {"port": 1}}}))]
#[case::readiness(HOST_PROBES, Baseline, "readinessProbe.tcpSocket.host",
    json!({"readinessProbe": {"tcpSocket": {"port": 1, "host": "h"}}}), json!({"readinessProbe": {"tcpSocket": {"port": 1, "host": ""}}}))]
#[case::startup(HOST_PROBES, Baseline, "startupProbe.httpGet.host",
    json!({"startupProbe": {"httpGet": {"port": 1, "host": "127.0.0.1"}}}), json!({"startupProbe": {"grpc": {"port": 1}}}))]
#[case::post_start(HOST_PROBES, Baseline, "lifecycle.postStart.httpGet.host",
    json!({"lifecycle": {"postStart": {"httpGet": {"port": 1, "host": "h"}}}}), json!({"lifecycle": {"postStart": {"exec": {}}}}))]
#[case::pre_stop(HOST_PROBES, Baseline, "lifecycle.preStop.tcpSocket.host",
    json!({"lifecycle": {"preStop": {"tcpSocket": {"port": 1, "host": "h"}}}}), json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}))]
#[case::capability(CAPABILITIES, Baseline, "securityContext.capabilities.add[1]",
    json!({"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE", "NET_RAW"]}}}),
    json!({"securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}}))]
#[case::all_capabilities(CAPABILITIES, Baseline, "securityContext.capabilities.add[0]",
    json!({"securityContext": {"capabilities": {"add": ["ALL"]}}}), json!({"securityContext": {"capabilities": {"add": []}}}))]
#[case::prefixed_capability(CAPABILITIES, Baseline, "securityContext.capabilities.add[0]",
    json!({"securityContext": {"capabilities": {"add": ["CAP_CHOWN"]}}}), json!({"securityContext": {"capabilities": {"add": null}}}))]
#[case::usual_capability(CAPABILITIES, Restricted, "securityContext.capabilities.add[0]",
    json!({"securityContext": {"capabilities": {"add": ["CHOWN"]}}}), json!({"securityContext": {}}))]
#[case::kept_capabilities(CAPABILITIES, Restricted, "securityContext.capabilities.drop",
    json!({"securityContext": {"capabilities": {"drop": ["all"]}}}), json!({"securityContext": {"capabilities": {"drop": ["KILL", "ALL"]}}}))]
#[case::no_capabilities(CAPABILITIES, Restricted, "securityContext.capabilities.drop",
    json!({"securityContext": {"capabilities": null}}), json!({}))]
#[case::proc_mount(PROC_MOUNT, Baseline, "securityContext.procMount",
    json!({"securityContext": {"procMount": "Unmasked"}}), json!({"securityContext": {"procMount": "Default"}}))]
#[case::se_linux_role(SE_LINUX, Baseline, "securityContext.seLinuxOptions.role",
    json!({"securityContext": {"seLinuxOptions": {"role": "r"}}}), json!({"securityContext": {"seLinuxOptions": {"type": "container_kvm_t"}}}))]
#[case::app_armor(APP_ARMOR, Baseline, "securityContext.appArmorProfile.type",
    json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}), json!({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}))]
#[case::seccomp(SECCOMP, Baseline, "securityContext.seccompProfile.type",
    json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}), json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}}))]
#[case::no_seccomp(SECCOMP, Restricted, "securityContext.seccompProfile.type",
    json!({"securityContext": {"seccompProfile": null}}), json!({}))]
#[case::may_escalate(ALLOW_PRIVILEGE_ESCALATION, Restricted, "securityContext.allowPrivilegeEscalation",
    json!({"securityContext": {"allowPrivilegeEscalation": true}}), json!({"securityContext": {"allowPrivilegeEscalation": false}}))]
#[case::may_escalate_by_default(ALLOW_PRIVILEGE_ESCALATION, Restricted, "securityContext.allowPrivilegeEscalation",
    json!({"securityContext": {"allowPrivilegeEscalation": null}}), json!({}))]
#[case::root(RUN_AS_NON_ROOT, Restricted, "securityContext.runAsNonRoot",
    json!({"securityContext": {"runAsNonRoot": false}}), json!({"securityContext": {"runAsNonRoot": true}}))]
#[case::perhaps_root(RUN_AS_NON_ROOT, Restricted, "securityContext.runAsNonRoot",
    json!({"securityContext": {"runAsNonRoot": null}}), json!({}))]
#[case::user_0(RUN_AS_USER, Restricted, "securityContext.runAsUser",
    json!({"securityContext": {"runAsUser": 0}}), json!({"securityContext": {"runAsUser": 1000}}))]
fn containers(
    #[case] rule: &'static str,
    #[case] least: PodSecurityLevel,
    #[case] field: &str,
    #[case] bad: Value,
    #[case] good: Value,
    #[values("containers", "initContainers", "ephemeralContainers")] list: &str,
    #[values(None, Some("Always"))] restart: Option<&str>,
) {
    let with = |fields: &Value| {
        let base =
            json!({"name": "second", "image": "i", "restartPolicy": restart, "securityContext": hardened()});
        let first = json!({"name": "first", "image": "i", "securityContext": hardened()});
        pod(&json!({list: [first, merged(base, fields)]}))
    };
    let finding = assert_broken(&with(&bad), rule, least, &format!("spec.{list}[1].{field}"));
    assert_eq!(finding.container, "second");
    assert_eq!(found(&with(&good), Restricted), []);
}

/// What the pod says holds for the containers that say nothing.
#[rstest]
#[case("runAsNonRoot", json!(true), json!(false))]
#[case("seccompProfile", json!({"type": "RuntimeDefault"}), json!({"type": "Unconfined"}))]
fn pods_speak_for_their_containers(#[case] field: &str, #[case] good: Value, #[case] bad: Value) {
    let with = |whole: &Value, own: &Value| {
        let security = merged(hardened(), &json!({field: own}));
        let container = json!({"name": "a", "image": "i", "securityContext": security});
        let spec = pod(&json!({"containers": [container], "securityContext": {field: whole}}));
        found(&spec, Restricted).into_iter().map(|(_, _, field)| field).collect::<Vec<_>>()
    };
    let dotted = if bad.is_object() { format!("{field}.type") } else { field.to_owned() };
    let (of_pod, of_container) =
        (format!("spec.securityContext.{dotted}"), format!("spec.containers[0].securityContext.{dotted}"));
    assert_eq!(with(&good, &Value::Null), [""; 0]);
    assert_eq!(with(&Value::Null, &Value::Null), [of_container.as_str()]);
    assert_eq!(with(&good, &bad), [of_container.as_str()], "a container may say otherwise");
    assert_eq!(with(&bad, &Value::Null), [of_pod.as_str()], "said once");
    assert_eq!(with(&bad, &good), [of_pod.as_str()], "wrong although nobody heeds it");
    assert_eq!(with(&bad, &bad), [of_pod.as_str(), of_container.as_str()]);
}

#[test]
fn windows_need_not_set_what_only_linux_has() {
    let bare = |os: &str| {
        let container = json!({"name": "a", "image": "i", "securityContext": {"runAsNonRoot": true}});
        found(&pod(&json!({"os": {"name": os}, "containers": [container]})), Restricted).len()
    };
    assert_eq!((bare("windows"), bare("linux"), bare("Windows")), (0, 3, 3));
    let spec = pod(&json!({"os": {"name": "windows"}, "containers": [{"name": "a", "image": "i"}]}));
    assert_eq!(found(&spec, Restricted)[0].0, RUN_AS_NON_ROOT, "as anywhere");
}

#[test]
fn root_is_harmless_among_users_of_its_own() {
    let spec = |own: bool| {
        let security =
            merged(hardened(), &json!({"runAsNonRoot": false, "runAsUser": 0, "procMount": "Unmasked"}));
        pod(&json!({
            "hostUsers": !own,
            "securityContext": {"runAsNonRoot": false, "runAsUser": 0},
            "containers": [{"name": "a", "image": "i", "securityContext": security}],
        }))
    };
    assert_eq!(found(&spec(false), Restricted).len(), 5);
    assert_eq!(found(&spec(false), Baseline).len(), 1);
    assert_broken(&spec(true), PROC_MOUNT, Restricted, "spec.containers[0].securityContext.procMount");
}

#[rstest]
#[case("unconfined", true)]
#[case("Unconfined", true)]
#[case("localhost", true)]
#[case("localhost/mine", false)]
#[case("runtime/default", false)]
#[case("", false)]
fn app_armor_by_annotation(#[case] value: &str, #[case] forbidden: bool) {
    let key = format!("container.apparmor.security.beta.kubernetes.io/{}", "web");
    let annotations = json!({
        key.clone(): value,
        "container.seccomp.security.alpha.kubernetes.io/web": "unconfined",
        "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
    });
    let annotated = |more: &Value| merged(pod(more), &json!({"metadata": {"annotations": annotations}}));
    let findings = findings(&annotated(&json!({})), Baseline);
    assert_eq!(findings.len(), usize::from(forbidden));
    for finding in findings {
        assert_eq!((finding.rule, finding.container.as_str()), (APP_ARMOR, "web"));
        assert_eq!(finding.field, format!("metadata.annotations[{key}]"));
        // As the API server has it after copying one to the other: found once.
        let both = annotated(&json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}));
        assert_eq!(
            found(&both, Baseline),
            [(APP_ARMOR, Baseline, "spec.securityContext.appArmorProfile.type".to_owned())]
        );
    }
}

#[test]
fn ports_of_a_pod_in_the_nodes_network_are_told_once() {
    let with = |port: Value| {
        let container = json!({"name": "web", "image": "i", "ports": [port], "securityContext": hardened()});
        found(&pod(&json!({"hostNetwork": true, "containers": [container]})), Baseline).len()
    };
    assert_eq!(with(json!({"containerPort": 80, "hostPort": 80})), 1);
    assert_eq!(with(json!({"containerPort": 80, "hostPort": 81})), 2, "not the API server's doing");
}

/// Every kind of volume of the version that we are compiled against, and one of a later one.
#[test]
fn volumes_of_every_kind_are_judged() {
    let allowed = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let forbidden = [
        "awsElasticBlockStore",
        "azureDisk",
        "azureFile",
        "cephfs",
        "cinder",
        "fc",
        "flexVolume",
        "flocker",
        "gcePersistentDisk",
        "gitRepo",
        "glusterfs",
        "iscsi",
        "nfs",
        "photonPersistentDisk",
        "portworxVolume",
        "quobyte",
        "rbd",
        "scaleIO",
        "storageos",
        "vsphereVolume",
    ];
    let with = |kind: &str| pod(&json!({"volumes": [{"name": "v", kind: {}}]}));
    for kind in allowed {
        assert_eq!(found(&with(kind), Restricted), [], "{kind}");
    }
    for kind in forbidden {
        assert_broken(&with(kind), VOLUME_TYPES, Restricted, &format!("spec.volumes[0].{kind}"));
    }
    let unknown = assert_broken(&with("brandNew"), VOLUME_TYPES, Restricted, "spec.volumes[0]");
    assert_eq!(unknown.found, "of an unknown type (volume \"v\")");
    assert_broken(&with("hostPath"), HOST_PATH, Baseline, "spec.volumes[0].hostPath.path");
}

#[test]
fn findings_read_as_sentences_and_stand_in_field_order() {
    let spec = pod(&json!({
        "hostPID": true,
        "containers": [{"name": "web", "image": "i", "securityContext": {"capabilities": {"add": ["CHOWN"], "drop": ["KILL"]}}}],
        "initContainers": [{"name": "first", "image": "i", "securityContext": merged(hardened(), &json!({"privileged": true}))}],
        "volumes": [{"name": "data", "nfs": {"server": "s", "path": "/"}}],
    }));
    let lines: Vec<String> = findings(&spec, Restricted)
        .iter()
        .map(|finding| {
            format!(
                "{}: {} is {}, but it allows {}",
                finding.rule, finding.field, finding.found, finding.allowed
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    podSecurity.hostNamespaces: spec.hostPID is true, but it allows only false or no value
    podSecurity.capabilities: spec.containers[0].securityContext.capabilities.add[0] is "CHOWN", but it allows only "NET_BIND_SERVICE"
    podSecurity.capabilities: spec.containers[0].securityContext.capabilities.drop is ["KILL"], but it allows only a list with "ALL" in it
    podSecurity.seccomp: spec.containers[0].securityContext.seccompProfile.type is not set, but it allows only "RuntimeDefault" or "Localhost", here or in spec.securityContext
    podSecurity.allowPrivilegeEscalation: spec.containers[0].securityContext.allowPrivilegeEscalation is not set, but it allows only false
    podSecurity.runAsNonRoot: spec.containers[0].securityContext.runAsNonRoot is not set, but it allows only true, here or in spec.securityContext
    podSecurity.privileged: spec.initContainers[0].securityContext.privileged is true, but it allows only false or no value
    podSecurity.volumeTypes: spec.volumes[0].nfs is set (volume "data"), but it allows only configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected and secret volumes
    "#);
}

#[test]
fn rules_are_listed_once() {
    let mut rules = RULES.to_vec();
    rules.sort_unstable();
    rules.dedup();
    assert_eq!(rules.len(), RULES.len());
    assert!(rules.iter().all(|rule| rule.starts_with("podSecurity.")));
}
