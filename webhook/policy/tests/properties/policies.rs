//! Policies that can be read.

use crate::arbitrary::{DIGEST, some};
use proptest::prelude::*;
use serde_json::{Value, json};

fn section(
    name: &'static str,
    fields: Vec<(&'static str, Vec<Value>)>,
) -> BoxedStrategy<(String, Option<Value>)> {
    prop::option::of(some(fields)).prop_map(move |section| (name.to_owned(), section)).boxed()
}

/// The spec of a policy that can be read.
pub(crate) fn policy() -> BoxedStrategy<Value> {
    let modes = || ["Audit", "Warn", "Enforce"].map(Value::from).to_vec();
    let exemption = |name: &str, rules: Value, clusters: Value| json!({"name": name, "rules": rules, "clusters": clusters, "reason": "r", "expiresAt": "2027-01-01T00:00:00Z"});
    let privilege = |allow: Value| {
        json!({"virtualNamespaces": ["kube-system", "default"], "allow": allow, "hostPaths": [{"path": "/var"}, {"path": "/x", "readOnly": true}],
               "hostPorts": [{"min": 9100, "max": 9100}], "capabilities": ["NET_ADMIN", "SYS_ADMIN"]})
    };
    let sections = vec![
        section("tenancy", vec![("clustersPerNamespace", vec![json!("Single"), json!("Multiple")])]),
        section(
            "enforcement",
            vec![
                ("mode", modes()),
                (
                    "rules",
                    vec![
                        json!([{"name": "images", "mode": "Warn"}, {"name": "images.registries", "mode": "Enforce"}]),
                        json!([{"name": "podSecurity", "mode": "Audit"}, {"name": "podSecurity.allowedVolumes", "mode": "Warn"}]),
                        json!([{"name": "workloads.storageClass", "mode": "Warn"}]),
                    ],
                ),
                (
                    "exemptions",
                    vec![json!([
                        exemption("a", json!(["podSecurity.capabilities", "images"]), json!([])),
                        exemption("b", json!(["podSecurity"]), json!(["ca"])),
                    ])],
                ),
            ],
        ),
        section(
            "podSecurity",
            vec![
                (
                    "privileged",
                    vec![
                        json!([privilege(json!(["Privileged"])), privilege(json!(["HostPath"]))]),
                        json!([privilege(json!(["HostPort", "Capabilities", "HostNetwork"]))]),
                    ],
                ),
                (
                    "controlPlane",
                    ["Allow", "Deny", "RequireSandbox", "RequireDedicatedNodes"].map(Value::from).to_vec(),
                ),
                ("sandboxRuntimeClasses", vec![json!(["kata", "gvisor"])]),
                ("userNamespaces", ["Allow", "Require", "Forbid"].map(Value::from).to_vec()),
                ("volumeTypes", vec![json!(["EmptyDir", "HostPath", "Image"]), json!(["Csi", "Ephemeral"])]),
                ("csiDrivers", vec![json!(["a", "b"])]),
            ],
        ),
        section(
            "images",
            vec![
                ("digest", ["Off", "Require", "Resolve"].map(Value::from).to_vec()),
                ("pullPolicy", ["Always", "IfNotPresent"].map(Value::from).to_vec()),
                (
                    "allowedRegistries",
                    vec![
                        json!([{"host": "docker.io"}, {"host": "registry.example.com", "repositories": ["team-a/**", "team-b/*"]}]),
                    ],
                ),
                ("resolve", vec![json!({"onFailure": "Admit"}), json!({})]),
                ("pins", vec![json!([{"image": "busybox:1.36", "digest": DIGEST}])]),
            ],
        ),
        section(
            "nodes",
            vec![
                ("placement", ["Shared", "Dedicated", "Exclusive"].map(Value::from).to_vec()),
                ("requiredSelector", vec![json!({"tenant": "a"})]),
                (
                    "tolerations",
                    vec![
                        json!({"required": [{"key": "tenant", "value": "a", "effect": "NoSchedule"}, {"key": "any"}], "allowed": [{"key": "gpu"}, {"key": "x"}]}),
                        json!({}),
                    ],
                ),
                ("schedulers", vec![json!(["default-scheduler", "second"])]),
                ("topologyKeys", vec![json!(["zone", "rack"])]),
            ],
        ),
        section(
            "resources",
            vec![
                (
                    "perPod",
                    vec![
                        json!({"max": {"cpu": "4", "memory": "8Gi"}, "maxContainers": 3}),
                        json!({"maxContainers": 1}),
                    ],
                ),
                (
                    "containers",
                    vec![
                        json!({"defaults": {"requests": {"cpu": "1m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}}, "require": ["Requests"]}),
                        json!({"require": ["MemoryLimit"]}),
                    ],
                ),
                ("extended", vec![json!([]), json!(["amd.com/gpu", "x.example/y"])]),
            ],
        ),
        section(
            "workloads",
            vec![
                ("priorityClasses", vec![json!(["low", "high"])]),
                (
                    "runtimeClasses",
                    vec![json!({"required": "gvisor"}), json!({"allowed": ["gvisor", "kata"]})],
                ),
                (
                    "storageClasses",
                    vec![json!({"allowed": ["fast", "slow"]}), json!({"dataSources": "Deny"})],
                ),
                ("allowedAnnotations", vec![json!(["a.example/*", "k8s.*"])]),
                ("allowedLabels", vec![json!(["app", "x"])]),
                ("maxTerminationGracePeriodSeconds", vec![json!(600), json!(20)]),
            ],
        ),
        section(
            "network",
            vec![
                (
                    "services",
                    vec![
                        json!({"types": ["ClusterIP", "NodePort"], "loadBalancerClasses": ["internal"], "nodePortRange": {"min": 30000, "max": 31999}}),
                        json!({}),
                    ],
                ),
                (
                    "ingresses",
                    vec![
                        json!({"hosts": ["*.a.example", "b.example"], "classes": ["nginx", "other"], "annotations": ["a.example/x"]}),
                        json!({}),
                    ],
                ),
            ],
        ),
    ];
    let levels = ["privileged", "baseline", "restricted"].map(Value::from).to_vec();
    let top = some(vec![
        ("podSecurityAdmissionLevel", levels),
        ("defaultPriorityClass", vec![json!("low")]),
        ("allowedMode", vec![json!("virtual")]),
    ]);
    (sections, top)
        .prop_map(|(sections, mut spec)| {
            for (name, section) in sections {
                if let Some(section) = section {
                    spec[name] = section;
                }
            }
            spec
        })
        .boxed()
}
