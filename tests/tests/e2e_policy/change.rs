//! A policy that becomes stricter while pods are asked for.

use crate::load::{Load, violating};
use crate::{Namespace, Policy, host};
use anyhow::{Result, ensure};
use k3k_tests::nested::eventually;
use serde_json::json;
use std::time::Instant;

fn generations() -> Result<(String, String)> {
    let path = "jsonpath={.metadata.generation} {.status.observedGeneration}";
    let told = host(&["get", "virtualclusterpolicy", "e2e-change", "-o", path])?;
    let (generation, observed) = told.split_once(' ').unwrap_or((&told, ""));
    Ok((generation.to_owned(), observed.to_owned()))
}

fn until_observed() -> Result<()> {
    eventually("the policy is observed", generations, |(generation, observed)| generation == observed)
        .map(drop)
}

#[test]
#[ignore = "needs the lab: make test"]
fn nothing_gets_in_that_an_observed_policy_refuses() -> Result<()> {
    let _policy = Policy::apply(
        "e2e-change",
        &json!({"podSecurityAdmissionLevel": "privileged", "disableNetworkPolicy": true}),
    )?;
    let _namespace = Namespace::create("e2e-change", Some("e2e-change"))?;
    until_observed()?;
    for _ in 0..3 {
        let load = Load::start("e2e-change", &violating(), 8, usize::MAX);
        load.until_more(50)?;
        let stricter = r#"{"spec": {"podSecurityAdmissionLevel": "baseline"}}"#;
        host(&["patch", "virtualclusterpolicy", "e2e-change", "--type=merge", "-p", stricter])?;
        until_observed()?;
        let observed = Instant::now();
        load.until_more(100)?;
        let attempts = load.finish()?;
        ensure!(attempts.iter().any(|attempt| attempt.outcome.is_ok()), "nothing was let in before");
        for attempt in attempts.iter().filter(|attempt| attempt.ended > observed) {
            let refused = attempt.outcome.as_ref().err();
            ensure!(refused.is_some_and(|refusal| refusal.is_decision), "after it was observed: {attempt:?}");
        }
        let looser = r#"{"spec": {"podSecurityAdmissionLevel": "privileged"}}"#;
        host(&["patch", "virtualclusterpolicy", "e2e-change", "--type=merge", "-p", looser])?;
        until_observed()?;
    }
    Ok(())
}
