//! `get`, `delete`, `install`, `uninstall`, `version` against a host in memory.

mod fake;

use fake::{Act, Fake, clusters};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/k3k-system/deployments";

fn cluster(fake: &Fake, namespace: &str, name: &str, more: &Value) {
    let mut object =
        json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "spec": {"new": {"field": 1}}});
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    fake.put(&format!("{}/{name}", clusters(namespace)), object);
}

fn running(name: &str, replicas: i32) -> Act {
    Act::Make(
        format!("{DEPLOYMENTS}/{name}"),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"labels": {"app.kubernetes.io/managed-by": "kubectl-k3k-install"}},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
            "status": {"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas}}),
    )
}

fn established() -> Act {
    let crd = |plural: &str| {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.k3k.io");
        let names = json!({"plural": plural, "kind": plural});
        Act::Make(
            path,
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"labels": {"app.kubernetes.io/managed-by": "kubectl-k3k-install"}},
            "spec": {"group": "k3k.io", "names": names, "scope": "Namespaced", "versions": []},
            "status": {"conditions": [{"type": "Established", "status": "True"}], "acceptedNames": names, "storedVersions": []}}),
        )
    };
    crd("clusters")
}

#[test]
fn get_finds_lists_and_prints_the_apis_objects() {
    let fake = Fake::start();
    fake.command(&["get"]).assert().code(0).stdout("").stderr("No clusters found.\n");
    cluster(&fake, "k3k-dev", "dev", &json!({}));
    cluster(&fake, "team", "ci", &json!({"spec": {"mode": "virtual", "agents": 2}}));
    fake.command(&["get"]).assert().code(0).stdout(
        contains("NAMESPACE   NAME   MODE")
            .and(contains("k3k-dev     dev    shared"))
            .and(contains("team        ci     virtual")),
    );
    fake.command(&["get", "-n", "team", "--no-headers"])
        .assert()
        .code(0)
        .stdout(contains("ci   virtual").and(contains("dev").not()).and(contains("NAME").not()));
    fake.command(&["get", "-o", "name"]).assert().code(0).stdout("cluster.k3k.io/dev\ncluster.k3k.io/ci\n");
    let run = fake.command(&["get", "dev", "-o", "json"]).assert().code(0).stderr("");
    let object: Value = serde_json::from_slice(&run.get_output().stdout).expect("json");
    assert_eq!(object["spec"]["new"]["field"], 1, "fields that the plugin does not know are printed too");
    let run = fake.command(&["get", "-A", "-o", "yaml"]).assert().code(0);
    let list: Value = serde_saphyr::from_slice(&run.get_output().stdout).expect("yaml");
    assert_eq!((list["kind"].as_str(), list["items"].as_array().map(Vec::len)), (Some("List"), Some(2)));
    fake.command(&["get", "nope", "dev"])
        .assert()
        .code(1)
        .stdout(contains("dev"))
        .stderr(contains("cluster \"nope\" not found in namespaces \"k3k-nope\" and \"default\""));
}

#[test]
fn a_name_in_two_namespaces_is_asked_about() {
    let fake = Fake::start();
    cluster(&fake, "k3k-dev", "dev", &json!({}));
    cluster(&fake, "default", "dev", &json!({}));
    fake.command(&["delete", "dev", "--yes"])
        .assert()
        .code(1)
        .stderr(contains("exists in namespaces \"k3k-dev\" and \"default\"").and(contains("default/dev")));
    assert_eq!(fake.changes(), Vec::<String>::new());
    fake.command(&["delete", "default/dev", "--yes"]).assert().code(0);
}

#[test]
fn delete_waits_until_nothing_is_left() {
    let fake = Fake::start();
    fake.put(
        "/api/v1/namespaces/k3k-dev",
        json!({"kind": "Namespace", "metadata": {"labels": {"app.kubernetes.io/managed-by": "kubectl-k3k"}}}),
    );
    cluster(&fake, "k3k-dev", "dev", &json!({"metadata": {"finalizers": ["cluster.k3k.io/finalizer"]}}));
    let pod = "/api/v1/namespaces/k3k-dev/pods/k3k-dev-server-0";
    let labels = json!({"k3k.io/component": "server", "cluster": "dev"});
    fake.put(pod, json!({"kind": "Pod", "metadata": {"labels": labels, "ownerReferences": [{}]}}));
    let tenants = "/api/v1/namespaces/k3k-dev/secrets/tenants";
    fake.put(tenants, json!({"kind": "Secret", "metadata": {"labels": {"k3k.io/clusterName": "dev"}}}));
    fake.script(&clusters("k3k-dev"), vec![Act::Remove(format!("{}/dev", clusters("k3k-dev")))]);
    fake.script("/api/v1/namespaces/k3k-dev/pods", vec![Act::Remove(pod.to_owned())]);
    fake.script("/api/v1/namespaces/k3k-dev/secrets", vec![Act::Remove(tenants.to_owned())]);
    let run =
        fake.command(&["delete", "dev", "--yes"]).assert().code(0).stdout("cluster.k3k.io/dev deleted\n");
    insta::assert_snapshot!("delete", String::from_utf8_lossy(&run.get_output().stderr));
    assert_eq!(fake.object("/api/v1/namespaces/k3k-dev"), None);
    fake.command(&["delete", "dev", "--yes"]).assert().code(1).stderr(contains("not found"));
    fake.command(&["delete", "dev", "--yes", "--ignore-not-found"]).assert().code(0).stdout("");
}

#[test]
fn a_namespace_with_anything_else_in_it_is_kept() {
    let fake = Fake::start();
    let labels = json!({"labels": {"app.kubernetes.io/managed-by": "kubectl-k3k"}});
    fake.put("/api/v1/namespaces/k3k-dev", json!({"kind": "Namespace", "metadata": labels}));
    cluster(&fake, "k3k-dev", "dev", &json!({}));
    fake.put("/api/v1/namespaces/k3k-dev/configmaps/kube-root-ca.crt", json!({"kind": "ConfigMap"}));
    fake.put("/api/v1/namespaces/k3k-dev/configmaps/mine", json!({"kind": "ConfigMap"}));
    fake.command(&["delete", "dev", "--yes"])
        .assert()
        .code(0)
        .stderr(contains("Namespace \"k3k-dev\" is kept: it holds configmap/mine, which k3k did not make."));
    assert!(fake.object("/api/v1/namespaces/k3k-dev").is_some());
    cluster(&fake, "team", "ci", &json!({}));
    fake.put("/api/v1/namespaces/team", json!({"kind": "Namespace"}));
    fake.command(&["delete", "ci", "-n", "team", "--yes"]).assert().code(0);
    assert!(fake.object("/api/v1/namespaces/team").is_some(), "not ours to delete");
}

#[test]
fn a_cluster_that_does_not_go_is_exit_code_3() {
    let fake = Fake::start();
    cluster(&fake, "k3k-dev", "dev", &json!({"metadata": {"finalizers": ["cluster.k3k.io/finalizer"]}}));
    fake.command(&["delete", "dev", "--yes", "--timeout=1s"])
        .assert()
        .code(3)
        .stdout("")
        .stderr(contains("dev is not gone after 1s: the controller has not released it"));
    fake.command(&["delete", "dev", "--yes", "--wait=false"])
        .assert()
        .code(0)
        .stdout("cluster.k3k.io/dev deleted\n");
}

#[test]
fn delete_all_takes_one_namespace() {
    let fake = Fake::start();
    for name in ["a", "b"] {
        cluster(&fake, "team", name, &json!({}));
    }
    cluster(&fake, "other", "c", &json!({}));
    fake.command(&["delete", "--all", "-n", "team", "--yes"])
        .assert()
        .code(0)
        .stdout("cluster.k3k.io/a deleted\ncluster.k3k.io/b deleted\n");
    assert!(fake.object(&format!("{}/c", clusters("other"))).is_some());
    fake.command(&["delete", "--all", "-n", "team", "--yes"])
        .assert()
        .code(0)
        .stderr(contains("No clusters found"));
}

#[test]
fn install_applies_in_order_and_waits() {
    let fake = Fake::start();
    fake.script("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", vec![
        established(),
        Act::Make(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualclusterpolicies.k3k.io".to_owned(),
            json!({"spec": {"group": "k3k.io", "names": {"plural": "p", "kind": "P"}, "scope": "Cluster", "versions": []},
                "metadata": {"labels": {"app.kubernetes.io/managed-by": "kubectl-k3k-install"}},
                "status": {"conditions": [{"type": "Established", "status": "True"}],
                    "acceptedNames": {"plural": "p", "kind": "P"}, "storedVersions": []}}),
        ),
    ]);
    fake.script(DEPLOYMENTS, vec![running("k3k-controller", 1), running("k3k-webhook", 2)]);
    fake.command(&["install", "--image=reg.example.com/k3k:v9", "--set", "webhook.replicas=2"])
        .assert()
        .code(0)
        .stdout(contains("deployment.apps/k3k-controller created"))
        .stderr(
            contains("Context fake · Kubernetes v1.36.3")
                .and(contains("controller: 1/1 ready"))
                .and(contains("Next:  kubectl k3k create dev")),
        );
    let patched: Vec<String> =
        fake.requests().into_iter().filter(|request| request.starts_with("PATCH")).collect();
    let place = |part: &str| patched.iter().position(|request| request.contains(part)).expect("applied");
    assert!(place("customresourcedefinitions") < place("/namespaces/k3k-system"));
    assert!(place("clusterroles") < place("deployments"));
    assert_eq!(place("validatingwebhookconfigurations"), patched.len() - 1, "the registration comes last");
}

#[test]
fn what_an_older_version_had_is_pruned() {
    let fake = Fake::start();
    let old = "/apis/rbac.authorization.k8s.io/v1/clusterroles/k3k-old";
    let ours = json!({"labels": {"app.kubernetes.io/managed-by": "kubectl-k3k-install"}});
    fake.put(old, json!({"kind": "ClusterRole", "metadata": ours}));
    let foreign = "/apis/rbac.authorization.k8s.io/v1/clusterroles/foreign";
    fake.put(foreign, json!({"kind": "ClusterRole"}));
    fake.script("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", vec![established()]);
    // The second definition never gets established here: this is about what happens before.
    let run = fake.command(&["install", "--dry-run=server"]).assert().code(0);
    assert!(String::from_utf8_lossy(&run.get_output().stdout).contains("(server dry run)"));
    assert!(fake.object(old).is_some() && fake.object(foreign).is_some(), "a dry run prunes nothing");
}

#[test]
fn an_image_that_cannot_be_pulled_is_named() {
    let fake = Fake::start();
    fake.script("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", vec![
        established(),
        Act::Make(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualclusterpolicies.k3k.io".to_owned(),
            json!({"spec": {"group": "k3k.io", "names": {"plural": "p", "kind": "P"}, "scope": "Cluster", "versions": []},
                "status": {"conditions": [{"type": "Established", "status": "True"}],
                    "acceptedNames": {"plural": "p", "kind": "P"}, "storedVersions": []}}),
        ),
    ]);
    fake.put(
        "/api/v1/namespaces/k3k-system/pods/k3k-controller-x",
        json!({"kind": "Pod", "metadata": {"labels": {"app.kubernetes.io/part-of": "k3k", "app.kubernetes.io/component": "controller"}},
            "status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}}),
    );
    fake.command(&["install", "--timeout=2s"]).assert().code(3).stderr(
        contains("the controller does not run after 2s")
            .and(contains("k3k-controller-x: ImagePullBackOff: no such image")),
    );
}

#[test]
fn uninstall_refuses_while_clusters_exist() {
    let fake = Fake::start();
    cluster(&fake, "k3k-dev", "dev", &json!({}));
    let ours = json!({"labels": {"app.kubernetes.io/managed-by": "kubectl-k3k-install"}});
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/k3k-controller";
    let webhook = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/k3k-webhook";
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusters.k3k.io";
    fake.put(role, json!({"metadata": ours}));
    fake.put(webhook, json!({"metadata": ours}));
    fake.put(crd, json!({"metadata": ours}));
    fake.command(&["uninstall", "--yes"])
        .assert()
        .code(1)
        .stderr(contains("1 clusters exist: k3k-dev/dev").and(contains("--delete-clusters")));
    assert_eq!(fake.changes(), Vec::<String>::new());
    fake.command(&["uninstall", "--yes", "--delete-clusters"]).assert().code(0).stdout(
        contains("cluster.k3k.io/dev deleted")
            .and(contains("clusterrole.rbac.authorization.k8s.io/k3k-controller deleted")),
    );
    let changes = fake.changes();
    let place = |part: &str| changes.iter().position(|request| request.contains(part)).expect("deleted");
    assert!(
        place("clusters/dev") < place("validatingwebhook")
            && place("validatingwebhook") < place("clusterroles")
    );
    assert!(fake.object(crd).is_some(), "kept without --crds");
    fake.command(&["uninstall", "--yes", "--crds"]).assert().code(0);
    assert_eq!(fake.object(crd), None);
    fake.command(&["uninstall", "--yes", "--crds"])
        .assert()
        .code(0)
        .stderr(contains("Nothing of K3k is installed"));
}

#[test]
fn helms_installation_is_left_to_helm() {
    let fake = Fake::start();
    let annotations = json!({"annotations": {"meta.helm.sh/release-name": "k3k"}});
    fake.put(&format!("{DEPLOYMENTS}/k3k-controller"), json!({"metadata": annotations}));
    for args in [&["install"][..], &["uninstall", "--yes"]] {
        fake.command(args).assert().code(1).stderr(contains("belongs to the Helm release \"k3k\""));
    }
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[test]
fn version_asks_the_host() {
    let fake = Fake::start();
    fake.command(&["version"])
        .assert()
        .code(0)
        .stdout(contains("Controller   not installed").and(contains("v1.36.3-k3s1")));
    let run = fake.command(&["version", "-o", "yaml"]).assert().code(0);
    let document: Value = serde_saphyr::from_slice(&run.get_output().stdout).expect("yaml");
    assert_eq!(document["host"]["context"], "fake");
}
