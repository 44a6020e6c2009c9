//! `policy test|explain|audit`, which ask the rules: against a host in memory, and without any host.

mod fake;

use fake::policies::{host, stderr, stdout};
use fake::{clusters, plugin};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[test]
fn audit_finds_what_would_not_be_let_in() {
    let fake = host();
    let pod = |spec: Value| {
        json!({"metadata": {"labels": {"k3k.io/clusterName": "dev"},
        "annotations": {"k3k.io/name": "web", "k3k.io/namespace": "shop"}}, "spec": spec})
    };
    assert_eq!(stdout(&fake, &["policy", "audit"], 0), "");
    let strict = json!({"nodeName": "n", "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "image": "a:1", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]});
    fake.put("/api/v1/namespaces/team-a/pods/fine", pod(strict.clone()));
    let warned = stdout(&fake, &["policy", "audit", "gold"], 0);
    assert!(warned.contains("pod/fine   dev: shop/web   warned   images.digest"), "{warned}");
    let mut bad = strict;
    bad["hostNetwork"] = true.into();
    fake.put("/api/v1/namespaces/team-a/pods/bad", pod(bad));
    fake.command(&["policy", "audit"])
        .assert()
        .code(1)
        .stdout(contains("pod/bad    dev: shop/web   denied   podSecurity.hostNamespaces"))
        .stderr(contains("2 objects in 1 namespace: 1 would be denied now, 1 warned about, 0 audited."));
    let document: Value =
        serde_json::from_str(&stdout(&fake, &["policy", "audit", "-n", "team-a", "-o", "json"], 1))
            .expect("json");
    assert_eq!(
        document["summary"],
        json!({"namespaces": 1, "objects": 2, "denied": 1, "warned": 1, "audited": 0})
    );
    // The same by another text of the policy, which is not in the host.
    let lax = fake.folder.path().join("lax.yaml");
    write(
        &lax,
        "apiVersion: k3k.io/v1beta1\nkind: VirtualClusterPolicy\nmetadata: {name: gold}\nspec: {podSecurityAdmissionLevel: privileged}\n",
    );
    assert_eq!(stdout(&fake, &["policy", "audit", "-f", &lax.to_string_lossy()], 0), "");
    let said = stderr(&fake, &["policy", "audit", "nope"], 1);
    assert!(said.contains("policy \"nope\" not found"), "{said}");
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[test]
fn audit_looks_at_every_page() {
    let fake = host();
    for number in 0..600 {
        let pod = json!({"metadata": {"labels": {"k3k.io/clusterName": "dev"}}, "spec": {"hostPID": true, "containers": []}});
        fake.put(&format!("/api/v1/namespaces/team-a/pods/p-{number}"), pod);
    }
    let said = stderr(&fake, &["policy", "audit", "gold"], 1);
    assert!(said.contains("600 objects in 1 namespace: 600 would be denied now"), "{said}");
    let lists = fake.requests().iter().filter(|request| request.ends_with("/namespaces/team-a/pods")).count();
    assert_eq!(lists, 3);
}

#[test]
fn explain_a_pod_by_both_its_names() {
    let fake = host();
    fake.put(
        &format!("{}/dev", clusters("team-a")),
        json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "spec": {}}),
    );
    fake.put("/api/v1/namespaces/team-a/pods/web-x", json!({"metadata": {"labels": {"k3k.io/clusterName": "dev"},
        "annotations": {"k3k.io/name": "web", "k3k.io/namespace": "shop"}}, "spec": {"hostPID": true, "containers": []}}));
    let page = stdout(&fake, &["policy", "explain", "pod", "web-x", "-n", "team-a"], 0);
    for words in
        ["copy of the tenant's pod shop/web of cluster dev", "policy \"gold\"", "it would be denied now"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(
        stdout(&fake, &["policy", "explain", "pod/web", "-n", "shop", "--cluster", "team-a/dev"], 0),
        page
    );
    let said =
        stderr(&fake, &["policy", "explain", "pod", "nope", "-n", "shop", "--cluster", "team-a/dev"], 1);
    assert!(
        said.contains("the host has no copy of pod \"nope\"")
            && said.contains("policy explain -f - -n team-a"),
        "{said}"
    );
    // The cluster's API is this one as well.
    let own = json!({"spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "a:1"}]}});
    fake.put("/api/v1/namespaces/shop/pods/stuck", own);
    let config = json!({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", fake.address)}}], "users": [{"name": "c", "user": {}}]});
    let data = k8s_openapi::ByteString(config.to_string().into_bytes());
    fake.put(
        "/api/v1/namespaces/team-a/secrets/k3k-dev-kubeconfig",
        json!({"data": {"kubeconfig.yaml": data}}),
    );
    let page =
        stdout(&fake, &["policy", "explain", "pod", "stuck", "-n", "shop", "--cluster", "team-a/dev"], 0);
    for words in [
        "Pod shop/stuck of cluster dev",
        "the host has no copy of it",
        "podSecurity.hostNamespaces",
        "it would be denied now",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    // In a context of the cluster, its pods are meant.
    fake.command(&["kubeconfig", "merge", "team-a/dev", "--switch"]).assert().code(0);
    assert_eq!(stdout(&fake, &["policy", "explain", "pod", "stuck", "-n", "shop"], 0), page);
    fake.command(&["kubeconfig", "remove", "team-a/dev"]).assert().code(0);
    let page = stdout(&fake, &["policy", "explain", "-n", "team-b"], 0);
    assert!(page.contains("Namespace team-b is bound to no policy"), "{page}");
    fake.command(&["policy", "explain"]).assert().code(2);
    plugin()
        .args(["policy", "explain", "images.digest"])
        .assert()
        .code(0)
        .stderr("")
        .stdout(contains("named by their digest"));
    plugin()
        .args(["policy", "explain", "nope"])
        .assert()
        .code(2)
        .stderr(contains("there is no rule \"nope\""));
    assert_eq!(fake.changes(), Vec::<String>::new());
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("write");
}

/// Manifests and a policy in a folder.
fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let (app, policy) = (folder.path().join("app"), folder.path().join("gold.yaml"));
    std::fs::create_dir(&app).expect("folder");
    write(
        &policy,
        "apiVersion: k3k.io/v1beta1\nkind: VirtualClusterPolicy\nmetadata: {name: gold}\nspec:\n  images: {digest: Require}\n  network: {services: {types: [ClusterIP]}}\n  enforcement: {rules: [{name: network, mode: Warn}]}\n",
    );
    write(
        &app.join("a.yaml"),
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n  template:\n    spec:\n      volumes: [{name: tmp}]\n      containers: [{name: web, image: nginx}]\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: web}}\n",
    );
    write(
        &app.join("b.json"),
        r#"{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {}}"#,
    );
    (folder, app, policy)
}

fn offline(args: &[&str], code: i32) -> String {
    // No kubeconfig, no home: whoever connects fails.
    let output = plugin().args(["policy", "test"]).args(args).assert().code(code).get_output().clone();
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn test_asks_the_rules_without_a_host() {
    let (_folder, app, policy) = folder();
    let (app_text, policy) = (app.to_string_lossy(), policy.to_string_lossy());
    let text = offline(&["-f", &app_text, "--policy", &policy], 1);
    insta::assert_snapshot!("test", text.replace(&*app_text, "app"));
    let document: Value =
        serde_json::from_str(&offline(&["-f", &app_text, "--policy", &policy, "-o", "json"], 1))
            .expect("json");
    assert_eq!(document["summary"], json!({"denied": 1, "warned": 1, "admitted": 1, "notJudged": 1}));
    assert!(
        offline(&["-f", &app_text, "--policy", &policy, "-o", "junit"], 1)
            .starts_with("<?xml version=\"1.0\"")
    );
    let good = app.join("b.json");
    offline(&["-f", &good.to_string_lossy(), "--policy", &policy], 0);
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {type: NodePort}\n";
    plugin()
        .args(["policy", "test", "-f", "-", "--policy", &policy])
        .write_stdin(service)
        .assert()
        .code(0)
        .stdout(contains("0 denied, 1 warned"));
}

#[test]
fn test_tells_bad_input_from_denied_objects() {
    let (folder, app, policy) = folder();
    let broken = folder.path().join("broken.yaml");
    write(
        &broken,
        "apiVersion: k3k.io/v1beta1\nkind: VirtualClusterPolicy\nmetadata: {name: x}\nspec: {images: {digest: Maybe}}\n",
    );
    let garbage = folder.path().join("garbage.yaml");
    write(&garbage, "a: [");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    for (manifest, policy, words) in [
        (text(&app), text(&broken), "broken.yaml: spec.images.digest: "),
        (text(&app), text(&garbage), "garbage.yaml: not YAML or JSON"),
        (text(&garbage), text(&policy), "garbage.yaml: not YAML or JSON"),
        (text(&app), "/nonexistent.yaml".to_owned(), "/nonexistent.yaml: cannot be read"),
        (text(&app), "a/b".to_owned(), "not the name of a policy"),
        ("-".to_owned(), "-".to_owned(), "cannot both come from stdin"),
    ] {
        let args = ["policy", "test", "-f", &manifest, "--policy", &policy];
        plugin().args(args).assert().code(2).stdout("").stderr(contains(words));
    }
}

#[test]
fn test_takes_a_policy_of_the_host_by_name() {
    let fake = host();
    let (_folder, app, _) = folder();
    fake.command(&["policy", "test", "-f", &app.to_string_lossy(), "--policy", "gold", "--cluster", "dev"])
        .assert()
        .code(1)
        .stdout(contains("Policy \"gold\"").and(contains("podSecurity.runAsNonRoot")));
    assert_eq!(fake.changes(), Vec::<String>::new());
}
