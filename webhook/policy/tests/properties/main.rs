//! What holds for every object and every policy.

mod arbitrary;
mod policies;
mod stricter;

use arbitrary::{DIGEST, IMAGES, UNREADABLE, anything, other, pod};
use jiff::Timestamp;
use k3k_api::v1beta1::policy::EnforcementMode;
use k3k_policy::mutate::{self, Digests, Stage};
use k3k_policy::pod::Role;
use k3k_policy::{
    Facts, Governing, Operation, Policy, Question, Requester, Source, Violation, judge, nested, read_policy,
    rules,
};
use policies::policy;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

const BEFORE: &str = "2026-06-01T00:00:00Z";
const AFTER: &str = "2027-01-01T00:00:00Z";

fn compiled(spec: &Value) -> Policy {
    read_policy(&json!({"metadata": {"name": "p", "generation": 1}, "spec": spec})).expect("a policy")
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn requesters() -> Vec<Requester> {
    let kubelet = |cluster: &str| Requester::Kubelet { cluster: cluster.to_owned() };
    vec![
        Requester::Controller,
        Requester::System,
        Requester::Node,
        kubelet("ca"),
        Requester::Administrator,
        Requester::Other,
    ]
}

/// Judges `object` as something new.
fn judged(
    spec: &Value,
    now: &str,
    (group, resource, object): (&str, &str, &Value),
    requester: &Requester,
) -> Vec<Violation> {
    let governing = Governing::Named(Arc::new(compiled(spec)));
    let taken = |host: &str| host == "x.a.example";
    let facts =
        Facts { clusters_in_namespace: 1, host_is_taken: &taken, ..Facts::new(&governing, time(now)) };
    let question = Question {
        operation: Operation::Create,
        group,
        resource,
        sub_resource: "",
        namespace: "t-a",
        name: "p",
        requester,
        object: Some(object),
        old: None,
    };
    judge(&question, &facts)
}

fn is_admitted(found: &[Violation]) -> bool {
    found.iter().all(|violation| violation.mode != EnforcementMode::Enforce)
}

fn known() -> Digests {
    IMAGES.iter().map(|image| ((*image).to_owned(), DIGEST.to_owned())).collect()
}

fn shape() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    prop::sample::select(vec![
        ("", "pods", ""),
        ("", "pods", "ephemeralcontainers"),
        ("", "pods", "resize"),
        ("", "pods", "binding"),
        ("", "pods", "exec"),
        ("", "pods", "eviction"),
        ("", "services", ""),
        ("", "services", "proxy"),
        ("", "secrets", ""),
        ("", "configmaps", ""),
        ("", "persistentvolumeclaims", ""),
        ("", "namespaces", ""),
        ("", "serviceaccounts", "token"),
        ("networking.k8s.io", "ingresses", ""),
        ("networking.k8s.io", "networkpolicies", ""),
        ("rbac.authorization.k8s.io", "rolebindings", ""),
        ("coordination.k8s.io", "leases", ""),
        ("apps", "statefulsets", ""),
        ("apps", "statefulsets", "scale"),
        ("batch", "cronjobs", ""),
        ("k3k.io", "clusters", ""),
        ("k3k.io", "virtualclusterpolicies", ""),
    ])
}

/// An object with anything in some of its places.
fn odd(object: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let places = prop::sample::select(vec![
        "/metadata",
        "/metadata/labels",
        "/metadata/annotations",
        "/spec",
        "/spec/containers",
        "/spec/containers/0",
        "/spec/containers/0/image",
        "/spec/containers/0/securityContext",
        "/spec/containers/0/resources",
        "/spec/volumes",
        "/spec/volumes/0",
        "/spec/affinity",
        "/spec/tolerations",
        "/spec/nodeSelector",
        "/spec/initContainers",
    ]);
    prop_oneof![
        (object, places, anything()).prop_map(|(mut object, place, anything)| {
            if let Some(value) = object.pointer_mut(place) {
                *value = anything;
            }
            object
        }),
        anything(),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn nothing_panics(
        object in prop::option::of(odd(pod())),
        old in prop::option::of(odd(pod())),
        spec in policy(),
        (group, resource, sub_resource) in shape(),
        operation in prop::sample::select(vec![Operation::Create, Operation::Update, Operation::Delete, Operation::Connect]),
        requester in prop::sample::select(requesters()),
        name in prop::sample::select(vec!["", "k3k-ca-kubelet", "https:k3k-ca-service:443", "é"]),
        governing in 0..4_u8,
    ) {
        let policy = compiled(&spec);
        let whole = object.clone().unwrap_or_default();
        let stages = [Stage::New, Stage::Running(old.as_ref().unwrap_or(&Value::Null))];
        for stage in stages {
            let _ = mutate::pod(&whole, &policy, Role::of(&whole), stage, &known());
            let _ = mutate::wanted(&whole, &policy, stage);
        }
        let _ = nested(&whole, Source { cluster: "ca", virtual_namespace: "default" }, &policy, time(BEFORE));
        let governing = match governing {
            0 => Governing::Default,
            1 => Governing::Missing { name: "x".to_owned() },
            _ => Governing::Named(Arc::new(policy)),
        };
        let facts = Facts { target: old.as_ref(), ..Facts::new(&governing, time(BEFORE)) };
        let question = Question {
            operation, group, resource, sub_resource, namespace: "t-a", name, requester: &requester,
            object: object.as_ref(), old: old.as_ref(),
        };
        for violation in judge(&question, &facts) {
            prop_assert!(!violation.message.is_empty());
        }
    }

    #[test]
    fn no_policy_panics(spec in anything(), good in policy(), place in prop::sample::select(vec!["/images", "/nodes", "/enforcement", "/podSecurity", "/resources", "/images/pins", "/nodes/tolerations"])) {
        let _ = read_policy(&spec);
        let mut odd = good;
        if let Some(value) = odd.pointer_mut(place) {
            *value = spec;
        }
        let _ = read_policy(&json!({"spec": odd}));
    }

    #[test]
    fn mutating_again_changes_nothing(object in odd(pod()), good in pod(), spec in policy(), old in pod(), all in any::<bool>()) {
        let policy = compiled(&spec);
        let digests = if all { known() } else { Digests::new() };
        for object in [object, good] {
            for stage in [Stage::New, Stage::Running(&old)] {
                let once = mutate::pod(&object, &policy, Role::of(&object), stage, &digests);
                let twice = mutate::pod(&once, &policy, Role::of(&once), stage, &digests);
                prop_assert_eq!(&once, &twice);
                let (mut changed, mut patched) = (object.clone(), object.clone());
                let patch = mutate::apply(&mut changed, &policy, stage, &digests);
                prop_assert_eq!(patch.is_none(), once == object);
                json_patch::patch(&mut patched, &patch.unwrap_or_default()).unwrap();
                prop_assert_eq!((&changed, &patched), (&once, &once), "the patch tells the whole change");
                if matches!(stage, Stage::New) {
                    let running = mutate::pod(&once, &policy, Role::of(&once), Stage::Running(&once), &digests);
                    prop_assert_eq!(&once, &running, "what was made well stays");
                }
            }
        }
    }

    #[test]
    fn what_mutation_can_satisfy_is_satisfied(mut object in pod(), spec in policy()) {
        for list in ["containers", "initContainers"] {
            for container in object["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if container["image"] == UNREADABLE {
                    container["image"] = IMAGES[0].into();
                }
            }
        }
        if object.pointer("/spec/hostUsers") == Some(&json!(true)) {
            object["spec"]["hostUsers"] = Value::Null;
        }
        let policy = compiled(&spec);
        let had_tolerations = object.pointer("/spec/tolerations").is_some_and(Value::is_array);
        let had_runtime = object.pointer("/spec/runtimeClassName").is_some_and(|class| class != "");
        let mutated = mutate::pod(&object, &policy, Role::of(&object), Stage::New, &known());
        let mut satisfied = vec![rules::SELECTOR, rules::PULL_POLICY, rules::PLACEMENT, rules::DIGEST];
        if spec.pointer("/podSecurity/userNamespaces") == Some(&json!("Require")) {
            satisfied.push(rules::USER_NAMESPACES);
        }
        if !had_tolerations {
            satisfied.push(rules::TOLERATIONS);
        }
        if !had_runtime {
            satisfied.push(rules::RUNTIME_CLASS);
        }
        for violation in judged(&spec, BEFORE, ("", "pods", &mutated), &Requester::System) {
            prop_assert!(!satisfied.contains(&violation.rule), "{violation:?}\n{mutated}");
        }
    }

    #[test]
    fn a_stricter_policy_admits_nothing_more(pod in pod(), (group, resource, other) in other(), spec in policy()) {
        for object in [("", "pods", &pod), (group, resource, &other)] {
            let lax = judged(&spec, BEFORE, object, &Requester::Other);
            let guards = |found: &[Violation]| found.iter().filter(|one| one.is_guard()).cloned().collect::<Vec<_>>();
            if is_admitted(&without_guards(&lax)) {
                continue;
            }
            for (step, stricter) in stricter::all(&spec) {
                let strict = judged(&stricter, BEFORE, object, &Requester::Other);
                prop_assert!(!is_admitted(&without_guards(&strict)), "{step} admits {}\n{lax:?}", object.2);
                prop_assert_eq!(guards(&lax), guards(&strict));
            }
        }
    }

    #[test]
    fn the_order_of_lists_in_a_policy_means_nothing(pod in pod(), (group, resource, other) in other(), spec in policy()) {
        for object in [("", "pods", &pod), (group, resource, &other)] {
            let of = |spec: &Value| {
                let found = judged(spec, BEFORE, object, &Requester::Other);
                found.into_iter().map(|one| (one.rule, one.field, one.mode)).collect::<Vec<_>>()
            };
            prop_assert_eq!(of(&spec), of(&reversed(&spec)));
        }
    }

    #[test]
    fn exemptions_lift_what_they_name_until_they_end(pod in pod(), spec in policy(), rule in prop::sample::select(rules::ALL)) {
        let mut excused = spec.clone();
        excused["enforcement"]["exemptions"] = json!([
            {"name": "x", "rules": [rule], "reason": "r", "expiresAt": AFTER},
        ]);
        let mut plain = spec;
        plain["enforcement"]["exemptions"] = json!([]);
        let object = ("", "pods", &pod);
        let without = judged(&plain, BEFORE, object, &Requester::Other);
        let with = judged(&excused, BEFORE, object, &Requester::Other);
        let rest: Vec<_> = without.iter().filter(|one| one.rule != rule).cloned().collect();
        prop_assert_eq!(rest, with, "{} alone is lifted", rule);
        prop_assert_eq!(judged(&plain, AFTER, object, &Requester::Other), judged(&excused, AFTER, object, &Requester::Other));
    }

    #[test]
    fn guards_hold_whatever_a_policy_says(pod in pod(), one in policy(), other in policy()) {
        let guards = |spec: &Value, now: &str| {
            let found = judged(spec, now, ("", "pods", &pod), &Requester::Other);
            found.into_iter().filter(|one| rules::GUARDS.contains(&one.rule)).collect::<Vec<_>>()
        };
        let found = guards(&one, BEFORE);
        prop_assert_eq!(&found, &guards(&other, AFTER));
        prop_assert!(found.iter().all(|violation| violation.mode == EnforcementMode::Enforce));
    }
}

/// What one rule refuses, no other rule that is only warned of makes invisible: these were found by hand.
#[test]
fn a_rule_hides_no_other() {
    let modes = |area: &str, rule: &str| json!({"rules": [{"name": area, "mode": "Warn"}, {"name": rule, "mode": "Enforce"}]});
    let unreadable = json!({"spec": {"containers": [{"name": "c", "image": UNREADABLE}]}});
    let claim = json!({"spec": {"storageClassName": "slow"}});
    let ephemeral = json!({"spec": {"containers": [], "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": claim}}]}});
    let cases = [
        (
            json!({"enforcement": modes("images.digest", "images.registries"),
                   "images": {"allowedRegistries": [{"host": "docker.io"}]}}),
            json!({"images": {"digest": "Require"}}),
            unreadable,
        ),
        (
            json!({"enforcement": modes("podSecurity.allowedVolumes", "workloads.storageClass"),
                   "workloads": {"storageClasses": {"allowed": []}}, "podSecurity": {}}),
            json!({"podSecurity": {"volumeTypes": ["ConfigMap"]}}),
            ephemeral,
        ),
    ];
    for (lax, more, pod) in cases {
        let mut strict = lax.clone();
        for (section, fields) in more.as_object().into_iter().flatten() {
            for (field, value) in fields.as_object().into_iter().flatten() {
                strict[section][field] = value.clone();
            }
        }
        for spec in [lax, strict] {
            let found = judged(&spec, BEFORE, ("", "pods", &pod), &Requester::Other);
            assert!(!is_admitted(&found), "{spec}: {found:?}");
        }
    }
}

/// A policy that would rather look away changes nothing about guards.
#[test]
fn every_guard_is_one() {
    for rule in rules::GUARDS {
        assert!(k3k_policy::is_guard(rule), "{rule}");
        assert_eq!(compiled(&json!({"enforcement": {"mode": "Audit"}})).mode(rule), EnforcementMode::Enforce);
    }
    for rule in rules::ALL {
        assert!(!k3k_policy::is_guard(rule), "{rule}");
    }
}

fn without_guards(found: &[Violation]) -> Vec<Violation> {
    found.iter().filter(|one| !one.is_guard()).cloned().collect()
}

/// With every list that is a set in the other order.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().rev().map(reversed).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), reversed(value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn guards_cannot_be_excused() {
    for rule in rules::GUARDS.iter().copied().chain(["guard"]) {
        for enforcement in [
            json!({"rules": [{"name": rule, "mode": "Audit"}]}),
            json!({"exemptions": [{"name": "x", "rules": [rule], "reason": "r", "expiresAt": AFTER}]}),
        ] {
            assert!(read_policy(&json!({"spec": {"enforcement": enforcement}})).is_err(), "{rule}");
        }
    }
}
