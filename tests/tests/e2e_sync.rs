//! What is copied when the cluster asks for it, on the lab: ways in, budgets, isolation, classes.

use anyhow::Result;
use k3k_api::names::translated;
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::{Value, json};

const IMAGE: &str = "docker.io/library/busybox:1.36";

/// Asks for `sync` in the Cluster's spec, and waits until the virtual kubelets have started anew with it.
fn ask(cluster: &NestedCluster, sync: &Value) -> Result<()> {
    let deployment = format!("deployment/k3k-{}-kubelet", cluster.name);
    let generation = || cluster.on_host(&["get", &deployment, "-o", "jsonpath={.metadata.generation}"]);
    let before = generation()?;
    let patch = json!({"spec": {"sync": sync}}).to_string();
    cluster.on_host(&["patch", "cluster", &cluster.name, "--type=merge", "-p", &patch])?;
    eventually("the virtual kubelets are told", generation, |now| *now != before)?;
    cluster.on_host(&["rollout", "status", &deployment, "--timeout=240s"]).map(drop)
}

fn pod(name: &str, more: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": IMAGE, "command": ["sleep", "3600"]}],
    }});
    for (key, value) in more.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

/// One of the host's objects; null if it is not there.
fn in_namespace(cluster: &NestedCluster, kind: &str, name: &str) -> Result<Value> {
    let text = cluster.on_host(&["get", kind, name, "--ignore-not-found", "-o", "json"])?;
    Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
}

fn apply_on_host(object: &Value) -> Result<()> {
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    serde_json::to_writer(&file, object)?;
    succeed(in_host("kubectl").arg("apply").arg("-f").arg(file.path())).map(drop)
}

/// Cluster-scoped objects of the host; removed when dropped.
struct OfHost(Vec<(&'static str, &'static str)>);

impl Drop for OfHost {
    fn drop(&mut self) {
        for (kind, name) in &self.0 {
            let _ = in_host("kubectl").args(["delete", kind, name, "--ignore-not-found"]).output();
        }
    }
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_budget_keeps_pods_from_being_drained() -> Result<()> {
    let cluster = NestedCluster::create("e2e-budget")?;
    cluster.apply(&pod("web", &Value::Null))?;
    cluster.apply(&json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }))?;
    cluster.until_ready("web")?;
    let name = translated("e2e-budget", "default", "web");
    assert_eq!(in_namespace(&cluster, "pdb", &name)?, Value::Null, "not unless it is asked for");

    // It was there before we were told to copy it.
    ask(&cluster, &json!({"podDisruptionBudgets": {"enabled": true}}))?;
    let counted = || Ok(in_namespace(&cluster, "pdb", &name)?["status"]["currentHealthy"].clone());
    eventually("the host counts the pod", counted, |healthy| *healthy == 1)?;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": cluster.namespace()}});
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    serde_json::to_writer(&file, &eviction)?;
    let path = format!("/api/v1/namespaces/{}/pods/{name}/eviction", cluster.namespace());
    let evict = || in_host("kubectl").args(["create", "--raw", &path, "-f"]).arg(file.path()).output();
    let refused = evict()?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("disruption budget"), "{words}");

    // Drift on either side.
    let said = || Ok(in_namespace(&cluster, "pdb", &name)?["spec"]["minAvailable"].clone());
    cluster.on_host(&["patch", "pdb", &name, "--type=merge", "-p", r#"{"spec":{"minAvailable":7}}"#])?;
    eventually("what others write is taken back", said, |number| *number == 1)?;
    cluster.on_host(&["delete", "pdb", &name])?;
    eventually("what others delete comes back", said, |number| *number == 1)?;
    cluster.run(&["patch", "pdb", "web", "--type=merge", "-p", r#"{"spec":{"minAvailable":0}}"#])?;
    eventually("a change goes to the host", said, |number| *number == 0)?;
    ask(&cluster, &json!({"podDisruptionBudgets": {"enabled": false}}))?;
    let there = || in_namespace(&cluster, "pdb", &name);
    eventually("gone when it is not asked for any more", there, Value::is_null)?;
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn an_ingress_is_served_by_the_host() -> Result<()> {
    let cluster = NestedCluster::create("e2e-ingress")?;
    ask(&cluster, &json!({"ingresses": {"enabled": true, "allowedAnnotations": ["example.com/*"]}}))?;
    let certificate = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "cert"},
        "data": {"tls.crt": "eA==", "tls.key": "eQ=="},
    });
    cluster.apply(&certificate)?;
    cluster.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "annotations": {"example.com/a": "b", "nginx.ingress.kubernetes.io/server-snippet": "evil"}},
        "spec": {
            "rules": [{"host": "shop.example.com", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}},
            ]}}],
            "tls": [{"hosts": ["shop.example.com"], "secretName": "cert"}],
        },
    }))?;
    let (name, secret) =
        (translated("e2e-ingress", "default", "web"), translated("e2e-ingress", "default", "cert"));
    let ingress = || in_namespace(&cluster, "ingress", &name);
    let made = eventually("the copy", ingress, Value::is_object)?;
    let backend = &made["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"];
    assert_eq!((backend, &made["spec"]["tls"][0]["secretName"]), (&json!(name), &json!(secret)));
    let annotations = &made["metadata"]["annotations"];
    assert_eq!(
        (&annotations["example.com/a"], &annotations["nginx.ingress.kubernetes.io/server-snippet"]),
        (&json!("b"), &Value::Null)
    );
    let copied = || in_namespace(&cluster, "secret", &secret);
    let is_owned = |copy: &Value| copy["metadata"]["ownerReferences"][0]["kind"] == "Ingress";
    let copy = eventually("the certificate is the ingress's", copied, is_owned)?;
    assert_eq!(copy["type"], "kubernetes.io/tls");
    let describe = || cluster.run(&["describe", "ingress", "web"]);
    let text = eventually("what is left out is told", describe, |text| text.contains("NotInHost"))?;
    assert!(text.contains("server-snippet"), "{text}");

    // The lab has no ingress controller, so its part is played here.
    let served = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.7"}]}}}"#;
    cluster.on_host(&["patch", "ingress", &name, "--subresource=status", "--type=merge", "-p", served])?;
    let address = ["get", "ingress", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"];
    eventually("the tenant sees where", || cluster.run(&address), |address| address == "192.0.2.7")?;

    cluster.run(&[
        "patch",
        "ingress",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/spec/tls"}]"#,
    ])?;
    eventually("a certificate goes with its last use", copied, Value::is_null)?;
    cluster.run(&["delete", "ingress", "web"])?;
    eventually("the copy goes with the ingress", ingress, Value::is_null)?;
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_network_policy_never_opens_what_the_host_closed() -> Result<()> {
    let cluster = NestedCluster::create("e2e-isolate")?;
    ask(&cluster, &json!({"networkPolicies": {"enabled": true}}))?;
    cluster.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "web"},
        "spec": {
            "podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}],
            "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}],
        },
    }))?;
    let name = translated("e2e-isolate", "default", "web");
    let spec = || Ok(in_namespace(&cluster, "networkpolicy", &name)?["spec"].clone());
    let made = eventually("the copy", spec, Value::is_object)?;
    assert_eq!(made["podSelector"]["matchLabels"]["k3k.io/virtual-namespace"], "default");
    assert_eq!(
        (&made["ingress"], &made["policyTypes"]),
        (&Value::Null, &json!(["Ingress", "Egress"])),
        "nobody is of team a"
    );

    cluster.run(&["create", "namespace", "shop"])?;
    cluster.run(&["label", "namespace", "shop", "team=a"])?;
    let from =
        |spec: &Value| spec["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"].clone();
    eventually("a namespace joins", spec, |spec| from(spec) == json!(["shop"]))?;

    apply_on_host(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "isolate", "namespace": cluster.namespace()},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    }))?;
    eventually("the host's word counts", spec, |spec| {
        spec["policyTypes"] == json!(["Ingress"]) && spec["egress"].is_null()
    })?;
    let describe = || cluster.run(&["get", "events", "--field-selector=involvedObject.name=web"]);
    eventually("it is told", describe, |text| text.contains("spec.egress"))?;
    cluster.on_host(&["delete", "networkpolicy", "isolate"])?;
    eventually("and gives leave again", spec, |spec| spec["egress"].is_array())?;
    cluster.run(&["delete", "networkpolicy", "web"])?;
    eventually("gone", spec, Value::is_null)?;
    Ok(())
}

/// Names of the host's copies of the cluster's PriorityClasses.
fn priority_copies(cluster: &str) -> Result<String> {
    let ours = format!("k3k.io/clusterName={cluster}");
    succeed(in_host("kubectl").args(["get", "priorityclasses", "-l", &ours, "-o", "name"]))
}

/// Classes of every kind.
fn classes_of_the_host() -> [Value; 4] {
    [
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "e2e-gold"}, "value": 900}),
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 901,
            "metadata": {"name": "e2e-withheld", "labels": {"k3k.io/sync-enabled": "false"}},
        }),
        json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "e2e-sandbox"}, "handler": "e2e",
            "scheduling": {"nodeSelector": {"e2e": "no-node-has-it"}},
        }),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "e2e-front"}, "spec": {"controller": "example.com/front"}}),
    ]
}

#[test]
#[ignore = "needs the lab: make test"]
fn classes_go_both_ways_and_no_further_than_they_may() -> Result<()> {
    let _removed = OfHost(vec![
        ("priorityclass", "e2e-gold"),
        ("priorityclass", "e2e-withheld"),
        ("runtimeclass", "e2e-sandbox"),
        ("ingressclass", "e2e-front"),
    ]);
    for object in classes_of_the_host() {
        apply_on_host(&object)?;
    }
    let cluster = NestedCluster::create("e2e-kinds")?;
    let on = json!({"enabled": true});
    ask(
        &cluster,
        &json!({
            "priorityClasses": {"enabled": true, "maxValue": 50}, "hostPriorityClasses": on, "runtimeClasses": on,
            "ingressClasses": on, "ingresses": on,
        }),
    )?;

    // From the host.
    let inside = |kind: &'static str| cluster.run(&["get", kind, "-o", "name"]);
    eventually("offered", || inside("priorityclasses"), |names| names.contains("e2e-gold"))?;
    assert!(!inside("priorityclasses")?.contains("e2e-withheld"));
    eventually("offered", || inside("runtimeclasses"), |names| names.contains("e2e-sandbox"))?;
    eventually("offered", || inside("ingressclasses"), |names| names.contains("e2e-front"))?;

    // To the host, bounded.
    cluster.apply(&json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1_000_000,
    }))?;
    let copy = translated("e2e-kinds", &cluster.namespace(), "high");
    eventually("the copy", || priority_copies("e2e-kinds"), |names| names.contains(&copy))?;
    let said = succeed(in_host("kubectl").args([
        "get",
        "priorityclass",
        &copy,
        "-o",
        "jsonpath={.value} {.preemptionPolicy} {.globalDefault}",
    ]))?;
    assert_eq!(said.trim_end(), "50 Never");

    // Pods have what they may have, in the host and inside.
    let priority = |pod: &str| {
        let name = translated("e2e-kinds", "default", pod);
        cluster.on_host(&[
            "get",
            "pod",
            &name,
            "--ignore-not-found",
            "-o",
            "jsonpath={.spec.priorityClassName} {.spec.priority}",
        ])
    };
    cluster.apply(&pod("own", &json!({"priorityClassName": "high"})))?;
    eventually("by the copy", || priority("own"), |said| *said == format!("{copy} 50"))?;
    assert_eq!(cluster.run(&["get", "pod", "own", "-o", "jsonpath={.spec.priority}"])?, "1000000");
    cluster.apply(&pod("of-host", &json!({"priorityClassName": "e2e-gold"})))?;
    eventually("by the host's own", || priority("of-host"), |said| said == "e2e-gold 900")?;

    cluster.apply(&json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "forged"}, "handler": "runc"}))?;
    cluster.apply(&pod("forged", &json!({"runtimeClassName": "forged"})))?;
    let describe = || cluster.run(&["describe", "pod", "forged"]);
    eventually("refused", describe, |text| text.contains("does not offer RuntimeClass"))?;
    cluster.apply(&pod("sandboxed", &json!({"runtimeClassName": "e2e-sandbox"})))?;
    let name = translated("e2e-kinds", "default", "sandboxed");
    let runtime = || {
        cluster.on_host(&[
            "get",
            "pod",
            &name,
            "--ignore-not-found",
            "-o",
            "jsonpath={.spec.runtimeClassName}",
        ])
    };
    eventually("runs in the host's class", runtime, |class| class == "e2e-sandbox")?;
    let ingress = |name: &str, class: &str| {
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        cluster.apply(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
            "spec": {"ingressClassName": class, "defaultBackend": backend},
        }))
    };
    ingress("front", "e2e-front")?;
    let copied = translated("e2e-kinds", "default", "front");
    eventually("served", || in_namespace(&cluster, "ingress", &copied), Value::is_object)?;
    ingress("other", "internal")?;
    let describe = || cluster.run(&["describe", "ingress", "other"]);
    eventually("refused", describe, |text| text.contains("NotSupported"))?;

    // Drift and ends.
    succeed(in_host("kubectl").args(["delete", "priorityclass", &copy]))?;
    eventually("made anew", || priority_copies("e2e-kinds"), |names| names.contains(&copy))?;
    succeed(in_host("kubectl").args(["delete", "runtimeclass", "e2e-sandbox"]))?;
    eventually("withdrawn", || inside("runtimeclasses"), |names| !names.contains("e2e-sandbox"))?;
    cluster.delete()?;
    assert_eq!(priority_copies("e2e-kinds")?, "", "an object of the whole host goes with its cluster");
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn secrets_that_are_left_out_stay_inside() -> Result<()> {
    let cluster = NestedCluster::create("e2e-leftout")?;
    ask(&cluster, &json!({"secrets": {"enabled": true, "selector": {"copied": "yes"}}}))?;
    for (name, label) in [("kept", "no"), ("given", "yes")] {
        cluster.apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": {"copied": label}}, "stringData": {"a": "b"},
        }))?;
        let mounts = json!({"volumes": [{"name": "s", "secret": {"secretName": name}}]});
        cluster.apply(&pod(name, &mounts))?;
    }
    cluster.until_ready("given")?;
    let reason = "jsonpath={.status.containerStatuses[0].state.waiting}";
    let waiting = || cluster.run(&["get", "pod", "kept", "-o", reason]);
    let told = eventually("the pod is refused", waiting, |waiting| waiting.contains("NotSynced"))?;
    anyhow::ensure!(told.contains("sync.secrets") && told.contains("default/kept"), "{told}");
    let copies = cluster.on_host(&["get", "secrets", "-o", "name"])?;
    anyhow::ensure!(copies.contains("/given-default-") && !copies.contains("/kept-default-"), "{copies}");
    Ok(())
}
