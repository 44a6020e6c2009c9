//! `policy create|get|describe|bind|unbind|delete` against a host in memory.

mod fake;

use fake::policies::{host, namespace, path, stderr, stdout};
use fake::{clusters, plugin};
use predicates::str::contains;
use serde_json::{Value, json};

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
    let newer =
        json!({"kind": "VirtualClusterPolicy", "metadata": {}, "spec": {"images": {"digest": "Verify"}}});
    fake.put(&path("newer"), newer);
    fake.command(&["policy", "get"])
        .assert()
        .code(0)
        .stdout(contains("newer   ?"))
        .stderr(contains("policy \"newer\" cannot be understood"));
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

const REGISTRATIONS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

fn registration(policy: &str, annotation: Option<&Value>) -> Value {
    let webhook = |name: &str, policy: &str| {
        json!({"name": name, "failurePolicy": policy, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://x"}})
    };
    let annotations = annotation.map(|said| json!({"k3k.io/break-glass": said.to_string()}));
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"annotations": annotations},
        "webhooks": [webhook("validate.policy.k3k.io", policy), webhook("namespaces.guard.k3k.io", "Fail")]})
}

#[test]
fn the_glass_is_broken_with_a_reason_and_for_a_while() {
    let fake = host();
    let one = format!("{REGISTRATIONS}/k3k-webhook");
    let said = stderr(&fake, &["policy", "break-glass", "--reason=outage"], 1);
    assert!(said.contains("the webhook is not registered"), "{said}");
    fake.put(&one, registration("Fail", None));
    for (line, words) in [
        (&["policy", "break-glass"][..], "--reason"),
        (&["policy", "break-glass", "--reason= "], "a reason of 1 to 500 characters"),
        (&["policy", "break-glass", "--reason=r", "--for=5h"], "by 4 hours at most"),
        (&["policy", "break-glass", "--reason=r", "--for=0s"], "the end must come after the beginning"),
        (&["policy", "break-glass", "--end", "--reason=r"], "cannot be used with"),
    ] {
        let said = stderr(&fake, line, 2);
        assert!(said.contains(words), "{line:?}: {said}");
        assert_eq!(fake.changes(), Vec::<String>::new(), "{line:?}");
    }
    assert!(stdout(&fake, &["policy", "break-glass", "--end"], 0).contains("unchanged"));
    let dry = stdout(&fake, &["policy", "break-glass", "--reason=r", "--dry-run"], 0);
    assert!(dry.contains("open until") && dry.ends_with("(30m) (dry run)\n"), "{dry}");

    // What the controller does once somebody waits for it. The fake has one state for both.
    let me = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
        "status": {"userInfo": {"username": "ann"}}});
    fake.answer("POST /apis/authentication.k8s.io/v1/selfsubjectreviews", 201, &me.to_string());
    fake.script(REGISTRATIONS, vec![fake::Act::Make(one.clone(), registration("Ignore", None))]);
    let opened = stdout(&fake, &["policy", "break-glass", "--reason=outage", "--for=1h"], 0);
    assert!(opened.contains("k3k-webhook open until "), "{opened}");
    assert_eq!(fake.changes().iter().filter(|change| change.starts_with("PATCH")).count(), 1);

    let glass = json!({"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T04:00:00Z", "by": "ann", "reason": "outage"});
    fake.put(&one, registration("Ignore", Some(&glass)));
    let said = stderr(&fake, &["policy", "get"], 0);
    assert!(!said.contains("glass"), "the time is up: {said}");
    let far = json!({"since": "2999-01-01T00:00:00Z", "until": "2999-01-01T04:00:00Z", "by": "ann", "reason": "outage"});
    fake.put(&one, registration("Ignore", Some(&far)));
    let said = stderr(&fake, &["policy", "get"], 0);
    assert!(said.contains("the glass is broken by ann for all clusters' namespaces until 2999"), "{said}");
    let page = stdout(&fake, &["policy", "describe", "gold"], 0);
    assert!(page.contains("Break-glass") && page.contains("broken by ann"), "{page}");
    fake.script(REGISTRATIONS, vec![fake::Act::Make(one, registration("Fail", None))]);
    assert!(stdout(&fake, &["policy", "break-glass", "--end"], 0).contains("closed"));
}
