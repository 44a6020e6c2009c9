//! `create` and what follows it, against a host in memory with a controller that keeps to a script.

mod fake;

use fake::{Act, Fake, clusters};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use serde_json::{Value, json};

const KUBECONFIG: &str = r#"{"current-context": "k3k-dev",
    "clusters": [{"name": "k3k-dev", "cluster": {"server": "https://10.96.0.7", "certificate-authority-data": "QQ=="}}],
    "users": [{"name": "k3k-dev", "user": {"client-certificate-data": "Qg==", "client-key-data": "Qw=="}}],
    "contexts": [{"name": "k3k-dev", "context": {"cluster": "k3k-dev", "user": "k3k-dev"}}]}"#;

fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * index)) as usize & 63]);
            out.push(if index <= chunk.len() { letter } else { '=' });
        }
    }
    out
}

fn secret() -> Act {
    Act::Make(
        "/api/v1/namespaces/k3k-dev/secrets/k3k-dev-kubeconfig".to_owned(),
        json!({"kind": "Secret", "apiVersion": "v1", "data": {"kubeconfig.yaml": base64(KUBECONFIG)}}),
    )
}

fn status(phase: &str, ready: &str, reason: &str, message: &str) -> Act {
    Act::Status(
        json!({"phase": phase, "version": "v1.36.3-k3s1", "endpoint": "https://10.96.0.7", "conditions": [{
        "type": "Ready", "status": ready, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
    )
}

fn ready() -> Vec<Act> {
    vec![
        status("Provisioning", "False", "Provisioning", "making the objects"),
        status("Provisioning", "False", "ServerStarting", "pod \"k3k-dev-server-0\" is being created"),
        status("Provisioning", "False", "ApiNotReady", "the nested API is starting"),
        secret(),
        status("Ready", "True", "Provisioned", ""),
    ]
}

/// Output without what differs from run to run.
fn stable(fake: &Fake, output: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(output).replace(&fake.address.to_string(), "HOST");
    while let Some(start) = text.find(": ready after ") {
        let end = text[start..].find(['\n', '.']).map_or(text.len(), |end| start + end);
        text.replace_range(start..end, ": ready in SOME TIME");
    }
    text
}

fn context(config: &Value, name: &str) -> Value {
    let contexts = config["contexts"].as_array().cloned().unwrap_or_default();
    contexts.into_iter().find(|context| context["name"] == name).unwrap_or_default()
}

#[test]
fn a_cluster_becomes_ready_and_usable() {
    let fake = Fake::start();
    fake.script(&clusters("k3k-dev"), ready());
    let run = fake.command(&["create", "dev"]).assert().code(0).stdout("cluster.k3k.io/dev created\n");
    insta::assert_snapshot!("create", stable(&fake, &run.get_output().stderr));

    let namespace = fake.object("/api/v1/namespaces/k3k-dev").expect("namespace");
    assert_eq!(namespace["metadata"]["labels"]["app.kubernetes.io/managed-by"], "kubectl-k3k");
    let merged = fake.merged();
    assert_eq!(merged["current-context"], "fake", "create does not switch");
    let mark = &context(&merged, "k3k-dev")["context"]["extensions"][0];
    assert_eq!((&mark["name"], &mark["extension"]["cluster"]), (&json!("k3k.io"), &json!("k3k-dev/dev")));
}

#[test]
fn connect_switches_and_delete_goes_back() {
    let fake = Fake::start();
    let before = fake.merged();
    fake.script(&clusters("k3k-dev"), ready());
    fake.command(&["create", "dev", "--connect", "--kubeconfig-server", "api.example.com:8443"])
        .assert()
        .code(0)
        .stderr(contains("Your current context is \"k3k-dev\" now (was \"fake\")"));
    let merged = fake.merged();
    assert_eq!(merged["current-context"], "k3k-dev");
    assert_eq!(merged["clusters"][1]["cluster"]["server"], "https://api.example.com:8443");
    fake.command(&["delete", "dev", "--yes"]).assert().code(0).stdout("cluster.k3k.io/dev deleted\n").stderr(
        contains("Using context \"fake\", the host of your current context \"k3k-dev\".")
            .and(contains("back on \"fake\"")),
    );
    assert_eq!(fake.merged()["contexts"], before["contexts"]);
    assert_eq!(fake.merged()["current-context"], "fake");
}

#[test]
fn a_cluster_that_exists_is_not_touched() {
    let fake = Fake::start();
    fake.put(&format!("{}/dev", clusters("k3k-dev")), json!({"spec": {}}));
    fake.command(&["create", "dev", "--servers=3"]).assert().code(1).stdout("").stderr(
        contains("cluster \"dev\" already exists in namespace \"k3k-dev\"")
            .and(contains("kubectl k3k describe dev")),
    );
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[test]
fn a_cluster_that_cannot_start_ends_the_wait_at_once() {
    let fake = Fake::start();
    fake.script(
        &clusters("k3k-dev"),
        vec![status(
            "Pending",
            "False",
            "ValidationFailed",
            "mode \"virtual\" is not allowed by the policy \"gold\"",
        )],
    );
    let run = fake.command(&["create", "dev"]).assert().code(3).stdout("cluster.k3k.io/dev created\n");
    insta::assert_snapshot!("stuck", stable(&fake, &run.get_output().stderr));
    assert_eq!(context(&fake.merged(), "k3k-dev"), Value::Null);
}

#[test]
fn a_wait_that_times_out_names_the_cause() {
    let fake = Fake::start();
    let message = "pod \"k3k-dev-server-0\": ErrImagePull: no such tag";
    fake.script(&clusters("k3k-dev"), vec![status("Provisioning", "False", "ImagePullFailed", message)]);
    let run = fake.command(&["create", "dev", "--timeout=1s"]).assert().code(3);
    insta::assert_snapshot!("timeout", stable(&fake, &run.get_output().stderr));
}

#[test]
fn a_controller_that_does_not_run_is_suspected() {
    let fake = Fake::start();
    fake.command(&["create", "dev", "--timeout=1s"])
        .assert()
        .code(3)
        .stderr(contains("see whether the controller runs: kubectl get pods -n k3k-system"));
}

#[test]
fn a_cluster_that_disappears_ends_the_wait() {
    let fake = Fake::start();
    fake.script(&clusters("k3k-dev"), vec![Act::Remove(format!("{}/dev", clusters("k3k-dev")))]);
    fake.command(&["create", "dev"])
        .assert()
        .code(3)
        .stderr(contains("dev was deleted while it was being made"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_wait_says_how_to_go_on() {
    let fake = Fake::start();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-k3k"));
    let child = command
        .args(["create", "dev"])
        .env("KUBECONFIG", fake.kubeconfig())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("plugin");
    // Once it watches, it listens for signals.
    let watched =
        |fake: &Fake| fake.requests().iter().filter(|request| request.ends_with("/clusters")).count() >= 3;
    for _ in 0..6000 {
        if watched(&fake) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(watched(&fake), "{:?}", fake.requests());
    let id = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("pid");
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("signal");
    let output = child.wait_with_output().expect("plugin");
    assert_eq!(output.status.code(), Some(130));
    insta::assert_snapshot!("interrupted", stable(&fake, &output.stderr));
}

#[test]
fn a_refused_cluster_leaves_no_namespace_behind() {
    let fake = Fake::start();
    let refusal = json!({"kind": "Status", "code": 422, "reason": "Invalid", "message": "Cluster is invalid",
        "details": {"name": "dev", "causes": [{"field": "spec.servers", "message": "must be odd"}]}});
    fake.answer(&format!("PATCH {}/dev", clusters("k3k-dev")), 422, &refusal.to_string());
    fake.command(&["create", "dev"]).assert().code(1).stdout("").stderr(
        contains("the host refused to create clusters.k3k.io \"dev\"")
            .and(contains("spec.servers: must be odd")),
    );
    assert_eq!(fake.object("/api/v1/namespaces/k3k-dev"), None);
}

#[test]
fn what_is_forbidden_is_named() {
    let fake = Fake::start();
    let message = "clusters.k3k.io \"dev\" is forbidden: User \"jane\" cannot patch resource \"clusters\" in API group \
        \"k3k.io\" in the namespace \"team\"";
    let refusal = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": message});
    fake.put("/api/v1/namespaces/team", json!({"kind": "Namespace"}));
    fake.answer(&format!("PATCH {}/dev", clusters("team")), 403, &refusal.to_string());
    let run = fake.command(&["create", "team/dev"]).assert().code(1).stdout("");
    insta::assert_snapshot!("forbidden", stable(&fake, &run.get_output().stderr));
}

#[test]
fn a_named_namespace_is_made_only_on_demand() {
    let fake = Fake::start();
    fake.command(&["create", "dev", "-n", "team", "--no-wait"])
        .assert()
        .code(1)
        .stderr(contains("namespace \"team\" does not exist").and(contains("--create-namespace")));
    assert_eq!(fake.changes(), Vec::<String>::new());
    fake.command(&["create", "dev", "-n", "team", "--create-namespace", "--policy=gold", "--no-wait"])
        .assert()
        .code(0);
    let labels = fake.object("/api/v1/namespaces/team").expect("namespace")["metadata"]["labels"].clone();
    assert_eq!(labels["policy.k3k.io/policy-name"], "gold");
}

#[test]
fn stdout_is_for_data() {
    let fake = Fake::start();
    fake.script(&clusters("k3k-dev"), ready());
    let run =
        fake.command(&["create", "dev", "-o", "json"]).assert().code(0).stderr(contains("dev: ready after"));
    let object: Value = serde_json::from_slice(&run.get_output().stdout).expect("json");
    assert_eq!((&object["kind"], &object["metadata"]["name"]), (&json!("Cluster"), &json!("dev")));
    assert!(!String::from_utf8_lossy(&run.get_output().stderr).contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn dry_runs_change_nothing() {
    let fake = Fake::start();
    let run =
        fake.command(&["create", "dev", "--dry-run=client", "-o", "yaml", "--servers=3"]).assert().code(0);
    insta::assert_snapshot!("manifest", String::from_utf8_lossy(&run.get_output().stdout));
    assert_eq!(fake.requests(), Vec::<String>::new());
    fake.command(&["create", "dev", "--dry-run=server"])
        .assert()
        .code(0)
        .stdout("cluster.k3k.io/dev created (server dry run)\n")
        .stderr(contains("namespace/k3k-dev would be created"));
    assert_eq!(fake.object("/api/v1/namespaces/k3k-dev"), None);
    assert_eq!(fake.object(&format!("{}/dev", clusters("k3k-dev"))), None);
}

#[test]
fn a_context_of_somebody_else_is_not_overwritten() {
    let fake = Fake::start();
    let text = std::fs::read_to_string(fake.kubeconfig()).expect("kubeconfig");
    let foreign = text.replace("contexts: [", "contexts: [{name: k3k-dev, context: {cluster: fake}}, ");
    std::fs::write(fake.kubeconfig(), &foreign).expect("write");
    fake.script(&clusters("k3k-dev"), ready());
    fake.command(&["create", "dev"]).assert().code(3).stderr(
        contains("dev is ready, but it was not added to your kubeconfig").and(contains("--context-name")),
    );
    assert_eq!(std::fs::read_to_string(fake.kubeconfig()).expect("kubeconfig"), foreign);
    fake.command(&["kubeconfig", "merge", "dev", "--context-name", "mine"]).assert().code(0);
    assert_eq!(context(&fake.merged(), "mine")["context"]["user"], "mine");
    fake.command(&["kubeconfig", "remove", "dev"])
        .assert()
        .code(0)
        .stderr(contains("Context \"mine\" removed"));
    assert_eq!(context(&fake.merged(), "mine"), Value::Null);
}

#[test]
fn kubeconfigs_are_printed_and_generated() {
    let fake = Fake::start();
    fake.script(&clusters("k3k-dev"), ready());
    fake.command(&["create", "dev", "--no-kubeconfig"]).assert().code(0);
    let run = fake.command(&["kubeconfig", "get", "dev"]).assert().code(0).stderr("");
    let printed: Value = serde_saphyr::from_slice(&run.get_output().stdout).expect("yaml");
    assert_eq!(printed["current-context"], "k3k-dev");
    assert_eq!(printed["clusters"][0]["cluster"]["server"], "https://10.96.0.7");
    fake.command(&["kubeconfig", "generate", "dev"]).current_dir(fake.folder.path()).assert().code(0);
    let file = fake.folder.path().join("k3k-dev-dev-kubeconfig.yaml");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).expect("file").permissions().mode() & 0o777, 0o600);
    }
    let written: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).expect("file")).expect("yaml");
    assert_eq!(written, printed);
}

#[cfg(unix)]
#[test]
fn kubectl_gets_a_kubeconfig_for_as_long_as_it_runs() {
    use std::os::unix::fs::PermissionsExt as _;
    let fake = Fake::start();
    fake.script(&clusters("k3k-dev"), ready());
    fake.command(&["create", "dev", "--no-kubeconfig"]).assert().code(0);
    let bin = fake.folder.path().join("bin");
    let runtime = fake.folder.path().join("run");
    std::fs::create_dir(&bin).expect("folder");
    std::fs::create_dir(&runtime).expect("folder");
    let script = "#!/bin/sh\necho \"$@\"\nstat -c %a \"$KUBECONFIG\"\ngrep -c https://10.96.0.7 \"$KUBECONFIG\"\nexit 7\n";
    std::fs::write(bin.join("kubectl"), script).expect("script");
    std::fs::set_permissions(bin.join("kubectl"), std::fs::Permissions::from_mode(0o755)).expect("mode");
    fake.command(&["k", "dev", "--", "get", "pods", "-n", "x"])
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("XDG_RUNTIME_DIR", &runtime)
        .assert()
        .code(7)
        .stdout("get pods -n x\n600\n1\n")
        .stderr("");
    assert_eq!(std::fs::read_dir(runtime).expect("folder").count(), 0, "the file is gone");
    fake.command(&["k", "dev", "--", "get"])
        .env("PATH", fake.folder.path())
        .assert()
        .code(1)
        .stderr(contains("there is no kubectl on PATH"));
}
