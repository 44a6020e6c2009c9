use super::*;
use rstest::rstest;

fn context() -> Context {
    Context {
        owner: Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c-uid".into() },
        node_name: "k3k-dev".into(),
        node_ip: "10.96.3.3".into(),
        server_ip: "10.96.1.1".into(),
        dns_ip: "10.96.2.2".into(),
        cluster_domain: "cluster.local".into(),
        mirrors_nodes: false,
        node_selector: BTreeMap::new(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn pod(spec: Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "p-uid", "labels": {"app": "web"}, "annotations": {"note": "n"}},
        "spec": spec,
    })
}

/// A pod as the nested API server leaves it after admission and scheduling.
fn admitted() -> Value {
    pod(json!({
        "containers": [{
            "name": "c", "image": "busybox:1.36", "imagePullPolicy": "IfNotPresent", "resources": {},
            "env": [
                {"name": "WHO", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['note']"}}},
                {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "level", "optional": true}}},
                {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"},
            ],
            "envFrom": [{"prefix": "P_", "secretRef": {"name": "cred"}}],
            "volumeMounts": [{"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        }],
        "volumes": [
            {"name": "kube-api-access-x", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            ]}},
            {"name": "conf", "configMap": {"name": "conf"}},
            {"name": "info", "downwardAPI": {"items": [{"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}}]}},
        ],
        "imagePullSecrets": [{"name": "registry"}],
        "nodeName": "k3k-dev", "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "schedulerName": "default-scheduler",
        "serviceAccountName": "default", "serviceAccount": "default", "priority": 0, "preemptionPolicy": "PreemptLowerPriority",
        "dnsPolicy": "ClusterFirst", "dnsConfig": {"searches": ["example.org"]}, "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30, "securityContext": {}, "enableServiceLinks": true,
    }))
}

#[test]
fn an_admitted_pod_becomes_a_host_pod() {
    let translated = translate(&context(), &admitted(), &[]).unwrap();
    insta::assert_yaml_snapshot!(translated.object);
    let wanted: Vec<_> = translated
        .references
        .iter()
        .map(|((kind, name), optional)| (*kind, name.as_str(), *optional))
        .collect();
    assert_eq!(
        wanted,
        [
            (DataKind::ConfigMap, "conf", false),
            (DataKind::ConfigMap, "kube-root-ca.crt", false),
            (DataKind::Secret, "cred", false),
            (DataKind::Secret, "registry", true),
        ]
    );
    assert_eq!(
        translated.tokens,
        [Token { key: "token-0".into(), audience: None, expiration_seconds: 3607 }]
    );
}

#[rstest]
#[case("spec.volumes[0].nfs", json!({"containers": [], "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}))]
#[case("spec.volumes[0].quantum", json!({"containers": [], "volumes": [{"name": "v", "quantum": {}}]}))]
#[case("spec.volumes[0].projected.sources[0].podCertificate", json!({"containers": [], "volumes": [{"name": "kube-api-access-2", "projected": {"sources": [{"podCertificate": {}}]}}]}))]
#[case("spec.volumes[0].secret.shape", json!({"containers": [], "volumes": [{"name": "v", "secret": {"secretName": "s", "shape": 1}}]}))]
#[case("spec.volumes[0].persistentVolumeClaim.shape", json!({"containers": [], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "s", "shape": 1}}]}))]
#[case("spec.teleport", json!({"containers": [], "teleport": true}))]
#[case("spec.resourceClaims", json!({"containers": [], "resourceClaims": []}))]
#[case("spec.containers[0].teleport", json!({"containers": [{"name": "c", "teleport": 1}]}))]
#[case("spec.initContainers[0].volumeDevices", json!({"initContainers": [{"name": "c", "volumeDevices": []}]}))]
#[case("spec.containers[0].resources.claims", json!({"containers": [{"name": "c", "resources": {"claims": [{"name": "gpu"}]}}]}))]
#[case("spec.containers[0].env[0].valueFrom.magicRef", json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"magicRef": {}}}]}]}))]
#[case("spec.containers[0].envFrom[0].magicRef", json!({"containers": [{"name": "c", "envFrom": [{"magicRef": {}}]}]}))]
#[case("spec.containers[0].env[0].valueFrom.fieldRef", json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.secret"}}}]}]}))]
#[case("spec", Value::Null)]
fn what_cannot_be_judged_is_refused_by_name(#[case] path: &str, #[case] spec: Value) {
    assert_eq!(translate(&context(), &pod(spec), &[]).unwrap_err().path, path);
}

#[test]
fn no_reference_keeps_its_name_in_any_list_of_containers() {
    let containers = json!([{"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "k3k-dev-certificates", "key": "server-ca.key"}}}]}]);
    let pod = pod(
        json!({"containers": containers, "initContainers": containers, "ephemeralContainers": containers}),
    );
    let mut texts = vec![translate(&context(), &pod, &[]).unwrap().object.to_string()];
    texts.push(Value::Array(ephemeral_containers(&context(), &pod, &[]).unwrap()).to_string());
    for text in texts {
        assert!(!text.contains("\"k3k-dev-certificates\""), "{text}");
    }
}

#[test]
fn what_an_added_container_reads_is_brought_too() {
    let env = json!([
        {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['note']"}}},
        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}}},
    ]);
    let pod = pod(json!({"containers": [], "ephemeralContainers": [{"name": "debug", "env": env}]}));
    let translated = translate(&context(), &pod, &[]).unwrap();
    assert_eq!(translated.files["annotations.note"], "n");
    assert!(translated.references.contains_key(&(DataKind::ConfigMap, "settings".to_owned())));
    assert_eq!(
        translated.object["spec"].get("ephemeralContainers"),
        None,
        "these have a subresource of their own"
    );
}

#[test]
fn a_host_network_pod_resolves_as_its_policy_says() {
    let spec = |policy: &str| pod(json!({"containers": [], "hostNetwork": true, "dnsPolicy": policy}));
    let host = |policy: &str| translate(&context(), &spec(policy), &[]).unwrap().object;
    assert_eq!(host("ClusterFirst")["spec"]["dnsPolicy"], "Default");
    assert_eq!(host("ClusterFirstWithHostNet")["spec"]["dnsConfig"]["nameservers"], json!(["10.96.2.2"]));
    assert_eq!(host("ClusterFirst")["spec"].get("hostname"), None);
}

#[test]
fn claims_are_the_hosts_and_a_pods_own_claim_is_named_after_it() {
    let pod = pod(json!({"containers": [], "volumes": [
        {"name": "data", "persistentVolumeClaim": {"claimName": "db", "readOnly": true}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {"volumeName": "somebodys"}}}},
    ]}));
    let host = translate(&context(), &pod, &[]).unwrap().object;
    let name = |claim: &str| names::translated("dev", "shop", claim);
    assert_eq!(
        host["spec"]["volumes"],
        json!([
            {"name": "data", "persistentVolumeClaim": {"claimName": name("db"), "readOnly": true}},
            {"name": "scratch", "persistentVolumeClaim": {"claimName": name("web-scratch")}},
        ])
    );
}

#[rstest]
#[case::asked(json!({"setHostnameAsFQDN": true, "subdomain": "db"}), json!("web.db.shop.svc.cluster.local"))]
#[case::own_hostname(json!({"setHostnameAsFQDN": true, "subdomain": "db", "hostname": "a"}), json!("a.db.shop.svc.cluster.local"))]
#[case::not_asked(json!({"subdomain": "db"}), Value::Null)]
#[case::no_subdomain(json!({"setHostnameAsFQDN": true}), Value::Null)]
#[case::the_tenants_own(json!({"hostnameOverride": "x.example"}), json!("x.example"))]
#[case::the_nodes_own(json!({"setHostnameAsFQDN": true, "subdomain": "db", "hostNetwork": true}), Value::Null)]
fn a_full_hostname_is_the_nested_one(#[case] fields: Value, #[case] expected: Value) {
    let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let host = translate(&context(), &pod(spec), &[]).unwrap().object;
    assert_eq!(host["spec"]["hostnameOverride"], expected);
    assert_eq!(
        (&host["spec"]["setHostnameAsFQDN"], &host["spec"]["subdomain"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn a_pod_runs_where_the_nested_scheduler_put_it_only_if_nodes_are_mirrored() {
    let pod = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
        "spec": {
            "nodeName": "host-1", "nodeSelector": {"disk": "tenant's"}, "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "c", "image": "i", "env": [
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ]}],
        },
    });
    let free = translate(&context(), &pod, &[]).unwrap().object;
    assert!(free["spec"].get("affinity").is_none() && free["spec"].get("nodeSelector").is_none());
    let selector = BTreeMap::from([("pool".to_owned(), "tenants".to_owned())]);
    let mirroring = Context { mirrors_nodes: true, node_selector: selector, ..context() };
    let host = translate(&mirroring, &pod, &[]).unwrap().object;
    let terms = &host["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(terms["nodeSelectorTerms"][0]["matchFields"][0]["values"], json!(["host-1"]));
    assert_eq!(host["spec"]["nodeSelector"], json!({"pool": "tenants"}), "the host's, not the tenant's");
    assert!(host["spec"].get("tolerations").is_none() && host["spec"].get("nodeName").is_none());
    let environment = host["spec"]["containers"][0]["env"].as_array().unwrap();
    assert!(environment.iter().any(|variable| variable["name"] == "NODE" && variable["value"] == "host-1"));
}
