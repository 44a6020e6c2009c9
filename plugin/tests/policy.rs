//! `policy …` against a host in memory, and without any host.

mod fake;

use fake::{Fake, clusters, plugin};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn path(policy: &str) -> String {
    format!("/apis/k3k.io/v1beta1/virtualclusterpolicies/{policy}")
}

fn namespace(name: &str) -> String {
    format!("/api/v1/namespaces/{name}")
}

/// A host with two namespaces and a policy that governs the first.
fn host() -> Fake {
    let fake = Fake::start();
    fake.put(
        &path("gold"),
        json!({"kind": "VirtualClusterPolicy", "metadata": {"generation": 1}, "spec": {
        "podSecurityAdmissionLevel": "restricted", "images": {"digest": "Require"},
        "enforcement": {"rules": [{"name": "images", "mode": "Warn"}]}}}),
    );
    for (name, policy) in [("team-a", Some("gold")), ("team-b", None)] {
        let mut labels = json!({"owner": name});
        if let Some(policy) = policy {
            labels["policy.k3k.io/policy-name"] = policy.into();
        }
        fake.put(&namespace(name), json!({"kind": "Namespace", "metadata": {"labels": labels}}));
    }
    fake
}

fn stdout(fake: &Fake, args: &[&str], code: i32) -> String {
    let output = fake.command(args).assert().code(code).get_output().clone();
    String::from_utf8(output.stdout).expect("text")
}

fn stderr(fake: &Fake, args: &[&str], code: i32) -> String {
    let output = fake.command(args).assert().code(code).get_output().clone();
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn create_applies_and_binds() {
    let fake = host();
    let line =
        ["policy", "create", "silver", "--level=baseline", "--namespace=team-b", "--service-type=ClusterIP"];
    let output = fake.command(&line).assert().code(0).get_output().clone();
    insta::assert_snapshot!(
        "create",
        format!(
            "{}---\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    );
    let made = fake.object(&path("silver")).expect("made");
    assert_eq!(
        made["spec"],
        json!({"podSecurityAdmissionLevel": "baseline", "network": {"services": {"types": ["ClusterIP"]}}})
    );
    let bound = fake.object(&namespace("team-b")).expect("there");
    assert_eq!(
        bound["metadata"]["labels"],
        json!({"owner": "team-b", "policy.k3k.io/policy-name": "silver"})
    );
}

#[test]
fn create_changes_nothing_on_bad_input() {
    let fake = host();
    for (line, code, words) in [
        (&["policy", "create", "gold"][..], 1, "policy \"gold\" already exists"),
        (&["policy", "create", "new", "--digest=resolve"], 2, "spec.images.digest: Resolve needs registries"),
        (&["policy", "create", "new", "--namespace=nope"], 1, "namespace \"nope\" does not exist"),
        (
            &["policy", "create", "new", "--namespace=team-a"],
            1,
            "namespace \"team-a\" is bound to policy \"gold\"",
        ),
        (&["policy", "create", "new", "--namespace=kube-system"], 1, "the host's own"),
        (&["policy", "create", "new", "-f", "/nonexistent.yaml"], 2, "/nonexistent.yaml: cannot be read"),
        (&["policy", "create", "New"], 2, "not the name of a policy"),
    ] {
        let said = stderr(&fake, line, code);
        assert!(said.contains(words), "{line:?}: {said}");
        assert_eq!(fake.changes(), Vec::<String>::new(), "{line:?}");
    }
}

#[test]
fn a_dry_run_of_create_needs_no_host() {
    let output = plugin()
        .args(["policy", "create", "gold", "--level=restricted", "--dry-run=client", "-o", "yaml"])
        .assert()
        .code(0)
        .stderr("")
        .get_output()
        .stdout
        .clone();
    let object: Value = serde_saphyr::from_slice(&output).expect("yaml");
    assert_eq!(
        object,
        json!({"apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "metadata": {"name": "gold"},
        "spec": {"podSecurityAdmissionLevel": "restricted"}})
    );
    plugin()
        .args(["policy", "create", "gold", "--dry-run"])
        .assert()
        .code(0)
        .stdout("virtualclusterpolicy.k3k.io/gold created (dry run)\n");
}

#[test]
fn get_and_describe() {
    let fake = host();
    fake.put(&format!("{}/dev", clusters("team-a")), json!({"kind": "Cluster", "spec": {}}));
    let table = stdout(&fake, &["policy", "list"], 0);
    assert!(
        table.starts_with(
            "NAME   MODE     LEVEL        DIGEST    PLACEMENT   NAMESPACES   CLUSTERS   VIOLATIONS   AGE\n"
        ),
        "{table}"
    );
    assert!(
        table.contains("gold   shared   restricted   require   shared      1            1          -"),
        "{table}"
    );
    assert_eq!(
        stdout(&fake, &["policy", "get", "vcp/gold", "-o", "name"], 0),
        "virtualclusterpolicy.k3k.io/gold\n"
    );
    let object: Value =
        serde_json::from_str(&stdout(&fake, &["policy", "get", "gold", "-o", "json"], 0)).expect("json");
    assert_eq!(
        (object["kind"].as_str(), object["apiVersion"].as_str()),
        (Some("VirtualClusterPolicy"), Some("k3k.io/v1beta1"))
    );
    let said = stderr(&fake, &["policy", "get", "nope"], 1);
    assert!(said.contains("policy \"nope\" not found"), "{said}");
    let page = stdout(&fake, &["policy", "describe", "gold"], 0);
    for words in ["Pod Security Standard Restricted", "Warn for images", "team-a  1 cluster"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[test]
fn bind_looks_first_and_says_what_changes() {
    let fake = host();
    fake.put(
        &path("silver"),
        json!({"kind": "VirtualClusterPolicy", "metadata": {}, "spec": {"allowedMode": "virtual"}}),
    );
    fake.put(&path("broken"), json!({"kind": "VirtualClusterPolicy", "metadata": {}, "spec": {"enforcement": {"rules": [{"name": "x.y", "mode": "Warn"}]}}}));
    fake.put(
        &format!("{}/dev", clusters("team-a")),
        json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "spec": {"mode": "shared"}}),
    );
    for (line, words) in [
        (&["policy", "bind", "nope", "team-b"][..], "policy \"nope\" not found"),
        (&["policy", "bind", "broken", "team-b"], "spec.enforcement.rules[0].name: there is no rule \"x.y\""),
        (&["policy", "bind", "silver", "team-b", "nope"], "namespace \"nope\" does not exist"),
        (
            &["policy", "bind", "silver", "team-b", "team-a"],
            "namespace \"team-a\" is bound to policy \"gold\"",
        ),
    ] {
        let said = stderr(&fake, line, 1);
        assert!(said.contains(words), "{line:?}: {said}");
        assert_eq!(fake.changes(), Vec::<String>::new(), "{line:?}");
    }
    let dry = stdout(&fake, &["policy", "bind", "silver", "team-b", "--dry-run"], 0);
    assert_eq!(dry, "namespace/team-b bound to virtualclusterpolicy.k3k.io/silver (dry run)\n");
    assert_eq!(fake.changes(), Vec::<String>::new());
    let output = fake
        .command(&["policy", "bind", "silver", "team-a", "--overwrite"])
        .assert()
        .code(0)
        .get_output()
        .clone();
    insta::assert_snapshot!(
        "bind",
        format!(
            "{}---\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    );
    assert_eq!(
        fake.object(&namespace("team-a")).expect("there")["metadata"]["labels"]["policy.k3k.io/policy-name"],
        "silver"
    );
    assert_eq!(stdout(&fake, &["policy", "bind", "silver", "team-a"], 0), "namespace/team-a unchanged\n");
    assert_eq!(fake.changes().len(), 1);
}

#[test]
fn unbind_takes_only_the_label() {
    let fake = host();
    assert_eq!(stdout(&fake, &["policy", "unbind", "team-b"], 0), "namespace/team-b unchanged\n");
    assert_eq!(fake.changes(), Vec::<String>::new());
    assert_eq!(
        stdout(&fake, &["policy", "unbind", "ns/team-a"], 0),
        "namespace/team-a unbound from virtualclusterpolicy.k3k.io/gold\n"
    );
    assert_eq!(
        fake.object(&namespace("team-a")).expect("there")["metadata"]["labels"],
        json!({"owner": "team-a"})
    );
}

#[test]
fn delete_refuses_while_namespaces_are_bound() {
    let fake = host();
    let said = stderr(&fake, &["policy", "delete", "gold"], 2);
    assert!(said.contains("run: kubectl k3k policy delete gold --yes"), "{said}");
    let said = stderr(&fake, &["policy", "delete", "gold", "--yes"], 1);
    insta::assert_snapshot!("delete_refused", said);
    let said = stderr(&fake, &["policy", "delete", "nope", "--yes"], 1);
    assert!(said.contains("not found"), "{said}");
    assert_eq!(stdout(&fake, &["policy", "delete", "nope", "--yes", "--ignore-not-found"], 0), "");
    assert_eq!(fake.changes(), Vec::<String>::new());
    fake.command(&["policy", "delete", "gold", "--yes", "--force"])
        .assert()
        .code(0)
        .stdout("virtualclusterpolicy.k3k.io/gold deleted\n")
        .stderr(contains("nothing new can be made in \"team-a\""));
    assert!(fake.object(&path("gold")).is_none());
}

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
