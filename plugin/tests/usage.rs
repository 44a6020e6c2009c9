//! Bad input: one clear message, the right exit code, and nothing is asked of anybody.

mod fake;

use fake::{Fake, plugin};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use rstest::rstest;

#[rstest]
#[case(&["create", "dev", "--nope"], "unexpected argument '--nope'")]
#[case(&["crate", "dev"], "unrecognized subcommand 'crate'")]
#[case(&["create"], "required arguments")]
#[case(&["create", "Dev"], "\"Dev\" is not the name of a cluster")]
#[case(&["create", "-n", "A", "dev"], "\"A\" is not the name of a namespace")]
#[case(&["create", "a/dev", "-n", "b"], "namespace mismatch")]
#[case(&["create", "system"], "invalid cluster name \"system\"")]
#[case(&["create", "a-name-of-more-than-forty-characters-is-too-long"], "too long: 48 characters")]
#[case(&["create", "dev", "--version", "1.36"], "\"1.36\" is not a version of K3s")]
#[case(&["create", "dev", "--version", "v1.36.3"], "v1.36.3-k3s1")]
#[case(&["create", "dev", "--storage", "10Gb"], "\"10Gb\" is not a size")]
#[case(&["create", "dev", "--agents", "2"], "--agents 2 has no meaning in mode shared")]
#[case(&["create", "dev", "--mode", "hyper"], "mode should be one of")]
#[case(&["cluster", "create", "dev", "--token", "x"], "spec.tokenSecretRef")]
#[case(&["delete", "--all"], "--all needs a namespace")]
#[case(&["delete", "dev"], "run: kubectl k3k delete dev --yes")]
#[case(&["delete", "dev", "-n", "x"], "run: kubectl k3k delete dev -n x --yes")]
#[case(&["uninstall", "--crds"], "run: kubectl k3k uninstall --crds --yes")]
#[case(&["install", "--set", "a=b"], "the chart has no such value")]
#[case(&["install", "-o", "yaml"], "add --dry-run=client")]
#[case(&["help", "nope"], "there is no command \"nope\"")]
#[case(&["describe", "dev", "--as-group", "x"], "need --as")]
fn wrong_lines_are_usage_errors(#[case] args: &[&str], #[case] want: &str) {
    let fake = Fake::start();
    let before = std::fs::read(fake.kubeconfig()).expect("kubeconfig");
    fake.command(args).assert().code(2).stdout("").stderr(contains(want));
    assert_eq!(fake.requests(), Vec::<String>::new());
    assert_eq!(std::fs::read(fake.kubeconfig()).expect("kubeconfig"), before);
}

#[test]
fn a_host_that_does_not_answer_is_named() {
    // Nobody listens there: the port was free a moment ago.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port();
    let folder = tempfile::tempdir().expect("folder");
    let kubeconfig = folder.path().join("config");
    let text = format!(
        "current-context: gone\nclusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:{port}\"}}}}]\n\
         contexts: [{{name: gone, context: {{cluster: c}}}}]\n"
    );
    std::fs::write(&kubeconfig, &text).expect("kubeconfig");
    for args in [
        &["get"][..],
        &["create", "dev"],
        &["delete", "dev", "-y"],
        &["install"],
        &["k", "dev", "--", "version"],
    ] {
        plugin()
            .env("KUBECONFIG", &kubeconfig)
            .args(args)
            .assert()
            .code(1)
            .stdout("")
            .stderr(contains(format!(
                "the host cluster does not answer at https://127.0.0.1:{port} (context \"gone\"): connection refused"
            )));
    }
    assert_eq!(std::fs::read_to_string(&kubeconfig).expect("kubeconfig"), text);
}

#[test]
fn without_a_kubeconfig_the_files_are_named() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("none");
    plugin()
        .env("HOME", folder.path())
        .arg("get")
        .assert()
        .code(1)
        .stderr(contains(".kube/config").and(contains("no kubeconfig found")));
    plugin()
        .env("KUBECONFIG", &path)
        .arg("get")
        .assert()
        .code(1)
        .stderr(contains(path.display().to_string()));
    let flag = format!("--kubeconfig={}", path.display());
    plugin().args(["get", &flag]).assert().code(1).stderr(contains(path.display().to_string()));
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
}

#[test]
fn a_context_that_does_not_exist_is_named() {
    let fake = Fake::start();
    fake.command(&["get", "--context", "nope"])
        .assert()
        .code(1)
        .stderr(contains("no context \"nope\" (known: fake)"));
}

#[test]
fn a_broken_kubeconfig_is_named() {
    let fake = Fake::start();
    std::fs::write(fake.kubeconfig(), "a: [").expect("write");
    fake.command(&["get"]).assert().code(1).stderr(contains("cannot use the kubeconfig"));
}

#[test]
fn a_host_without_k3k_is_told_how_to_get_it() {
    let fake = Fake::start();
    let missing = "404 page not found\n";
    for path in ["/apis/k3k.io/v1beta1/namespaces/k3k-dev/clusters", "/apis/k3k.io/v1beta1/clusters"] {
        fake.answer(&format!("GET {path}"), 404, missing);
    }
    for namespace in ["k3k-dev", "default"] {
        fake.answer(&format!("GET /apis/k3k.io/v1beta1/namespaces/{namespace}/clusters/dev"), 404, missing);
    }
    for args in [&["get"][..], &["create", "dev"], &["describe", "dev"], &["delete", "dev", "--yes"]] {
        let output = fake.command(args).assert().code(1).stdout("").get_output().stderr.clone();
        insta::allow_duplicates! {
            insta::assert_snapshot!("not_installed", String::from_utf8_lossy(&output));
        }
    }
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[test]
fn versions_and_completions_need_no_host() {
    for args in
        [&["--version"][..], &["version", "--client"], &["completion", "bash"], &["options"], &[], &["help"]]
    {
        plugin()
            .args(args)
            .assert()
            .code(0)
            .stderr("")
            .stdout(contains("k3k").or(contains("Client")).or(contains("--context")));
    }
    let output =
        plugin().args(["version", "--client", "-o", "json"]).assert().code(0).get_output().stdout.clone();
    let document: serde_json::Value = serde_json::from_slice(&output).expect("json");
    assert_eq!(document["api"], "k3k.io/v1beta1");
}

#[test]
fn the_first_help_lists_the_commands() {
    let output = plugin().assert().code(0).get_output().stdout.clone();
    insta::assert_snapshot!(String::from_utf8_lossy(&output));
}
