//! A nested cluster in shared mode, used as a tenant uses it, on real containers.

use anyhow::Result;
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, WithoutController, eventually};
use serde_json::{Value, json};

const IMAGE: &str = "docker.io/library/busybox:1.36";

fn pod(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["terminationGracePeriodSeconds"] = 1.into();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

fn sleeper(name: &str) -> Value {
    pod(
        name,
        &json!({"containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", "echo hello from $HOSTNAME; exec sleep 3600"]}]}),
    )
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_tenant_runs_reads_enters_and_removes_a_pod() -> Result<()> {
    let cluster = NestedCluster::create("e2e-pods")?;
    cluster.run(&[
        "run",
        "web",
        "--image",
        IMAGE,
        "--",
        "sh",
        "-c",
        "echo hello from $HOSTNAME; exec sleep 3600",
    ])?;
    cluster.until_ready("web")?;

    // The very same pod, in the host, under its translated name.
    let host_name = &k3k_api::names::translated("e2e-pods", "default", "web");
    let listed = cluster.on_host(&["get", "pods", "-l", "k3k.io/clusterName=e2e-pods", "-o", "name"])?;
    assert!(listed.contains(&format!("pod/{host_name}")), "{listed}");
    let ip = |text: Result<String>| text.map(|text| text.trim().to_owned());
    let inside = ip(cluster.run(&["get", "pod", "web", "-o", "jsonpath={.status.podIP}"]))?;
    assert_eq!(inside, ip(cluster.on_host(&["get", "pod", host_name, "-o", "jsonpath={.status.podIP}"]))?);

    assert_eq!(cluster.run(&["logs", "web"])?, "hello from web\n");
    assert_eq!(cluster.run(&["exec", "web", "--", "hostname"])?, "web\n");
    let failed = cluster.kubectl().args(["exec", "web", "--", "sh", "-c", "exit 7"]).output()?;
    assert_eq!(failed.status.code(), Some(7), "the exit code comes back");

    // With a terminal: `script` gives kubectl one, and the pod sees one.
    let kubectl =
        format!("{:?}", cluster.kubectl().args(["exec", "-it", "web", "--", "sh", "-c", "tty; echo done"]))
            .replace('"', "'");
    let seen = succeed(std::process::Command::new("script").args(["-qec", &kubectl, "/dev/null"]))?;
    assert!(seen.contains("/dev/pts/") && seen.contains("done"), "{seen}");

    // The tenant's view of events, from the host's kubelet.
    eventually(
        "the host's events are retold",
        || {
            cluster.run(&[
                "get",
                "events",
                "-o",
                "jsonpath={range .items[*]}{.involvedObject.name} {.reason}{\"\\n\"}{end}",
            ])
        },
        |events| events.contains("web Started"),
    )?;

    cluster.run(&["delete", "pod", "web", "--now"])?;
    eventually(
        "the host pod is gone",
        || cluster.on_host(&["get", "pods", "-o", "name"]),
        |pods| !pods.contains(host_name.as_str()),
    )?;
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_service_is_reached_by_its_name() -> Result<()> {
    let cluster = NestedCluster::create("e2e-dns")?;
    cluster.run(&["create", "configmap", "page", "--from-literal=index.html=it works"])?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "httpd", "image": IMAGE, "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
                    "volumeMounts": [{"name": "page", "mountPath": "/www"}], "ports": [{"name": "http", "containerPort": 8080}],
                }],
                "volumes": [{"name": "page", "configMap": {"name": "page"}}],
            }},
        }},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}],
        }},
        sleeper("client"),
    ]}))?;
    cluster.run(&["rollout", "status", "deployment/web", "--timeout=240s"])?;
    cluster.until_ready("client")?;
    cluster.run(&[
        "-n",
        "kube-system",
        "wait",
        "pod",
        "-l",
        "k8s-app=kube-dns",
        "--for=condition=Ready",
        "--timeout=240s",
    ])?;
    let fetch =
        |name: &str| cluster.run(&["exec", "client", "--", "wget", "-qO-", &format!("http://{name}")]);
    for name in ["web", "web.default", "web.default.svc.cluster.local"] {
        eventually(name, || fetch(name), |page| page == "it works")?;
    }

    // What is changed inside arrives in running pods, and what is no longer used leaves the host.
    let copies = || cluster.on_host(&["get", "configmaps", "-o", "name"]);
    assert!(copies()?.contains("page-default-e2e-dns"), "{}", copies()?);
    cluster.run(&["delete", "deployment", "web"])?;
    eventually("the copy goes with its last user", copies, |copies| {
        !copies.contains("page-default-e2e-dns")
    })?;
    cluster.run(&["delete", "service", "web"])?;
    eventually(
        "the host service is gone",
        || cluster.on_host(&["get", "services", "-o", "name"]),
        |services| !services.contains("web-default"),
    )?;
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn an_address_taken_in_the_host_is_exchanged() -> Result<()> {
    let cluster = NestedCluster::create("e2e-addresses")?;
    let taken = cluster.on_host(&[
        "get",
        "service",
        "k3k-e2e-addresses-service",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ])?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
        "clusterIP": taken, "selector": {"app": "web"}, "ports": [{"port": 80}],
    }}))?;
    let address = || cluster.run(&["get", "service", "web", "-o", "jsonpath={.spec.type} {.spec.clusterIP}"]);
    let now = eventually("another address", address, |now| {
        now.starts_with("ClusterIP 1") && !now.ends_with(&format!(" {taken}"))
    })?;
    let host = "jsonpath={.items[*].spec.clusterIP}";
    let on_host =
        || cluster.on_host(&["get", "services", "-l", "k3k.io/virtual-namespace=default", "-o", host]);
    eventually("the same on both sides", on_host, |host| now.ends_with(&format!(" {}", host.trim())))?;
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_pod_that_the_host_must_not_run_is_refused_with_the_reason() -> Result<()> {
    let cluster = NestedCluster::create("e2e-refused")?;
    // Usually the nested API server asks first (e2e_policy_nested.rs). Where it does not, the host still decides.
    let _without_controller = WithoutController::stop()?;
    cluster.run(&["delete", "validatingwebhookconfiguration", "k3k-policy", "--ignore-not-found"])?;
    let container = json!({"name": "c", "image": IMAGE, "command": ["sleep", "3600"]});
    let mut privileged = container.clone();
    privileged["securityContext"] = json!({"privileged": true});
    let cases = [
        ("privileged", json!({"containers": [privileged]}), "privileged"),
        (
            "hostpath",
            json!({"containers": [container], "volumes": [{"name": "root", "hostPath": {"path": "/"}}]}),
            "hostPath",
        ),
        ("hostnetwork", json!({"containers": [container], "hostNetwork": true}), "hostNetwork"),
    ];
    for (name, spec, _) in &cases {
        eventually(
            "nobody is asked inside any more",
            || Ok(cluster.apply(&pod(name, spec)).is_ok()),
            |is_made| *is_made,
        )?;
    }
    for (name, _, word) in &cases {
        let text = eventually(
            "described",
            || cluster.run(&["describe", "pod", name]),
            |text| text.contains("HostAdmissionDenied"),
        )?;
        let (status, events) = text.split_once("Events:").unwrap_or((&text, ""));
        assert!(status.contains("Reason:       HostAdmissionDenied"), "a waiting reason: {text}");
        assert!(events.contains(word), "an event that names it: {text}");
        assert!(!text.contains("-default-e2e-refused-"), "no name of the host leaks: {text}");
    }
    let host = cluster.on_host(&["get", "pods", "-l", "k3k.io/virtual-namespace=default", "-o", "name"])?;
    assert_eq!(host, "", "nothing of them runs");
    // The node runs what may run.
    cluster.apply(&sleeper("allowed"))?;
    cluster.until_ready("allowed")
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_volume_that_cannot_be_judged_is_refused_with_the_reason() -> Result<()> {
    let cluster = NestedCluster::create("e2e-volumes")?;
    let container = json!({"name": "c", "image": IMAGE, "command": ["sleep", "3600"]});
    let volume = json!({"name": "v", "nfs": {"server": "10.0.0.1", "path": "/"}});
    cluster.apply(&pod("nfs", &json!({"containers": [container], "volumes": [volume]})))?;
    let text = eventually(
        "described",
        || cluster.run(&["describe", "pod", "nfs"]),
        |text| text.contains("NotSupported"),
    )?;
    assert!(text.contains("spec.volumes[0].nfs"), "{text}");
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn deletion_leaves_nothing_even_when_the_server_was_killed_first() -> Result<()> {
    for kill in [false, true] {
        let cluster = NestedCluster::create("e2e-delete")?;
        cluster.apply(&sleeper("web"))?;
        cluster.until_ready("web")?;
        let namespace = cluster.namespace();
        if kill {
            cluster.on_host(&["delete", "pod", "k3k-e2e-delete-server-0", "--force", "--grace-period=0"])?;
        }
        cluster.delete()?;
        let left = succeed(in_host("kubectl").args([
            "get",
            "namespace",
            &namespace,
            "--ignore-not-found",
            "-o",
            "name",
        ]))?;
        assert_eq!(left, "", "the namespace was made for the cluster and goes with it");
        let left = succeed(in_host("kubectl").args(["get", "clusters.k3k.io", "-A", "-o", "name"]))?;
        assert!(!left.contains("e2e-delete"), "{left}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn two_clusters_do_not_see_each_other() -> Result<()> {
    let (red, blue) = (NestedCluster::create("e2e-scarlet")?, NestedCluster::create("e2e-azure")?);
    red.run(&["create", "secret", "generic", "mine", "--from-literal=colour=red"])?;
    red.apply(&sleeper("web"))?;
    blue.apply(&sleeper("web"))?;
    red.until_ready("web")?;
    blue.until_ready("web")?;
    for (cluster, other) in [(&red, "azure"), (&blue, "scarlet")] {
        let all = cluster.run(&["get", "pods,services,configmaps,nodes,namespaces", "-A", "-o", "name"])?;
        assert!(!all.contains(other), "{all}");
    }
    let missing = blue.kubectl().args(["get", "secret", "mine"]).output()?;
    assert!(!missing.status.success());
    // The credentials of one are worth nothing at the other.
    let server = |cluster: &NestedCluster| {
        cluster.run(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"])
    };
    let crossed = red
        .kubectl()
        .args(["--server", &server(&blue)?, "--insecure-skip-tls-verify", "get", "pods"])
        .output()?;
    assert!(!crossed.status.success(), "{}", String::from_utf8_lossy(&crossed.stdout));
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn what_the_host_allows_and_deletes_is_seen_inside() -> Result<()> {
    let cluster = NestedCluster::create("e2e-drain")?;
    // The node offers what the quota allows as soon as it does.
    cluster.on_host(&["create", "quota", "bound", "--hard=requests.memory=768Mi"])?;
    let offered = || cluster.run(&["get", "nodes", "-o", "jsonpath={.items[*].status.allocatable.memory}"]);
    eventually("the node is bounded", offered, |memory| memory == "768Mi")?;
    cluster.on_host(&["delete", "quota", "bound"])?;
    eventually("the node is not bounded", offered, |memory| memory != "768Mi")?;
    cluster.apply(&sleeper("web"))?;
    cluster.until_ready("web")?;
    cluster.on_host(&["delete", "pods", "-l", "k3k.io/virtual-namespace=default", "--now"])?;
    let inside = || cluster.run(&["get", "pods", "-o", "name"]);
    eventually("the nested pod goes the same way", inside, |pods| !pods.contains("web"))?;
    Ok(())
}
