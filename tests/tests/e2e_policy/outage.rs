//! What holds, and who goes on working, when the webhook does not.

use crate::load::{Load, compliant, violating};
use crate::{Namespace, host, lab};
use anyhow::{Context, Result, ensure};
use k3k_tests::nested::eventually;
use std::time::Instant;

/// Namespace of k3k itself.
pub(crate) const SYSTEM: &str = "k3k-system";

fn webhooks() -> Result<Vec<String>> {
    let told = host(&[
        "-n",
        SYSTEM,
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/component=webhook",
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ])?;
    Ok(told.split_whitespace().map(str::to_owned).collect())
}

/// All replicas of the webhook are there.
pub(crate) fn until_available() -> Result<()> {
    host(&["-n", SYSTEM, "rollout", "status", "deployment/k3k-webhook", "--timeout=240s"]).map(drop)
}

/// A compliant pod gets in again, by and by.
pub(crate) fn until_admitted(namespace: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let attempts = Load::start(namespace, &compliant(), 1, 1).join()?;
        match attempts.first().map(|attempt| &attempt.outcome) {
            Some(Ok(())) => return Ok(()),
            other => ensure!(started.elapsed().as_secs() < 240, "not admitted again: {other:?}"),
        }
    }
}

/// A namespace that is none of k3k's is not asked about at all.
fn system_works() -> Result<()> {
    let attempts = Load::start("kube-system", &violating(), 1, 3).join()?;
    ensure!(attempts.iter().all(|attempt| attempt.outcome.is_ok()), "{attempts:?}");
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn nothing_gets_in_while_the_webhook_is_gone() -> Result<()> {
    let _namespace = Namespace::create("e2e-outage", None)?;
    until_admitted("e2e-outage")?;
    let bad = Load::start("e2e-outage", &violating(), 2, usize::MAX);
    // Killed, all at once.
    let mut delete = vec!["-n", SYSTEM, "delete", "pod", "--grace-period=0", "--force"];
    let pods = webhooks()?;
    delete.extend(pods.iter().map(String::as_str));
    host(&delete)?;
    system_works()?;
    until_available()?;
    until_admitted("e2e-outage")?;

    // Frozen: it takes connections, and answers nothing.
    let frozen = webhooks()?;
    for pod in &frozen {
        lab("crash", &["freeze", SYSTEM, pod, "webhook"])?;
    }
    system_works()?;
    bad.until_more(2)?;
    for pod in &frozen {
        // The kubelet may have replaced the container meanwhile.
        let _ = lab("crash", &["thaw", SYSTEM, pod, "webhook"]);
    }
    until_admitted("e2e-outage")?;
    until_available()?;

    for attempt in bad.finish()? {
        ensure!(attempt.outcome.is_err(), "a violating pod got in: {attempt:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn whoever_keeps_to_the_rules_notices_no_change_of_the_webhook() -> Result<()> {
    let _namespace = Namespace::create("e2e-rolling", None)?;
    until_admitted("e2e-rolling")?;
    until_available()?;
    let good = Load::start("e2e-rolling", &compliant(), 4, usize::MAX);
    let bad = Load::start("e2e-rolling", &violating(), 1, usize::MAX);
    good.until_more(50)?;
    host(&["-n", SYSTEM, "rollout", "restart", "deployment/k3k-webhook"])?;
    until_available()?;
    good.until_more(50)?;

    // A new certificate, while requests come in.
    let certificate =
        || host(&["-n", SYSTEM, "get", "secret", "k3k-webhook-tls", "-o", "jsonpath={.data.tls\\.crt}"]);
    let before = certificate()?;
    let loss = r#"{"data": {"tls.crt": null, "tls.key": null}}"#;
    host(&["-n", SYSTEM, "patch", "secret", "k3k-webhook-tls", "--type=merge", "-p", loss])?;
    eventually("there is a new certificate", certificate, |now| !now.is_empty() && *now != before)?;
    good.until_more(200)?;

    for attempt in good.finish()? {
        ensure!(attempt.outcome.is_ok(), "a pod that keeps to the rules did not get in: {attempt:?}");
    }
    for attempt in bad.finish()? {
        ensure!(attempt.outcome.as_ref().is_err_and(|refusal| refusal.is_decision), "{attempt:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the lab: make test"]
fn one_namespace_that_asks_without_end_keeps_nobody_else_waiting() -> Result<()> {
    let (_loud, _quiet) = (Namespace::create("e2e-loud", None)?, Namespace::create("e2e-quiet", None)?);
    until_admitted("e2e-quiet")?;
    let mut loud = Load::start("e2e-loud", &violating(), 32, 10_000);
    let quiet = Load::start("e2e-quiet", &compliant(), 1, usize::MAX);
    let system = Load::start("kube-system", &violating(), 1, usize::MAX);
    let all = loud.join().context("the loud one")?;
    ensure!(all.len() >= 10_000, "{} attempts", all.len());
    for attempt in all {
        ensure!(attempt.outcome.is_err(), "a violating pod got in: {attempt:?}");
    }
    let (quiet, system) = (quiet.finish()?, system.finish()?);
    ensure!(quiet.len() > 10 && system.len() > 10, "{} and {} attempts", quiet.len(), system.len());
    for attempt in quiet.into_iter().chain(system) {
        ensure!(attempt.outcome.is_ok(), "{attempt:?}");
    }
    Ok(())
}
