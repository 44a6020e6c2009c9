//! What a cluster's status means to somebody who waits for its upgrade. Pure.

use k3k_api::conditions::{self, READY, UPGRADED, upgraded_reason as reason};
use k3k_api::upgrade::check;
use k3k_api::v1beta1::{Cluster, ClusterStatus};

/// Why the cluster cannot be given `wanted`, with what to do about it; as the controller will say.
pub(super) fn refusal(cluster: &Cluster, wanted: &str, shown: &str) -> Result<(), (String, String)> {
    let Some(status) = &cluster.status else { return Ok(()) };
    let Some(running) = &status.version else { return Ok(()) };
    let change = status.upgrade.as_ref();
    let reached = change.and_then(|change| change.reached.as_ref());
    for from in [Some(running), reached].into_iter().flatten() {
        check(from, wanted).map_err(|why| (why, format!("kubectl k3k describe {shown}")))?;
    }
    if let Some(change) = change.filter(|change| change.to == wanted)
        && let Some(failure) = &change.failure
        && cluster.spec.version.as_deref().is_some_and(|asked| asked.replace('+', "-") == wanted)
    {
        return Err((
            format!("{wanted} was tried, and the cluster was given {running} again: {failure}"),
            format!(
                "to try once more: kubectl k3k upgrade {shown} --version {running}, then the same as now"
            ),
        ));
    }
    Ok(())
}

/// What it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The controller has not seen the new version.
    Unseen,
    /// On its way.
    Waiting(String),
    /// It will not be done; the reason and the message.
    Failed(String),
    /// All servers run it.
    Done,
    /// Somebody deletes the cluster.
    Leaving,
}

/// Reads the status of a cluster whose spec asks for `wanted` since `generation`.
pub(super) fn state(cluster: &Cluster, wanted: &str, generation: i64) -> State {
    if cluster.metadata.deletion_timestamp.is_some() {
        return State::Leaving;
    }
    let none = ClusterStatus::default();
    let status = cluster.status.as_ref().unwrap_or(&none);
    if status.observed_generation.unwrap_or_default() < generation {
        return State::Unseen;
    }
    let ready = conditions::find(&status.conditions, READY);
    if let Some(upgraded) = conditions::find(&status.conditions, UPGRADED)
        && upgraded.status != "True"
        && upgraded.observed_generation.unwrap_or_default() >= generation
    {
        return match upgraded.reason.as_str() {
            reason::ROLLED_BACK | reason::REFUSED => State::Failed(upgraded.message.clone()),
            _ => State::Waiting(upgraded.message.clone()),
        };
    }
    match ready {
        Some(ready) if ready.status == "True" && status.version.as_deref() == Some(wanted) => State::Done,
        Some(ready) if ready.reason == conditions::reason::VALIDATION_FAILED => {
            State::Failed(ready.message.clone())
        }
        Some(ready) => State::Waiting(ready.message.clone()),
        None => State::Unseen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    const OLD: &str = "v1.35.6-k3s1";
    const NEW: &str = "v1.36.3-k3s1";

    fn cluster(asked: &str, status: &Value) -> Cluster {
        serde_json::from_value(json!({
            "apiVersion": "k3k.io/v1beta1", "kind": "Cluster",
            "metadata": { "name": "dev", "generation": 2 }, "spec": { "version": asked }, "status": status,
        }))
        .expect("cluster")
    }

    fn conditions(upgraded: Option<(&str, i64)>, ready: &str) -> Value {
        let condition = |kind: &str, status: &str, reason: &str, generation: i64| {
            json!({ "type": kind, "status": status, "reason": reason, "message": reason, "observedGeneration": generation,
                "lastTransitionTime": "2026-01-01T00:00:00Z" })
        };
        let upgraded = upgraded.map(|(reason, generation)| {
            condition("Upgraded", if reason == "UpToDate" { "True" } else { "False" }, reason, generation)
        });
        upgraded.into_iter().chain([condition("Ready", ready, "ServerStarting", 2)]).collect()
    }

    #[rstest]
    #[case(1, None, "True", NEW, State::Unseen)]
    #[case(2, Some(("Upgrading", 2)), "True", OLD, State::Waiting("Upgrading".into()))]
    #[case(2, Some(("Stalled", 2)), "True", OLD, State::Waiting("Stalled".into()))]
    #[case(2, Some(("RolledBack", 2)), "True", OLD, State::Failed("RolledBack".into()))]
    #[case(2, Some(("RolledBack", 1)), "True", OLD, State::Waiting("ServerStarting".into()))]
    #[case(2, Some(("Refused", 2)), "True", OLD, State::Failed("Refused".into()))]
    #[case(2, Some(("UpToDate", 2)), "False", NEW, State::Waiting("ServerStarting".into()))]
    #[case(2, Some(("UpToDate", 2)), "True", NEW, State::Done)]
    #[case(2, None, "True", NEW, State::Done)]
    fn states(
        #[case] seen: i64,
        #[case] upgraded: Option<(&str, i64)>,
        #[case] ready: &str,
        #[case] version: &str,
        #[case] want: State,
    ) {
        let status = json!({ "version": version, "observedGeneration": seen, "conditions": conditions(upgraded, ready) });
        assert_eq!(state(&cluster(NEW, &status), NEW, 2), want);
    }

    #[rstest]
    #[case(json!({}), OLD, "v1.99.0-k3s1", "")]
    #[case(json!({ "version": OLD }), OLD, NEW, "")]
    #[case(json!({ "version": OLD }), OLD, "v1.37.0-k3s1", "set a version v1.36 first")]
    #[case(json!({ "version": OLD }), OLD, "v1.34.0-k3s1", "cannot go back")]
    #[case(json!({ "version": OLD, "upgrade": { "to": NEW, "reached": NEW } }), NEW, OLD, "cannot go back")]
    #[case(json!({ "version": OLD, "upgrade": { "to": NEW, "failure": "no image" } }), NEW, NEW, "was tried")]
    #[case(json!({ "version": OLD, "upgrade": { "to": NEW, "failure": "no image" } }), NEW, OLD, "")]
    #[case(json!({ "version": OLD, "upgrade": { "to": NEW, "failure": "no image" } }), NEW, "v1.36.4-k3s1", "")]
    fn refusals(#[case] status: Value, #[case] asked: &str, #[case] wanted: &str, #[case] why: &str) {
        match refusal(&cluster(asked, &status), wanted, "dev") {
            Ok(()) => assert!(why.is_empty(), "it was allowed"),
            Err((message, _)) => assert!(!why.is_empty() && message.contains(why), "{message}"),
        }
    }
}
