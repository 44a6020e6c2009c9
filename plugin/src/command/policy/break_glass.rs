//! `policy break-glass`: let things in for a while although the webhook cannot be asked. What is written is an annotation of the webhook's
//! registration; the controller opens, and closes again by itself.

use crate::cli::{BreakGlassArgs, ConnectionFlags, DryRun};
use crate::command::interrupt::{asked_to_stop, deadline};
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::install;
use crate::output::age;
use crate::output::terminal::Terminal;
use crate::policies;
use jiff::Timestamp;
use k3k_api::break_glass::{BreakGlass, CONDITION, OPENED, REGISTRATION};
use k3k_api::{labels, managers};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use serde_json::json;
use std::time::Duration;

/// Plural and group of the registration, as RBAC and kubectl write it.
const RESOURCE: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";
/// How kubectl names it in a confirmation.
const REFERENCE: &str = "validatingwebhookconfiguration.admissionregistration.k8s.io/k3k-webhook";
/// How long the controller may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `policy break-glass`.
pub(super) async fn run(
    args: &BreakGlassArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let namespaces =
        args.namespaces.iter().map(|name| policies::namespace(name)).collect::<Result<Vec<_>, _>>()?;
    let since = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let lasts = jiff::SignedDuration::try_from(args.duration).unwrap_or(jiff::SignedDuration::MAX);
    let mut glass = BreakGlass {
        since: Time(since),
        until: Time(since.checked_add(lasts).unwrap_or(Timestamp::MAX)),
        by: String::new(),
        reason: args.reason.clone().unwrap_or_default(),
        namespaces,
    };
    if !args.end {
        glass.check().map_err(|refusal| Error::usage(refusal.to_string()))?;
    }
    let connection = connect::connect(flags, terminal).await?;
    let found = registration(&connection).await?;
    let dry = args.dry_run.dry_run;
    if args.end {
        return end(&connection, terminal, &found, dry).await;
    }
    glass.by = who(&connection).await;
    let annotation = serde_json::to_string(&glass).unwrap_or_default();
    write(&connection, &found, Some(&annotation), dry).await?;
    if dry == DryRun::None {
        until(&connection, open_as(glass.clone()), "opened").await?;
    }
    let span = age::short(args.duration);
    terminal.data(&format!("{REFERENCE} open until {} ({span}){}\n", glass.until.0, dry.suffix()))?;
    let asked = if glass.namespaces.is_empty() {
        "The webhook is asked, and what it does not answer is admitted"
    } else {
        "The webhook is not asked there"
    };
    terminal.note(&format!("  In {}. {asked}.", glass.place()));
    terminal.note(
        "  ValidatingAdmissionPolicies, quotas, limits, Pod Security labels and NetworkPolicies hold as before.",
    );
    terminal.notes(&[
        ("end", "kubectl k3k policy break-glass --end".to_owned()),
        ("afterwards", "kubectl k3k policy audit".to_owned()),
    ]);
    Ok(Exit::Done)
}

async fn end(
    connection: &Connection,
    terminal: &Terminal,
    found: &ValidatingWebhookConfiguration,
    dry: DryRun,
) -> Result<Exit, Error> {
    if !found.annotations().contains_key(labels::BREAK_GLASS) {
        terminal.data(&format!("{REFERENCE} unchanged{}\n", dry.suffix()))?;
        terminal.note("  The glass is whole.");
        return Ok(Exit::Done);
    }
    write(connection, found, None, dry).await?;
    if dry == DryRun::None {
        until(connection, closed, "closed").await?;
    }
    terminal.data(&format!("{REFERENCE} closed{}\n", dry.suffix()))?;
    terminal.notes(&[("what got in", "kubectl k3k policy audit".to_owned())]);
    Ok(Exit::Done)
}

/// The line that says that the glass is broken; nothing while it is whole, or if one may not know.
pub(super) async fn line(connection: &Connection, now: Timestamp) -> Option<String> {
    let found = api(connection).get_metadata_opt(REGISTRATION).await.ok()??;
    told(found.annotations().get(labels::BREAK_GLASS)?, now)
}

fn told(annotation: &str, now: Timestamp) -> Option<String> {
    let glass = BreakGlass::read(annotation).ok().filter(|glass| glass.until.0 > now)?;
    let left = age::short(Duration::try_from(glass.until.0.duration_since(now)).unwrap_or_default());
    let by = if glass.by.is_empty() { String::new() } else { format!(" by {}", glass.by) };
    Some(format!(
        "the glass is broken{by} for {} until {} ({left} left): {}; end it with \"kubectl k3k policy break-glass --end\"",
        glass.place(),
        glass.until.0,
        glass.reason
    ))
}

fn api(connection: &Connection) -> Api<ValidatingWebhookConfiguration> {
    Api::all(connection.client.clone())
}

async fn registration(connection: &Connection) -> Result<ValidatingWebhookConfiguration, Error> {
    match api(connection).get_opt(REGISTRATION).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(Error::State {
            message: "the webhook is not registered: nobody is asked, and nothing is to be opened".to_owned(),
            notes: vec![("register", "kubectl k3k install".to_owned())],
        }),
        Err(error) => Err(connection.explain(Action::new("get", RESOURCE).on(REGISTRATION), &error)),
    }
}

/// Who asks, as the host sees them; empty if it does not say.
async fn who(connection: &Connection) -> String {
    let reviews: Api<SelfSubjectReview> = Api::all(connection.client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let user = review.ok().and_then(|review| review.status?.user_info?.username);
    user.unwrap_or_default()
}

/// Writes the annotation of the registration as it was looked at.
async fn write(
    connection: &Connection,
    found: &ValidatingWebhookConfiguration,
    annotation: Option<&str>,
    dry: DryRun,
) -> Result<(), Error> {
    if dry == DryRun::Client {
        return Ok(());
    }
    let patch = json!({"metadata": {
        "annotations": {labels::BREAK_GLASS: annotation}, "resourceVersion": found.metadata.resource_version,
    }});
    let parameters = PatchParams {
        dry_run: dry == DryRun::Server,
        field_manager: Some(managers::PLUGIN.to_owned()),
        ..PatchParams::default()
    };
    match api(connection).patch_metadata(REGISTRATION, &parameters, &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(Error::State {
            message: "the webhook's registration was changed by somebody else meanwhile".to_owned(),
            notes: vec![("try", "the same again".to_owned())],
        }),
        Err(error) => Err(connection.explain(Action::new("patch", RESOURCE).on(REGISTRATION), &error)),
    }
}

/// Waits until the controller has done it. It opens this registration last.
async fn until(
    connection: &Connection,
    done: impl Condition<ValidatingWebhookConfiguration>,
    what: &str,
) -> Result<(), Error> {
    let failed = |why: String| Error::Waited {
        message: format!("{why}: the webhook's registrations were not {what}"),
        notes: vec![
            ("look", format!("kubectl logs -n {} deployment/k3k-controller", install::NAMESPACE)),
            (
                "by hand",
                "kubectl delete validatingwebhookconfiguration,mutatingwebhookconfiguration k3k-webhook"
                    .to_owned(),
            ),
            ("and later", "kubectl k3k install".to_owned()),
        ],
    };
    tokio::select! {
        waited = await_condition(api(connection), REGISTRATION, done) => match waited {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(format!("cannot wait for the controller: {error}"))),
        },
        () = deadline(PATIENCE) => Err(failed(format!("the controller has done nothing for {}", age::short(PATIENCE)))),
        () = asked_to_stop() => Err(Error::Interrupted {
            message: "Stopped waiting. The annotation stays.".to_owned(),
            notes: vec![("take it back", "kubectl k3k policy break-glass --end".to_owned())],
        }),
    }
}

/// Whether a registration is open as `glass` says.
fn open_as(glass: BreakGlass) -> impl Condition<ValidatingWebhookConfiguration> {
    move |found: Option<&ValidatingWebhookConfiguration>| {
        let webhooks = found.and_then(|found| found.webhooks.as_deref()).unwrap_or_default();
        webhooks.iter().filter(|webhook| OPENED.contains(&webhook.name.as_str())).all(|webhook| {
            if glass.namespaces.is_empty() {
                return webhook.failure_policy.as_deref() == Some("Ignore");
            }
            let conditions = webhook.match_conditions.as_deref().unwrap_or_default();
            conditions.iter().any(|condition| {
                glass.namespaces.iter().all(|name| condition.expression.contains(&format!("'{name}'")))
            })
        })
    }
}

/// Whether a registration is closed.
fn closed(found: Option<&ValidatingWebhookConfiguration>) -> bool {
    let webhooks = found.and_then(|found| found.webhooks.as_deref()).unwrap_or_default();
    webhooks.iter().all(|webhook| {
        let conditions = webhook.match_conditions.as_deref().unwrap_or_default();
        webhook.failure_policy.as_deref() != Some("Ignore")
            && conditions.iter().all(|condition| condition.name != CONDITION)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_there_for_as_long_as_it_is_true() {
        let said = json!({"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:30:00Z", "by": "ann",
            "reason": "no webhook", "namespaces": ["team-a"]})
        .to_string();
        let at = |time: &str| told(&said, time.parse().expect("time"));
        assert_eq!(
            at("2026-01-01T00:10:00Z").as_deref(),
            Some(
                "the glass is broken by ann for namespaces team-a until 2026-01-01T00:30:00Z (20m left): no webhook; \
                 end it with \"kubectl k3k policy break-glass --end\""
            )
        );
        assert_eq!(at("2026-01-01T00:30:00Z"), None);
        assert_eq!(told("true", Timestamp::UNIX_EPOCH), None);
    }
}
