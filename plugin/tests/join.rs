//! `join`, against a host in memory.

mod fake;

use fake::{Fake, clusters};
use predicates::prelude::PredicateBooleanExt as _;
use predicates::str::contains;
use rstest::rstest;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;

const TOKEN: &str = "K10ab12::node:hunter2";
/// The token in base64.
const ENCODED: &str = "SzEwYWIxMjo6bm9kZTpodW50ZXIy";
const SECRET: &str = "/api/v1/namespaces/k3k-dev/secrets/k3k-dev-agent-config";

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// A host with a cluster.
fn host(mode: &str, conditions: &[Value]) -> Fake {
    let fake = Fake::start();
    let status = json!({"phase": "Ready", "version": "v1.36.3-k3s1", "endpoint": "https://192.0.2.1:31234", "conditions": conditions});
    fake.put(&format!("{}/dev", clusters("k3k-dev")), json!({"spec": {"mode": mode}, "status": status}));
    fake
}

fn ready() -> Fake {
    let fake = host(
        "hcp",
        &[condition("Ready", "True", ""), condition("Exposed", "True", "https://192.0.2.1:31234")],
    );
    fake.put(SECRET, json!({"kind": "Secret", "apiVersion": "v1", "data": {"token": ENCODED}}));
    fake
}

#[test]
fn the_commands_hold_no_secret_and_ask_for_none() {
    let fake = ready();
    let run = fake.command(&["join", "dev"]).assert().code(0).stderr("");
    insta::assert_snapshot!("join", String::from_utf8_lossy(&run.get_output().stdout));
    assert!(!fake.requests().iter().any(|request| request.contains("secrets")), "{:?}", fake.requests());
    let run = fake.command(&["join", "dev", "-o", "json"]).assert().code(0);
    let document: Value = serde_json::from_slice(&run.get_output().stdout).expect("json");
    insta::assert_json_snapshot!("join_json", document);
}

#[test]
fn the_token_goes_where_it_is_asked_to() {
    let fake = ready();
    fake.command(&["join", "dev", "--token-file", "-"])
        .assert()
        .code(0)
        .stdout(format!("{TOKEN}\n"))
        .stderr("");
    let file = fake.folder.path().join("token");
    fake.command(&["join", "dev", "--token-file", "token"])
        .current_dir(fake.folder.path())
        .assert()
        .code(0)
        .stdout(contains("<token").and(contains("hunter2").not()));
    assert_eq!(std::fs::read_to_string(&file).expect("token"), format!("{TOKEN}\n"));
    assert_eq!(std::fs::metadata(&file).expect("token").permissions().mode() & 0o777, 0o600);
    fake.command(&["join", "dev", "--show-token"])
        .assert()
        .code(0)
        .stdout(contains(format!("<<'EOF'\n{TOKEN}\nEOF\n")).and(contains("--token-file").not()));
    fake.command(&["join", "dev", "--show-token", "--token-file", "-"]).assert().code(2);
}

#[rstest]
#[case("shared", vec![], "is in mode shared")]
#[case("virtual", vec![], "is in mode virtual: its workers are pods of the host")]
#[case("hcp", vec![], "is not ready")]
#[case("hcp", vec![condition("Ready", "False", "the nested API is starting")], "is not ready: the nested API is starting")]
#[case("hcp", vec![condition("Ready", "True", "")], "is not exposed: workers outside cannot reach it")]
#[case("hcp", vec![condition("Ready", "True", ""), condition("Exposed", "False", "no load balancer")], "not reached from outside yet: no load balancer")]
fn what_is_in_the_way_is_said(#[case] mode: &str, #[case] conditions: Vec<Value>, #[case] want: &str) {
    let fake = host(mode, &conditions);
    fake.command(&["join", "dev"]).assert().code(1).stdout("").stderr(contains(want));
}

#[test]
fn a_token_that_is_not_there_or_not_to_be_read_is_named() {
    let fake = host(
        "hcp",
        &[condition("Ready", "True", ""), condition("Exposed", "True", "https://192.0.2.1:31234")],
    );
    fake.command(&["join", "dev", "--token-file", "-"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("has no token for workers yet (Secret \"k3k-dev-agent-config\")"));
    let refusal = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "secrets \"k3k-dev-agent-config\" is forbidden: User \"jane\" cannot get resource \"secrets\" in API group \"\" in the namespace \"k3k-dev\""});
    fake.answer(&format!("GET {SECRET}"), 403, &refusal.to_string());
    fake.command(&["join", "dev", "--show-token"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("not allowed: get secrets \"k3k-dev-agent-config\" in namespace \"k3k-dev\""));
}
