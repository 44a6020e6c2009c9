//! Pods of any kind: every field that a rule reads, with values of every kind.

use super::*;
use std::collections::BTreeMap;

type Fields = BoxedStrategy<Vec<(String, Value)>>;

/// Each of `fields`, or not; the value is one of a few.
fn fields(fields: &[(&str, Vec<Value>)]) -> Fields {
    let each: Vec<_> = fields
        .iter()
        .map(|(name, values)| {
            prop::option::of((Just((*name).to_owned()), prop::sample::select(values.clone())))
        })
        .collect();
    each.prop_map(|chosen| chosen.into_iter().flatten().collect()).boxed()
}

fn object(strategy: Fields) -> BoxedStrategy<Value> {
    strategy.prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())).boxed()
}

fn texts(values: &[&str]) -> Vec<Value> {
    values.iter().map(|value| json!(value)).collect()
}

fn typed(values: &[&str]) -> Vec<Value> {
    values.iter().map(|value| json!({"type": value})).collect()
}

fn security() -> BoxedStrategy<Value> {
    let flags = vec![json!(true), json!(false)];
    let profiles = typed(&["RuntimeDefault", "Localhost", "Unconfined", "", "runtime/default"]);
    let capabilities = ["ALL", "NET_BIND_SERVICE", "CHOWN", "SYS_ADMIN", "CAP_CHOWN", "chown", ""];
    let capabilities: Vec<Value> = capabilities
        .iter()
        .flat_map(|one| {
            [json!({"add": [one]}), json!({"drop": [one]}), json!({"add": ["KILL", one], "drop": ["ALL"]})]
        })
        .collect();
    let se_linux = ["", "container_t", "container_engine_t", "spc_t"];
    let se_linux = se_linux
        .iter()
        .flat_map(|one| [json!({"type": one}), json!({"user": one}), json!({"role": one, "level": "s0"})]);
    object(fields(&[
        ("privileged", flags.clone()),
        ("allowPrivilegeEscalation", flags.clone()),
        ("runAsNonRoot", flags),
        ("runAsUser", vec![json!(0), json!(1), json!(-1)]),
        ("procMount", texts(&["Default", "Unmasked", ""])),
        ("capabilities", capabilities),
        ("seLinuxOptions", se_linux.collect()),
        ("appArmorProfile", profiles.clone()),
        ("seccompProfile", profiles),
        ("windowsOptions", vec![json!({}), json!({"hostProcess": true}), json!({"hostProcess": false})]),
        (
            "sysctls",
            vec![json!([{"name": "kernel.msgmax", "value": ""}, {"name": "net.ipv4.tcp_rmem", "value": ""}])],
        ),
    ]))
}

fn container() -> BoxedStrategy<Value> {
    let actions = vec![
        json!({"httpGet": {"port": 1, "host": "h"}}),
        json!({"tcpSocket": {"port": "p", "host": ""}}),
        json!({"tcpSocket": {"port": "p", "host": "10.0.0.1"}, "httpGet": {"port": 1}}),
        json!({"exec": {}}),
    ];
    let hooks: Vec<Value> =
        actions.iter().flat_map(|hook| [json!({"postStart": hook}), json!({"preStop": hook})]).collect();
    let ports = [None, Some(0), Some(1), Some(-1), Some(70_000)];
    let ports = ports.iter().map(|port| json!([{"containerPort": 1, "hostPort": port}])).collect();
    let rest = fields(&[
        ("livenessProbe", actions.clone()),
        ("readinessProbe", actions.clone()),
        ("startupProbe", actions),
        ("lifecycle", hooks),
        ("ports", ports),
    ]);
    (prop::sample::select(vec!["a", "b", ""]), prop::option::of(security()), rest)
        .prop_map(|(name, security, rest)| {
            let mut container = json!({"name": name, "securityContext": security});
            container.as_object_mut().unwrap().extend(rest);
            container
        })
        .boxed()
}

fn spec() -> BoxedStrategy<Value> {
    let flags = vec![json!(true), json!(false)];
    let kinds = ["hostPath", "nfs", "emptyDir", "image", "storageos", "brandNew"];
    let volume = prop::sample::subsequence(kinds.to_vec(), 0..3).prop_map(|kinds| {
        let mut volume = json!({"name": "v"});
        for kind in kinds {
            volume[kind] = json!({});
        }
        volume
    });
    let pod = fields(&[
        ("hostNetwork", flags.clone()),
        ("hostPID", flags.clone()),
        ("hostIPC", flags.clone()),
        ("hostUsers", flags),
        ("os", vec![json!({"name": "windows"}), json!({"name": "linux"})]),
    ]);
    let list = || prop::option::of(prop::collection::vec(container(), 0..3));
    (pod, prop::option::of(security()), (list(), list(), list()), prop::collection::vec(volume, 0..3))
        .prop_map(|(fields, security, (containers, first, debug), volumes)| {
            let mut spec = json!({
                "containers": containers, "initContainers": first, "ephemeralContainers": debug,
                "securityContext": security, "volumes": volumes,
            });
            spec.as_object_mut().unwrap().extend(fields);
            spec
        })
        .boxed()
}

fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let keys = [
        "container.apparmor.security.beta.kubernetes.io/a",
        "container.apparmor.security.beta.kubernetes.io/",
        "other",
    ];
    let values = ["unconfined", "runtime/default", "localhost/p", ""];
    prop::collection::btree_map(
        prop::sample::select(keys.to_vec()).prop_map(str::to_owned),
        prop::sample::select(values.to_vec()).prop_map(str::to_owned),
        0..3,
    )
}

proptest! {
    /// Whatever a pod says, it is judged; and what the looser level forbids, the stricter one does, too.
    #[test]
    fn a_stricter_level_never_finds_less(spec in spec(), annotations in annotations()) {
        let pod = json!({"metadata": {"annotations": annotations}, "spec": spec});
        let pod = Subject::pod(&pod).unwrap();
        let (baseline, restricted) = (check(&pod, Baseline), check(&pod, Restricted));
        prop_assert_eq!(check(&pod, Privileged), []);
        prop_assert!(baseline.iter().all(|finding| finding.level == Baseline));
        // But for what is allowed instead, the looser findings are those of the stricter level that say so.
        let same = |finding: &Finding| Finding { allowed: "", ..finding.clone() };
        let of_both: Vec<Finding> =
            restricted.iter().filter(|finding| finding.level == Baseline).map(same).collect();
        prop_assert_eq!(baseline.iter().map(same).collect::<Vec<_>>(), of_both);
        for finding in restricted {
            prop_assert!(RULES.contains(&finding.rule));
            prop_assert!(!finding.field.is_empty() && !finding.found.is_empty() && !finding.allowed.is_empty());
        }
    }
}
