//! What came of a request, and whether it should have.

use crate::host::Answer;
use anyhow::{Context, Result, bail, ensure};
use k3k_tests::corpus::{Case, Entry, Expect};
use serde_json::Value;

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// Nobody refused it.
    Nobody,
    /// The webhook.
    Webhook,
    /// A ValidatingAdmissionPolicy.
    Floor,
    /// RBAC.
    Rights,
    /// The API server: it is not valid.
    ApiServer,
}

/// Who refused `answer`, if anybody.
pub(crate) fn refused_by(case: &Case, answer: &Answer) -> By {
    let message = answer.message();
    if answer.status.is_success() {
        By::Nobody
    } else if message.starts_with("admission webhook ") {
        By::Webhook
    } else if message.contains("ValidatingAdmissionPolicy") {
        By::Floor
    } else if message.contains(" cannot ") && answer.status == 403 {
        By::Rights
    } else if case.operation == "CONNECT" && answer.status != 403 && !message.contains("webhook") {
        // There is no kubelet that would answer.
        By::Nobody
    } else {
        By::ApiServer
    }
}

/// Whether it came out as the corpus says.
pub(crate) fn check(entry: &Entry, case: &Case, answer: &Answer) -> Result<()> {
    let by = refused_by(case, answer);
    let message = answer.message();
    if case.expect == Expect::Deny {
        let floor = |name: &str| entry.floor.iter().any(|floor| floor == name);
        return match by {
            By::Nobody => bail!("admitted; expected {:?}", entry.rules),
            // The API server's own policies are asked first, and have a simpler view of which guard it is.
            By::Floor
                if entry.rules.iter().any(|rule| k3k_policy::is_guard(rule))
                    && message.contains(": guard.") =>
            {
                Ok(())
            }
            By::Webhook | By::Floor => {
                ensure!(
                    entry.rules.iter().any(|rule| message.contains(rule)),
                    "expected {:?}: {message}",
                    entry.rules
                );
                Ok(())
            }
            By::Rights if floor("rbac") => Ok(()),
            By::ApiServer if floor("apiserver") => Ok(()),
            By::Rights | By::ApiServer => bail!("{by:?}: {message}"),
        };
    }
    ensure!(by == By::Nobody, "refused by {by:?}: {message}");
    let all = || k3k_policy::rules::ALL.iter().chain(k3k_policy::rules::GUARDS).copied();
    let warned: Vec<_> =
        all().filter(|rule| answer.warnings.iter().any(|warning| warning.contains(rule))).collect();
    match case.expect {
        Expect::Warn => {
            // Guards say nothing about templates: their pods are refused.
            let is_template = entry.container.is_some();
            let mut missing = entry.rules.iter().filter(|rule| !warned.contains(&rule.as_str()));
            let left = missing.find(|rule| !is_template || !k3k_policy::is_guard(rule));
            // Of a long list the API server shows the beginning.
            ensure!(left.is_none() || !warned.is_empty(), "no warning of {left:?}: {:?}", answer.warnings);
        }
        Expect::Mutate => {
            let part = entry.mutated.as_ref().context("mutated is missing")?;
            if entry.container.is_none() {
                ensure!(holds(&answer.body, part), "became {}", answer.body);
            } else {
                let spec = &answer.body["spec"];
                let lists = ["containers", "initContainers", "ephemeralContainers"];
                let mut every = lists.iter().filter_map(|list| spec.get(list)?.as_array()).flatten();
                let tried = every.find(|container| container["name"] == "tried").context("no container")?;
                ensure!(holds(tried, part), "became {tried}");
            }
        }
        _ => ensure!(warned.is_empty(), "warned: {:?}", answer.warnings),
    }
    Ok(())
}

/// Whether all that `part` says is in `whole`, which may have more, in lists as well.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| holds(whole, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| holds(whole, part)))
        }
        (whole, part) => whole == part,
    }
}
