use super::*;
use crate::review;
use jiff::Timestamp;
use k3k_api::v1beta1::{PodSecurityLevel, VirtualClusterPolicySpec};
use k3k_policy::{POLICY_MISSING, Policy};
use proptest::prelude::*;
use serde_json::json;

fn review(operation: &str, object: &Value, old: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u1", "operation": operation, "name": "p", "namespace": "k3k-dev",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": object, "oldObject": old,
        },
    })
    .to_string()
}

fn judge(review: &str, governing: &Governing) -> Decision {
    let request = review::parse(review.as_bytes()).unwrap();
    let facts = Facts::new(governing, Timestamp::UNIX_EPOCH);
    match read(&request) {
        Ok(mut objects) => {
            decide(&request, &mut objects, &Requester::Other, &facts, Phase::Validate, &Resolved::default())
        }
        Err(decision) => decision,
    }
}

fn allowed(decision: &Decision) -> bool {
    decision.is_allowed() && decision.violations().is_empty()
}

fn rules(decision: &Decision) -> Vec<&'static str> {
    decision.violations().iter().map(|violation| violation.rule).collect()
}

fn pod(privileged: bool, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": image, "securityContext": {"privileged": privileged}}]},
    })
}

#[test]
fn creation_is_judged() {
    assert!(allowed(&judge(&review("CREATE", &pod(false, "a"), &Value::Null), &Governing::Default)));
    let denied = judge(&review("CREATE", &pod(true, "a"), &Value::Null), &Governing::Default);
    assert_eq!(rules(&denied), ["podSecurity.privileged"]);
}

#[test]
fn an_update_is_judged_by_the_new_object() {
    let update = |old: &Value, new: &Value| judge(&review("UPDATE", new, old), &Governing::Default);
    assert_eq!(rules(&update(&pod(true, "a"), &pod(true, "b"))), ["podSecurity.privileged"]);
    assert_eq!(rules(&update(&pod(false, "a"), &pod(true, "a"))), ["podSecurity.privileged"]);
    assert!(allowed(&update(&pod(true, "a"), &pod(false, "a"))));
    // No old object to compare with: it is judged.
    assert_eq!(rules(&update(&Value::Null, &pod(true, "a"))), ["podSecurity.privileged"]);
}

#[test]
fn what_stays_as_it_is_may_be_labelled_and_may_go() {
    let old = pod(true, "a");
    let mut new = old.clone();
    new["metadata"] = json!({"name": "p", "deletionTimestamp": "2026-11-21T08:00:00Z", "labels": {"a": "b"}});
    assert!(allowed(&judge(&review("UPDATE", &new, &old), &Governing::Default)));
    // Being deleted is no excuse for a change.
    new["spec"]["containers"][0]["image"] = json!("evil");
    assert_eq!(rules(&judge(&review("UPDATE", &new, &old), &Governing::Default)), ["podSecurity.privileged"]);
    // Nor is a spec that neither has.
    let nothing = json!({"metadata": {"name": "p"}});
    assert_eq!(rules(&judge(&review("UPDATE", &nothing, &nothing), &Governing::Default)), [MALFORMED]);
}

#[test]
fn deletion_is_never_held_up() {
    for snapshot in [Governing::Default, missing()] {
        assert!(allowed(&judge(&review("DELETE", &Value::Null, &pod(true, "a")), &snapshot)));
    }
}

fn missing() -> Governing {
    Governing::Missing { name: "nope".to_owned() }
}

#[test]
fn a_policy_that_is_not_there_refuses_what_is_new() {
    let unreadable = Governing::Unreadable { name: "nope".to_owned(), error: "unknown variant".to_owned() };
    for snapshot in [missing(), unreadable] {
        let create = judge(&review("CREATE", &pod(false, "a"), &Value::Null), &snapshot);
        assert_eq!(rules(&create), [POLICY_MISSING]);
        assert!(create.violations()[0].message.contains("\"nope\""));
        assert!(allowed(&judge(&review("UPDATE", &pod(true, "a"), &pod(true, "a")), &snapshot)));
    }
}

#[test]
fn only_the_policy_lifts_rules() {
    let spec = VirtualClusterPolicySpec {
        pod_security_admission_level: Some(PodSecurityLevel::Privileged),
        ..VirtualClusterPolicySpec::default()
    };
    let lifted = Governing::Named(Policy::compile("gold", 1, spec).unwrap().into());
    assert!(allowed(&judge(&review("CREATE", &pod(true, "a"), &Value::Null), &lifted)));
    // A pod that cannot be read is refused all the same.
    let odd = json!({"spec": {"containers": "none"}});
    assert_eq!(rules(&judge(&review("CREATE", &odd, &Value::Null), &lifted)), [MALFORMED]);
}

#[test]
fn what_cannot_be_read_is_refused_with_the_place() {
    let malformed = |object: Value| {
        let decision = judge(&review("CREATE", &object, &Value::Null), &Governing::Default);
        assert_eq!(rules(&decision), [MALFORMED]);
        (decision.violations()[0].field.clone(), decision.violations()[0].message.clone())
    };
    let (field, message) = malformed(json!({"spec": {"containers": [], "hostNetwork": "yes"}}));
    assert_eq!(field, "spec.hostNetwork");
    assert!(message.contains("boolean"), "{message}");
    let privileged = json!({"spec": {"containers": [{"name": "c", "securityContext": {"privileged": 1}}]}});
    assert_eq!(malformed(privileged).0, "spec.containers[0].securityContext.privileged");
    let list = json!({"spec": {"containers": [{"name": "c", "securityContext": []}]}});
    assert_eq!(malformed(list).0, "spec.containers[0].securityContext");
    for object in
        [json!(null), json!([]), json!("pod"), json!({}), json!({"spec": null}), json!({"spec": []})]
    {
        malformed(object);
    }
    let twice = review("CREATE", &json!("HERE"), &Value::Null)
        .replace("\"HERE\"", r#"{"spec":{"hostPID":false,"containers":[],"hostPID":true}}"#);
    assert_eq!(rules(&judge(&twice, &Governing::Default)), [MALFORMED]);
    let deep = review("CREATE", &json!("HERE"), &Value::Null).replace("\"HERE\"", &deep_object());
    assert_eq!(rules(&judge(&deep, &Governing::Default)), [MALFORMED]);
}

#[test]
fn an_object_that_is_too_much_to_read_may_still_go() {
    let env: Vec<Value> = (0..30_000).map(|_| json!({"name": "a"})).collect();
    let mut old = json!({"spec": {"containers": [{"name": "c", "env": env}]}});
    assert_eq!(rules(&judge(&review("CREATE", &old, &Value::Null), &Governing::Default)), [MALFORMED]);
    let mut new = old.clone();
    old["metadata"] = json!({"finalizers": ["example.com/hold"]});
    assert!(allowed(&judge(&review("UPDATE", &new, &old), &Governing::Default)));
    new["spec"]["hostPID"] = json!(true);
    assert_eq!(rules(&judge(&review("UPDATE", &new, &old), &Governing::Default)), [MALFORMED]);
}

fn deep_object() -> String {
    format!("{}null{}", "{\"a\":".repeat(10_000), "}".repeat(10_000))
}

#[test]
fn many_violations_are_counted_not_spelt_out() {
    let containers: Vec<Value> =
        (0..200).map(|n| json!({"name": format!("c{n}"), "securityContext": {"privileged": true}})).collect();
    let text = review("CREATE", &json!({"spec": {"containers": containers}}), &Value::Null);
    let request = review::parse(text.as_bytes()).unwrap();
    let status = judge(&text, &Governing::Default).status(&request).unwrap();
    assert!(status.message.ends_with("And 190 more."), "{}", status.message);
    assert_eq!(status.details.unwrap().causes.len(), MOST_CAUSES);
}

fn json_value() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("spec"),
        Just("containers"),
        Just("initContainers"),
        Just("ephemeralContainers"),
        Just("volumes"),
        Just("securityContext"),
        Just("privileged"),
        Just("hostPath"),
        Just("hostNetwork"),
        Just("ports"),
        Just("hostPort"),
        Just("procMount"),
        Just("name"),
        Just("metadata"),
        Just("windowsOptions"),
        Just("path"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| json!(n)),
        "\\PC{0,6}".prop_map(Value::String),
        Just(json!("/")),
        Just(json!({}))
    ];
    leaf.prop_recursive(7, 96, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..5).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn no_object_makes_it_panic(object in json_value(), old in json_value(), update in any::<bool>()) {
        let text = review(if update { "UPDATE" } else { "CREATE" }, &object, &old);
        let request = review::parse(text.as_bytes()).unwrap();
        let decision = judge(&text, &Governing::Default);
        prop_assert!(review::answer(&request, &decision).is_ok());
        // Whatever its shape, nothing that says "privileged": true somewhere in a list of containers gets in.
        if let Some(containers) = object["spec"]["containers"].as_array()
            && containers.iter().any(|container| container["securityContext"]["podSecurity.privileged"] == json!(true))
            && !(update && old["spec"] == object["spec"])
        {
            prop_assert!(!decision.is_allowed());
        }
    }

    #[test]
    fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = review::parse(&body);
    }
}
