//! Ways to make a policy stricter by one step.

use serde_json::{Value, json};

/// Lists of which every entry lets something in, with the fewest entries that they keep: where none means any, the last one stays.
const ALLOWING: &[(&str, usize)] = &[
    ("/enforcement/exemptions", 0),
    ("/podSecurity/privileged", 0),
    ("/podSecurity/privileged/0/allow", 0),
    ("/podSecurity/privileged/0/hostPaths", 0),
    ("/podSecurity/privileged/0/hostPorts", 0),
    ("/podSecurity/privileged/0/capabilities", 0),
    ("/podSecurity/privileged/0/virtualNamespaces", 0),
    ("/podSecurity/sandboxRuntimeClasses", 0),
    ("/podSecurity/volumeTypes", 1),
    ("/podSecurity/csiDrivers", 0),
    ("/images/allowedRegistries", 1),
    ("/images/allowedRegistries/1/repositories", 1),
    ("/images/pins", 0),
    ("/nodes/tolerations/allowed", 0),
    ("/nodes/tolerations/required", 0),
    ("/nodes/schedulers", 1),
    ("/nodes/topologyKeys", 1),
    ("/resources/extended", 0),
    ("/workloads/priorityClasses", 0),
    ("/workloads/runtimeClasses/allowed", 0),
    ("/workloads/storageClasses/allowed", 0),
    ("/workloads/allowedAnnotations", 0),
    ("/workloads/allowedLabels", 0),
    ("/network/services/types", 0),
    ("/network/services/loadBalancerClasses", 0),
    ("/network/ingresses/hosts", 0),
    ("/network/ingresses/classes", 0),
    ("/network/ingresses/annotations", 0),
];

/// Fields whose values get stricter from left to right; null is where it is not said.
const ORDERED: &[(&str, &[&str])] = &[
    ("/podSecurityAdmissionLevel", &["privileged", "baseline", "restricted"]),
    ("/enforcement/mode", &["Audit", "Warn", "Enforce"]),
    ("/enforcement/rules/0/mode", &["Audit", "Warn", "Enforce"]),
    ("/enforcement/rules/1/mode", &["Audit", "Warn", "Enforce"]),
    ("/images/digest", &["Off", "Resolve", "Require"]),
    ("/images/pullPolicy", &["IfNotPresent", "Always"]),
    ("/images/resolve/onFailure", &["Admit", "Deny"]),
    ("/podSecurity/controlPlane", &["Allow", "RequireSandbox", "Deny"]),
    ("/podSecurity/userNamespaces", &["Allow", "Require"]),
    ("/podSecurity/userNamespaces", &["Allow", "Forbid"]),
    ("/tenancy/clustersPerNamespace", &["Multiple", "Single"]),
];

/// Numbers that get stricter as they get less.
const MOST: &[(&str, &str)] = &[
    ("/resources/perPod/max/cpu", "\"500m\""),
    ("/resources/perPod/max/memory", "\"1Mi\""),
    ("/resources/perPod/maxContainers", "1"),
    ("/workloads/maxTerminationGracePeriodSeconds", "5"),
    ("/network/services/nodePortRange/max", "30500"),
];

/// Sections that only take away, where they were not there.
const ADDED: &[(&str, &str, &str)] = &[
    ("/images", "allowedRegistries", r#"[{"host": "registry.example.com"}]"#),
    ("/images", "pullPolicy", r#""IfNotPresent""#),
    ("/nodes", "requiredSelector", r#"{"tenant": "a"}"#),
    ("/nodes", "tolerations", "{}"),
    ("/nodes", "topologyKeys", r#"["zone"]"#),
    ("/resources", "extended", "[]"),
    ("/resources", "containers", r#"{"require": ["CPULimit"]}"#),
    ("/workloads", "priorityClasses", "[]"),
    ("/workloads", "runtimeClasses", r#"{"required": "gvisor"}"#),
    ("/workloads", "storageClasses", r#"{"allowed": [], "dataSources": "Deny"}"#),
    ("/workloads", "allowedLabels", "[]"),
    ("/workloads", "maxTerminationGracePeriodSeconds", "15"),
    ("/podSecurity", "volumeTypes", r#"["ConfigMap"]"#),
];

/// Every spec that is stricter than `spec` by one step, with what was done.
pub(crate) fn all(spec: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (pointer, fewest) in ALLOWING {
        let Some(list) = spec.pointer(pointer).and_then(Value::as_array) else { continue };
        for index in 0..list.len() {
            if list.len() > *fewest {
                let mut stricter = spec.clone();
                if let Some(list) = stricter.pointer_mut(pointer).and_then(Value::as_array_mut) {
                    list.remove(index);
                }
                all.push((format!("without {pointer}/{index}"), stricter));
            }
        }
    }
    for (pointer, order) in ORDERED {
        let Some(now) = spec.pointer(pointer).and_then(Value::as_str) else { continue };
        let Some(at) = order.iter().position(|one| *one == now) else { continue };
        for next in &order[at + 1..] {
            let mut stricter = spec.clone();
            if let Some(value) = stricter.pointer_mut(pointer) {
                *value = json!(next);
            }
            all.push((format!("{pointer} from {now} to {next}"), stricter));
        }
    }
    for (pointer, less) in MOST {
        let mut stricter = spec.clone();
        if let Some(value) = stricter.pointer_mut(pointer) {
            *value = serde_json::from_str(less).expect("JSON");
            all.push((format!("{pointer} down to {less}"), stricter));
        }
    }
    for (section, field, value) in ADDED {
        let mut stricter = spec.clone();
        if stricter.pointer(section).is_none() {
            stricter[section.trim_start_matches('/')] = json!({});
        }
        let section = stricter.pointer_mut(section).expect("it was made");
        if section.get(field).is_none() {
            section[field] = serde_json::from_str(value).expect("JSON");
            all.push((format!("with {field}"), stricter));
        }
    }
    all
}
