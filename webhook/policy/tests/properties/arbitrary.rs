//! Questions and policies of every kind: sound ones, and ones with anything anywhere.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A digest.
pub(crate) const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Images that can be read.
pub(crate) const IMAGES: [&str; 6] = [
    "nginx",
    "nginx:1.27",
    "registry.example.com/team-a/x:1",
    "registry.example.com:443/team-b/x",
    "nginx@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "busybox:1.36",
];

/// An image that cannot be read.
pub(crate) const UNREADABLE: &str = "registry.example.com./team-a/x";

/// Some of `fields`, each with one of its values.
pub(crate) fn some(fields: Vec<(&'static str, Vec<Value>)>) -> BoxedStrategy<Value> {
    let each: Vec<_> = fields
        .into_iter()
        .map(|(name, values)| prop::option::of((Just(name.to_owned()), prop::sample::select(values))))
        .collect();
    each.prop_map(|chosen| Value::Object(chosen.into_iter().flatten().collect::<Map<_, _>>())).boxed()
}

const KEYS: &[&str] = &[
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "ownerReferences",
    "k3k.io/clusterName",
    "k3k.io/component",
    "k3k.io/namespace",
    "kubernetes.io/config.mirror",
    "spec",
    "template",
    "jobTemplate",
    "containers",
    "initContainers",
    "ephemeralContainers",
    "image",
    "imagePullPolicy",
    "securityContext",
    "capabilities",
    "add",
    "volumes",
    "hostPath",
    "path",
    "secret",
    "secretName",
    "projected",
    "sources",
    "serviceAccountToken",
    "ephemeral",
    "volumeClaimTemplate",
    "dataSource",
    "resources",
    "limits",
    "requests",
    "cpu",
    "memory",
    "tolerations",
    "key",
    "nodeSelector",
    "affinity",
    "podAntiAffinity",
    "topologyKey",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
    "podAffinityTerm",
    "namespaceSelector",
    "namespaces",
    "rules",
    "host",
    "tls",
    "hosts",
    "defaultBackend",
    "selector",
    "externalIPs",
    "ports",
    "nodePort",
    "addons",
    "secretNamespace",
    "secretMounts",
    "mountPath",
    "expose",
    "ingress",
    "tlsSANs",
    "version",
    "mode",
    "subjects",
    "roleRef",
    "type",
    "driver",
    "csi",
];

const TEXTS: &[&str] = &[
    "",
    "/",
    "..",
    "*",
    "**",
    "k3k-ca-certificates",
    "x-default-ca-782b64656661756c742b6361",
    "k3k-ö-kubelet",
    "a-éé",
    "-zz",
    "nginx:1",
    "@",
    "sha256:",
    "1Gi",
    "-1",
    "9999999999999999999",
    "1e9999",
    "true",
    "ClusterIP",
];

/// Any JSON, of keys and values that mean something to somebody.
pub(crate) fn anything() -> BoxedStrategy<Value> {
    let keys = prop::sample::select(KEYS);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(TEXTS).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec((keys.clone(), inner.clone()), 0..6).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
            prop::collection::vec(inner, 0..3).prop_map(Value::Array),
        ]
    })
    .boxed()
}

fn container(name: &'static str) -> BoxedStrategy<Value> {
    let amounts = vec![
        json!({"cpu": "1"}),
        json!({"cpu": "100", "memory": "1Gi"}),
        json!({"amd.com/gpu": 1}),
        json!(null),
    ];
    let resources = some(vec![("limits", amounts.clone()), ("requests", amounts)]);
    let security = some(vec![
        ("privileged", vec![json!(true), json!(false)]),
        ("allowPrivilegeEscalation", vec![json!(false)]),
        ("runAsNonRoot", vec![json!(true), json!(false)]),
        (
            "capabilities",
            vec![json!({"drop": ["ALL"]}), json!({"add": ["NET_ADMIN"]}), json!({"add": ["SYS_ADMIN"]})],
        ),
        ("seccompProfile", vec![json!({"type": "RuntimeDefault"}), json!({"type": "Unconfined"})]),
    ]);
    let rest = some(vec![
        ("imagePullPolicy", vec![json!("Always"), json!("IfNotPresent"), json!("Never"), json!(null)]),
        ("ports", vec![json!([{"containerPort": 9100, "hostPort": 9100}])]),
        ("restartPolicy", vec![json!("Always")]),
        (
            "env",
            vec![json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": "k3k-cb-token", "key": "k"}}}])],
        ),
    ]);
    (prop::sample::select([&IMAGES[..], &[UNREADABLE]].concat()), resources, security, rest)
        .prop_map(move |(image, resources, security, mut whole)| {
            whole["name"] = name.into();
            whole["image"] = image.into();
            whole["resources"] = resources;
            whole["securityContext"] = security;
            whole
        })
        .boxed()
}

/// A pod that the API server could have read.
pub(crate) fn pod() -> BoxedStrategy<Value> {
    let term = json!({"topologyKey": "rack", "labelSelector": {}, "namespaceSelector": {}});
    let spec = some(vec![
        ("hostPID", vec![json!(true)]),
        ("hostNetwork", vec![json!(true)]),
        ("hostUsers", vec![json!(true), json!(false), json!(null)]),
        ("nodeName", vec![json!("cp-1"), json!("")]),
        ("nodeSelector", vec![json!({"tenant": "b"}), json!({"tenant": "a", "disk": "ssd"}), json!(null)]),
        (
            "tolerations",
            vec![json!([{"operator": "Exists"}]), json!([{"key": "gpu", "operator": "Exists"}]), json!(null)],
        ),
        ("schedulerName", vec![json!("evil"), json!("second"), json!("default-scheduler")]),
        ("priorityClassName", vec![json!("system-node-critical"), json!("low"), json!("high")]),
        ("runtimeClassName", vec![json!("gvisor"), json!("kata"), json!("")]),
        ("serviceAccountName", vec![json!("default"), json!("k3k-ca-kubelet")]),
        ("terminationGracePeriodSeconds", vec![json!(10), json!(500), json!(2_147_483_647)]),
        (
            "topologySpreadConstraints",
            vec![json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}])],
        ),
        (
            "affinity",
            vec![
                json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}),
                json!(null),
                json!({}),
            ],
        ),
        (
            "volumes",
            vec![
                json!([{"name": "v", "hostPath": {"path": "/var/log"}}]),
                json!([{"name": "v", "image": {"reference": "busybox:1.36"}}]),
                json!([{"name": "v", "csi": {"driver": "a"}}, {"name": "w", "nfs": {"server": "s", "path": "/"}}]),
                json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "slow", "dataSource": {"kind": "X", "name": "x"}}}}}]),
                json!([{"name": "v", "emptyDir": {}}]),
            ],
        ),
        ("somethingNew", vec![json!(true)]),
    ]);
    let labels = some(vec![
        ("k3k.io/clusterName", vec![json!("ca"), json!("cb")]),
        ("k3k.io/component", vec![json!("server")]),
        ("app", vec![json!("a")]),
    ]);
    let annotations = some(vec![
        ("k3k.io/namespace", vec![json!("default"), json!("kube-system")]),
        ("k8s.v1.cni.cncf.io/networks", vec![json!("n")]),
        ("a.example/x", vec![json!("v")]),
    ]);
    let init = prop::option::of(prop::collection::vec(container("init"), 0..3));
    (spec, labels, annotations, prop::collection::vec(container("main"), 1..3), init)
        .prop_map(|(mut spec, labels, annotations, containers, init)| {
            // The API server refuses a name that is there twice.
            let named = |mut list: Vec<Value>| {
                for (index, container) in list.iter_mut().enumerate() {
                    container["name"] = format!("{}-{index}", container["name"].as_str().unwrap_or_default()).into();
                }
                Value::from(list)
            };
            spec["containers"] = named(containers);
            if let Some(init) = init {
                spec["initContainers"] = named(init);
            }
            json!({"metadata": {"name": "p", "namespace": "t-a", "labels": labels, "annotations": annotations}, "spec": spec})
        })
        .boxed()
}

/// An object of another kind, with its group and resource.
pub(crate) fn other() -> BoxedStrategy<(&'static str, &'static str, Value)> {
    let metadata = some(vec![
        ("labels", vec![json!({"k3k.io/clusterName": "ca"}), json!({"app": "a"})]),
        (
            "annotations",
            vec![
                json!({"a.example/x": "v"}),
                json!({"reflector.v1.k8s.emberstack.com/reflects": "v"}),
                json!({"kubernetes.io/ingress.class": "other"}),
            ],
        ),
    ]);
    let service = some(vec![
        ("type", ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"].map(Value::from).to_vec()),
        ("loadBalancerClass", vec![json!("internal"), json!("internet")]),
        ("ports", vec![json!([{"port": 1, "nodePort": 30000}]), json!([{"port": 1, "nodePort": 31000}])]),
        ("externalIPs", vec![json!(["10.0.0.1"])]),
    ]);
    let ingress = some(vec![
        ("ingressClassName", vec![json!("nginx"), json!("other")]),
        ("rules", vec![json!([{"host": "x.a.example"}]), json!([{"host": "b.example"}]), json!([{}])]),
        ("defaultBackend", vec![json!({"service": {"name": "s"}})]),
    ]);
    let claim = some(vec![
        ("storageClassName", vec![json!("fast"), json!("slow"), json!("")]),
        ("dataSource", vec![json!({"kind": "PersistentVolumeClaim", "name": "x"})]),
    ]);
    let cluster = some(vec![
        ("mode", vec![json!("shared"), json!("virtual")]),
        ("priorityClass", vec![json!("low"), json!("high")]),
        ("runtimeClassName", vec![json!("gvisor"), json!("kata")]),
        ("tlsSANs", vec![json!(["x.a.example"]), json!(["b.example"])]),
        (
            "expose",
            vec![
                json!({"nodePort": {"serverPort": 30000}}),
                json!({"ingress": {"ingressClassName": "other", "annotations": {"a.example/x": "v"}}}),
            ],
        ),
    ]);
    let spec = prop_oneof![
        service.prop_map(|spec| ("", "services", spec)),
        ingress.prop_map(|spec| ("networking.k8s.io", "ingresses", spec)),
        claim.prop_map(|spec| ("", "persistentvolumeclaims", spec)),
        cluster.prop_map(|spec| ("k3k.io", "clusters", spec)),
        Just(("", "secrets", json!({}))),
    ];
    (metadata, spec)
        .prop_map(|(metadata, (group, resource, spec))| {
            (group, resource, json!({"metadata": metadata, "spec": spec}))
        })
        .boxed()
}
