//! The glass, broken while the webhook is away: who keeps to the floor gets in, and when the time is up nobody does, whoever was started anew
//! meanwhile.

use crate::load::{Load, compliant, violating};
use crate::outage::{SYSTEM, until_admitted, until_available};
use crate::{Namespace, host, lab};
use anyhow::{Context, Result, ensure};
use k3k_tests::lab::in_host;
use k3k_tests::nested::eventually;
use serde_json::json;

/// The webhook, away until this is dropped.
struct Away;

impl Away {
    fn scale(replicas: &str) -> Result<()> {
        host(&["-n", SYSTEM, "scale", "deployment/k3k-webhook", &format!("--replicas={replicas}")]).map(drop)
    }

    fn begin() -> Result<Self> {
        let away = Self;
        Self::scale("0")?;
        let pods = "app.kubernetes.io/component=webhook";
        host(&["-n", SYSTEM, "wait", "pods", "-l", pods, "--for=delete", "--timeout=240s"])?;
        Ok(away)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let _ = host(&["k3k", "policy", "break-glass", "--end"]);
        let _ = Self::scale("2");
    }
}

/// How the API server answers to one pod now: whether it got in, and else whether that was decided.
fn answer(namespace: &str, spec: &serde_json::Value) -> Result<(bool, String)> {
    let attempt =
        Load::start(namespace, spec, 1, 1).join()?.into_iter().next().context("nobody has asked")?;
    Ok(match attempt.outcome {
        Ok(()) => (true, String::new()),
        Err(refusal) => (false, refusal.message),
    })
}

fn until_answer(what: &str, spec: &serde_json::Value, is_it: impl Fn(&(bool, String)) -> bool) -> Result<()> {
    eventually(what, || answer("e2e-glass", spec), is_it).map(drop)
}

fn registrations() -> Result<String> {
    let mut told = String::new();
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        told += &host(&["get", kind, "k3k-webhook", "-o", "jsonpath={.webhooks[*].failurePolicy} "])?;
    }
    Ok(told.trim().to_owned())
}

fn reasons() -> Result<String> {
    let about = "involvedObject.kind=ValidatingWebhookConfiguration";
    host(&[
        "get",
        "events",
        "-n",
        "default",
        "--field-selector",
        about,
        "-o",
        "jsonpath={.items[*].reason} {.items[*].message}",
    ])
}

#[test]
#[ignore = "needs the lab: make test"]
fn broken_glass_lets_in_what_the_floor_allows_and_mends_itself() -> Result<()> {
    let _namespace = Namespace::create("e2e-glass", None)?;
    until_available()?;
    until_admitted("e2e-glass")?;
    ensure!(registrations()? == "Fail Fail Fail", "{}", registrations()?);

    let away = Away::begin()?;
    let is_unanswered = |answer: &(bool, String)| !answer.0 && answer.1.contains("failed calling webhook");
    until_answer("nothing gets in", &compliant(), is_unanswered)?;

    // Whoever has the whole of a namespace has no right to this.
    let tenant = in_host("kubectl")
        .args(["k3k", "policy", "break-glass", "--reason", "mine", "--as", "tenant"])
        .output()?;
    let said = String::from_utf8_lossy(&tenant.stderr).into_owned();
    ensure!(!tenant.status.success() && said.contains("validatingwebhookconfigurations"), "{said}");

    let told = host(&["k3k", "policy", "break-glass", "--for", "75s", "--reason", "e2e: no webhook"])?;
    ensure!(told.contains("open until"), "{told}");
    until_answer("who keeps to the rules gets in", &compliant(), |answer| answer.0)?;
    let mut privileged = compliant();
    privileged["containers"][0]["securityContext"] = json!({"privileged": true});
    for (spec, rule) in [(violating(), "podSecurity.hostNamespaces"), (privileged, "podSecurity.privileged")]
    {
        let (admitted, why) = answer("e2e-glass", &spec)?;
        ensure!(!admitted && why.contains(rule) && why.contains("k3k-floor-pods"), "{why}");
    }
    let get = in_host("kubectl").args(["k3k", "policy", "get"]).output()?;
    let warned = String::from_utf8_lossy(&get.stderr).into_owned();
    ensure!(warned.contains("the glass is broken by") && warned.contains("e2e: no webhook"), "{warned}");
    ensure!(registrations()? == "Ignore Ignore Fail", "{}", registrations()?);
    ensure!(reasons()?.contains("GlassBroken"), "{}", reasons()?);

    // What is to be remembered is in the registration.
    let controller = "app.kubernetes.io/component=controller";
    let name = "jsonpath={.items[0].metadata.name}";
    let pod = host(&["-n", SYSTEM, "get", "pods", "-l", controller, "-o", name])?;
    lab("crash", &["container", SYSTEM, &pod, "controller"])?;

    eventually("the time is up", registrations, |policies| policies == "Fail Fail Fail")?;
    until_answer("nothing gets in any more", &compliant(), is_unanswered)?;
    eventually("it is told", reasons, |reasons| reasons.contains("GlassMended"))?;
    let left = host(&[
        "get",
        "validatingwebhookconfiguration",
        "k3k-webhook",
        "-o",
        "jsonpath={.metadata.annotations}",
    ])?;
    ensure!(!left.contains("break-glass"), "{left}");

    drop(away);
    until_available()?;
    until_admitted("e2e-glass")
}
