use super::*;
use rstest::rstest;
use serde_json::{Value, json};

#[rstest]
#[case(json!([{ "type": "Ready", "status": "True" }]), "Ready")]
#[case(json!([{ "type": "Ready", "status": "False", "message": "no runtime" }]), "NodeNotReady")]
#[case(json!([{ "type": "Ready", "status": "Unknown" }]), "NodeSilent")]
#[case(json!([]), "NodeNotReady")]
fn nodes(#[case] conditions: Value, #[case] reason: &str) {
    let node = serde_json::from_value(
        json!({ "metadata": { "name": "n" }, "status": { "conditions": conditions } }),
    );
    let report = judge(&node.unwrap(), "n", "its pod");
    assert_eq!((report.reason, report.ok), (reason, reason == "Ready"));
}

#[rstest]
#[case(500, "Starting")]
#[case(503, "Starting")]
#[case(401, "Unauthorized")]
#[case(403, "Unauthorized")]
fn answers(#[case] code: u16, #[case] reason: &str) {
    let status =
        serde_json::from_value(json!({ "code": code, "status": "Failure", "message": "m", "reason": "r" }));
    assert_eq!(describe(&kube::Error::Api(Box::new(status.unwrap()))).reason, reason);
}

#[test]
fn an_untrusted_server_is_told_from_an_absent_one() {
    let service = |text: &str| kube::Error::Service(text.into());
    assert_eq!(describe(&service("invalid peer certificate: UnknownIssuer")).reason, "Untrusted");
    assert_eq!(describe(&service("connection reset")).reason, "Unreachable");
}
